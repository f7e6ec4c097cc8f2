//! Where clients come in: TCP, a Unix socket, or a descriptor that was inherited.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use crate::backend::Peer;
use crate::transport::Transport;

/// How long to pause when no descriptor is left: an accept loop that does not pause spins.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound listener that can be opened on several threads.
#[derive(Debug)]
pub enum Bound {
    /// Listens on TCP.
    Tcp(StdTcpListener),
    /// Listens on a Unix socket; `path` is removed in the end if we made it.
    Unix(StdUnixListener, Option<PathBuf>),
}

impl Bound {
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

impl Drop for Bound {
    fn drop(&mut self) {
        if let Bound::Unix(_, Some(path)) = self {
            // Somebody may have removed it before us.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The address that the variables `HOST` and `PORT` name, as hosting platforms set them;
/// 127.0.0.1:8080 without them.
///
/// # Errors
/// Which of them is wrong, in one line.
pub fn address_of_environment() -> Result<SocketAddr, String> {
    let variable = |name, default: &str| match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => default.to_owned(),
    };
    let (host, port) = (variable("HOST", "127.0.0.1"), variable("PORT", "8080"));
    let ip = host.parse().map_err(|_| format!("the variable HOST is no IP address: '{host}'"))?;
    let port = port.parse().map_err(|_| format!("the variable PORT is no port: '{port}'"))?;
    Ok(SocketAddr::new(ip, port))
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
    (Transport::Tcp(stream), Peer::new(Some(address)))
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
