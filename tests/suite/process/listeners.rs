//! L100 and L101: addresses that are listened on.

use std::fs::{self, Metadata};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt, socket,
    sockopt,
};
use shovel_tests::{Options, Pool, get, operate, program};
use tempfile::TempDir;

/// A port that was free a moment ago, with IPv4 and IPv6.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn client_seen_by_the_app(address: SocketAddr) -> String {
    get(address, "/info").await.json()["client"].as_str().unwrap().to_owned()
}

/// L100.
#[tokio::test]
async fn one_port_is_listened_on_with_ipv4_and_with_ipv6() {
    let port = free_port();
    let options = Options::app().listen(&format!("0.0.0.0:{port}"));
    let pool = Pool::start(options.with("--listen", &format!("[::]:{port}"))).await;
    let client = client_seen_by_the_app((Ipv4Addr::LOCALHOST, port).into()).await;
    assert!(client.starts_with("127.0.0.1:"), "{client}");
    let client = client_seen_by_the_app((Ipv6Addr::LOCALHOST, port).into()).await;
    assert!(client.starts_with("[::1]:"), "{client}");
    pool.terminate().await;
}

/// L100.
#[tokio::test]
async fn a_host_that_means_all_addresses_means_those_of_ipv4_too() {
    let port = free_port();
    let options = Options::app().without_listen().variable("HOST", "::");
    let pool = Pool::start(options.variable("PORT", &port.to_string())).await;
    for ip in [Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::from(Ipv6Addr::LOCALHOST)] {
        assert_eq!(get((ip, port).into(), "/info").await.status, 200, "{ip}");
    }
    pool.terminate().await;
}

/// L100: such a listener can be passed to us.
#[tokio::test]
async fn a_client_of_ipv4_on_a_listener_for_both_is_one_of_ipv4_to_the_app() {
    let flags = SockFlag::SOCK_CLOEXEC;
    let both: OwnedFd = socket(AddressFamily::Inet6, SockType::Stream, flags, None).unwrap();
    setsockopt(&both, sockopt::Ipv6V6Only, &false).unwrap();
    let any = SockaddrIn6::from(std::net::SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
    bind(std::os::fd::AsRawFd::as_raw_fd(&both), &any).unwrap();
    listen(&both, Backlog::MAXALLOWABLE).unwrap();
    let options = Options::app().listen("fd:3").inherit(both);
    let pool = Pool::start(options.with("--max-connections-per-ip", "100")).await;
    let address = (Ipv4Addr::LOCALHOST, pool.address().port()).into();
    let mirrored = get(address, "/mirror").await;
    assert_eq!(mirrored.header("seen-x-forwarded-for"), "127.0.0.1");
    assert!(mirrored.header("seen-forwarded").starts_with("for=127.0.0.1;"));
    let client = client_seen_by_the_app(address).await;
    assert!(client.starts_with("127.0.0.1:"), "{client}");
}

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pool.sock");
    (folder, path)
}

fn unix(path: &Path, options: &str) -> Options {
    Options::app().with("--listen", &format!("unix:{}{options}", path.display()))
}

fn found(path: &Path) -> Metadata {
    let found = fs::symlink_metadata(path).unwrap();
    assert!(found.file_type().is_socket());
    found
}

/// L101.
#[tokio::test]
async fn a_unix_socket_has_the_mode_that_was_chosen() {
    for mode in ["600", "0666", "770"] {
        let (_folder, path) = place();
        let pool = Pool::start(unix(&path, &format!(",mode={mode}"))).await;
        let expected = u32::from_str_radix(mode, 8).unwrap();
        assert_eq!(found(&path).permissions().mode() & 0o777, expected);
        pool.terminate().await;
        assert!(!path.exists());
    }
}

/// L101. Only root can try this.
#[tokio::test]
async fn a_unix_socket_has_the_owner_that_was_chosen() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    let (_folder, path) = place();
    let pool = Pool::start(unix(&path, ",mode=660,user=65534,group=12345")).await;
    let found = found(&path);
    assert_eq!((found.uid(), found.gid()), (65534, 12345));
    pool.terminate().await;
    assert!(!path.exists());
}

/// L101.
#[tokio::test]
async fn an_owner_that_does_not_exist_exits_1_with_one_line_and_leaves_nothing() {
    let (folder, path) = place();
    let app = program("fixture-app");
    let listen = format!("unix:{},user=no-such-user", path.display());
    let told = operate(folder.path(), &["--listen", &listen, app.to_str().unwrap()]).await;
    assert!(told.failure().contains("no user 'no-such-user'"), "{told:?}");
    assert!(!path.exists());
}

/// L101.
#[tokio::test]
async fn a_socket_that_is_another_pools_by_now_is_left_to_it() {
    let (_folder, path) = place();
    let first = Pool::start(unix(&path, "")).await;
    fs::remove_file(&path).unwrap();
    let second = Pool::start(unix(&path, "")).await;
    let inode = found(&path).ino();
    first.terminate().await;
    assert_eq!(found(&path).ino(), inode);
    second.terminate().await;
    assert!(!path.exists());
}

/// L101.
#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
    let (folder, path) = place();
    let other = UnixListener::bind(&path).unwrap();
    let app = program("fixture-app");
    let listen = format!("unix:{}", path.display());
    let told = operate(folder.path(), &["--listen", &listen, app.to_str().unwrap()]).await;
    assert!(told.failure().contains("in use"), "{told:?}");
    drop(other);
    let pool = Pool::start(unix(&path, "")).await;
    pool.terminate().await;
    assert!(!path.exists());
}
