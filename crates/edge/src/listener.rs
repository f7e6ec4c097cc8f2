//! Where clients come in: TCP, a Unix socket, or a descriptor that was inherited.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use tokio::net::{TcpListener, UnixListener};

use crate::backend::Peer;
use crate::socket_file::SocketFile;
use crate::transport::Transport;

/// How long to pause when no descriptor is left: an accept loop that does not pause spins.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two probes of a client that does not answer the first, and so many until it is dead.
const PROBES: (Duration, u32) = (Duration::from_secs(10), 3);

/// A bound listener that can be opened on several threads.
#[derive(Debug)]
pub enum Bound {
    /// Listens on TCP.
    Tcp(StdTcpListener),
    /// Listens on a Unix socket; its file goes in the end if we made it.
    Unix(StdUnixListener, Option<SocketFile>),
}

/// When the system gives a client of TCP up that is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpTimeouts {
    /// A client that was quiet for so long is probed; zero: it is not.
    pub keepalive: Duration,
    /// A client that takes nothing of what was sent for so long is given up; zero: when the system
    /// likes.
    pub user_timeout: Duration,
}

impl Default for TcpTimeouts {
    fn default() -> Self {
        TcpTimeouts { keepalive: Duration::from_secs(60), user_timeout: Duration::from_secs(90) }
    }
}

impl Bound {
    /// Listens on an address of TCP: of IPv6 alone if it is one of IPv6, so that one of IPv4 may
    /// have the same port. As many clients may wait to be accepted as the system allows.
    ///
    /// # Errors
    /// Those of making, binding and listening.
    pub fn tcp(address: SocketAddr) -> io::Result<Bound> {
        Bound::tcp_listener(address).map(Bound::Tcp)
    }

    /// As [`Bound::tcp`], for who serves by itself.
    ///
    /// # Errors
    /// The same.
    pub fn tcp_listener(address: SocketAddr) -> io::Result<StdTcpListener> {
        let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // Connections of an earlier pool may not have ended quite.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        if address.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
        }
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        listen(&socket, Backlog::MAXALLOWABLE)?;
        Ok(socket.into())
    }

    /// Has the system look after clients: what is accepted from now on inherits it (tcp(7)).
    ///
    /// # Errors
    /// If the system does not want to.
    pub fn set_timeouts(&self, timeouts: &TcpTimeouts) -> io::Result<()> {
        let Bound::Tcp(listener) = self else { return Ok(()) };
        let seconds = |time: Duration| u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX);
        let is_probed = !timeouts.keepalive.is_zero();
        setsockopt(listener, sockopt::KeepAlive, &is_probed)?;
        if is_probed {
            // More is not possible.
            let idle = seconds(timeouts.keepalive).min(32_767);
            setsockopt(listener, sockopt::TcpKeepIdle, &idle)?;
            setsockopt(listener, sockopt::TcpKeepInterval, &seconds(PROBES.0))?;
            setsockopt(listener, sockopt::TcpKeepCount, &PROBES.1)?;
        }
        let millis = u32::try_from(timeouts.user_timeout.as_millis()).unwrap_or(u32::MAX);
        setsockopt(listener, sockopt::TcpUserTimeout, &millis.min(i32::MAX as u32))?;
        Ok(())
    }

    /// A twin for another thread.
    ///
    /// # Errors
    /// Those of duplicating the descriptor.
    pub fn try_clone(&self) -> io::Result<Bound> {
        match self {
            Bound::Tcp(listener) => listener.try_clone().map(Bound::Tcp),
            Bound::Unix(listener, _) => listener.try_clone().map(|twin| Bound::Unix(twin, None)),
        }
    }

    /// The address as one would put it into a browser, or after `unix:`.
    pub fn describe(&self) -> String {
        match self {
            Bound::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "tcp".to_owned(), |at| format!("http://{at}"))
            }
            Bound::Unix(listener, _) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(|| "unix".to_owned(), |path| format!("unix:{}", path.display()))
            }
        }
    }
}

/// The addresses that the variables `HOST` and `PORT` name, as hosting platforms set them;
/// 127.0.0.1:8080 without them. Who can name one host and means all says `::`: that is both, all of
/// IPv6 and all of IPv4.
///
/// # Errors
/// Which of them is wrong, in one line.
pub fn addresses_of_environment() -> Result<Vec<SocketAddr>, String> {
    let variable = |name, default: &str| match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => default.to_owned(),
    };
    let (host, port) = (variable("HOST", "127.0.0.1"), variable("PORT", "8080"));
    let ip: IpAddr =
        host.parse().map_err(|_| format!("the variable HOST is no IP address: '{host}'"))?;
    let port = port.parse().map_err(|_| format!("the variable PORT is no port: '{port}'"))?;
    let mut all = vec![SocketAddr::new(ip, port)];
    if ip == Ipv6Addr::UNSPECIFIED {
        all.push(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
    }
    Ok(all)
}

