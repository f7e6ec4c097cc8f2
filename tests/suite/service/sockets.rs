//! J70: sockets that the service manager has opened.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use shovel_tests::{Options, Pool, get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// `LISTEN_PID` must be the supervisor's, which the shell becomes.
const ACTIVATED: &str = "export LISTEN_PID=$$ LISTEN_FDS=";

fn tcp() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// J70.
#[tokio::test]
async fn every_passed_socket_is_listened_on_when_no_address_is_given() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("pool.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let (tcp, address) = tcp();
    let options = Options::app().without_listen().inherit(tcp.into()).inherit(unix.into());
    let pool = Pool::start(options.after(&format!("{ACTIVATED}2"))).await;
    assert_eq!(pool.address(), address);
    assert_eq!(get(address, "/info").await.status, 200);
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /info HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 200 OK\r\n"), "{answer}");
    pool.terminate().await;
    assert!(path.exists(), "the socket's file is the service manager's");
}

/// J70: whoever connects before the pool is ready waits in the socket's queue.
#[tokio::test]
async fn a_client_that_came_before_the_pool_is_served() {
    let (tcp, address) = tcp();
    let early = tokio::net::TcpStream::connect(address).await.unwrap();
    let options = Options::app().without_listen().inherit(tcp.into());
    let _pool = Pool::start(options.after(&format!("{ACTIVATED}1"))).await;
    let mut early = early;
    early.write_all(b"GET /info HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    early.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 200 OK\r\n"), "{answer}");
}

/// J70.
#[tokio::test]
async fn a_passed_socket_is_chosen_by_its_name() {
    let ((first, _), (second, address)) = (tcp(), tcp());
    let options = Options::app().listen("fd:web").inherit(first.into()).inherit(second.into());
    let options = options.variable("LISTEN_FDNAMES", "other:web");
    let pool = Pool::start(options.after(&format!("{ACTIVATED}2"))).await;
    assert_eq!(pool.address(), address);
    assert_eq!(get(address, "/info").await.status, 200);
    let unused =
        pool.wait_for("a warning", |line| line.is("a passed socket is not listened on")).await;
    assert_eq!(unused.text("name"), "other");
}

/// J70.
#[tokio::test]
async fn a_name_that_was_not_passed_exits_1_with_one_line() {
    let (listener, _) = tcp();
    let options = Options::app().listen("fd:web").inherit(listener.into());
    let options = options.variable("LISTEN_FDNAMES", "other").log_in_text();
    let mut pool = Pool::launch(options.after(&format!("{ACTIVATED}1")));
    assert_eq!(pool.exit_status().await.code(), Some(1));
    let is_it = |line: &shovel_tests::Line| line.raw.contains("the socket 'web'");
    pool.wait_for("the reason", is_it).await;
}

/// J70.
#[tokio::test]
async fn sockets_that_were_passed_to_another_process_are_not_taken() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (listener, _) = tcp();
    let options = Options::app()
        .without_listen()
        .inherit(listener.into())
        .variable("PORT", &port.to_string())
        .variable("LISTEN_PID", "1")
        .variable("LISTEN_FDS", "1");
    let pool = Pool::start(options).await;
    assert_eq!(pool.address().port(), port);
}

/// J70 and E44.
#[tokio::test]
async fn workers_know_nothing_of_the_service_manager() {
    let manager = shovel_tests::ServiceManager::new();
    let (listener, _) = tcp();
    let options = manager
        .starts(Options::app())
        .without_listen()
        .inherit(listener.into())
        .variable("LISTEN_FDNAMES", "web")
        .variable("WATCHDOG_USEC", "60000000")
        .after(&format!("export WATCHDOG_PID=$$; {ACTIVATED}1"));
    let pool = Pool::start(options).await;
    let environment = format!("/proc/{}/environ", pool.workers()[0].pid);
    let environment = std::fs::read_to_string(environment).unwrap();
    for variable in ["LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"] {
        let passed = environment.split('\0').find(|entry| entry.starts_with(variable));
        assert_eq!(passed, None);
    }
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", pool.workers()[0].pid)).unwrap();
    let targets = descriptors.flatten().flat_map(|entry| std::fs::read_link(entry.path()));
    let inode = socket_inode(pool.pid(), 3);
    assert!(targets.into_iter().all(|target| target != inode), "a worker has the listener");
}

/// What `/proc` calls a socket.
fn socket_inode(process: u32, descriptor: u32) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{process}/fd/{descriptor}")).unwrap()
}