/// A listener within a runtime.
#[derive(Debug)]
pub struct Listener {
    inner: Inner,
    failing: bool,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Opens a bound listener in the current runtime.
    ///
    /// # Errors
    /// Those of registering the descriptor.
    pub fn open(bound: &Bound) -> io::Result<Self> {
        let inner = match bound {
            Bound::Tcp(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                Inner::Tcp(TcpListener::from_std(listener)?)
            }
            Bound::Unix(listener, _) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                Inner::Unix(UnixListener::from_std(listener)?)
            }
        };
        Ok(Listener { inner, failing: false })
    }

    /// The next client. Errors are waited out: a client that has gone again is skipped, and without
    /// descriptors it pauses until there are some.
    ///
    /// # Cancel safety
    /// No client is lost.
    pub async fn accept(&mut self) -> (Transport, Peer) {
        loop {
            let accepted = match &self.inner {
                Inner::Tcp(listener) => listener.accept().await.map(tcp_peer),
                Inner::Unix(listener) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| (Transport::Unix(stream), Peer::new(None))),
            };
            match accepted {
                Ok(accepted) => {
                    self.failing = false;
                    return accepted;
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(%error, "cannot accept clients for now");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn tcp_peer((stream, address): (tokio::net::TcpStream, SocketAddr)) -> (Transport, Peer) {
    // Turns collect what there is to write; waiting longer in the kernel only adds delay. It fails
    // only on a socket that is gone, which the first read will tell.
    let _ = stream.set_nodelay(true);
    (Transport::Tcp(stream), Peer::new(Some(canonical(address))))
}

/// Whom a listener that was passed to us, and is one for both, has as `::ffff:1.2.3.4` is a client
/// of IPv4 to all that look at addresses: limits, lists, logs and apps.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use nix::sys::socket::getsockopt;

    use super::*;

    fn address(bound: &Bound) -> SocketAddr {
        let Bound::Tcp(listener) = bound else { panic!("{bound:?}") };
        listener.local_addr().unwrap()
    }

    fn listen_on(text: &str) -> io::Result<Bound> {
        Bound::tcp(text.parse().unwrap())
    }

    #[test]
    fn one_port_can_be_listened_on_with_ipv4_and_with_ipv6() {
        let first = listen_on("0.0.0.0:0").unwrap();
        let port = address(&first).port();
        let second = listen_on(&format!("[::]:{port}")).unwrap();
        assert_eq!(address(&second).port(), port);
        assert!(listen_on(&format!("[::]:{port}")).is_err());
    }

    #[test]
    fn what_is_accepted_is_looked_after_as_was_chosen() {
        let bound = listen_on("127.0.0.1:0").unwrap();
        for (keepalive, user_timeout) in [(60, 90), (0, 0), (1, 1)] {
            let [keepalive, user_timeout] = [keepalive, user_timeout].map(Duration::from_secs);
            bound.set_timeouts(&TcpTimeouts { keepalive, user_timeout }).unwrap();
            let _client = TcpStream::connect(address(&bound)).unwrap();
            let Bound::Tcp(listener) = &bound else { unreachable!() };
            let (accepted, _) = listener.accept().unwrap();
            let is_probed = getsockopt(&accepted, sockopt::KeepAlive).unwrap();
            assert_eq!(is_probed, !keepalive.is_zero());
            if is_probed {
                let idle = getsockopt(&accepted, sockopt::TcpKeepIdle).unwrap();
                assert_eq!(u64::from(idle), keepalive.as_secs());
            }
            let millis = getsockopt(&accepted, sockopt::TcpUserTimeout).unwrap();
            assert_eq!(u128::from(millis), user_timeout.as_millis());
        }
    }

    #[test]
    fn a_client_of_ipv4_has_an_address_of_ipv4() {
        for (from, to) in [
            ("[::ffff:1.2.3.4]:5", "1.2.3.4:5"),
            ("1.2.3.4:5", "1.2.3.4:5"),
            ("[::1]:5", "[::1]:5"),
            ("[fe80::1%7]:5", "[fe80::1%7]:5"),
        ] {
            assert_eq!(canonical(from.parse().unwrap()), to.parse().unwrap());
        }
    }
}
