//! What operators ask of a running pool: over the admin socket, by the subcommands, and over HTTP,
//! by a browser or Prometheus.
//!
//! It has a thread of its own, so that whatever it takes to read a question or to write an answer
//! costs the pool nothing. The walk: [`socket`] or [`http`] -> [`desk`], which asks the driver and
//! the I/O threads -> [`status`] or [`metrics`] makes an answer of it. [`wire`] is what the
//! subcommands ([`crate::client`]) and the socket agree on, [`place`] where they meet.

pub mod desk;
mod hosts;
mod http;
mod lingering;
mod metrics;
pub mod place;
mod socket;
mod status;
pub mod wire;

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use interprocess::local_socket::tokio::Listener;
use shovel_edge::listener::Bound;
use shovel_edge::socket_file::SocketFile;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use self::desk::Desk;
use self::hosts::Hosts;
use self::socket::AdminSocket;
use crate::config::Config;

/// Where operators come in. Dropped, the socket's file is gone.
pub struct Doors {
    file: Option<SocketFile>,
    admin_listen: Option<SocketAddr>,
    /// What the thread waits for. Operators who come before wait too.
    begin: oneshot::Sender<Admin>,
}

/// What does not change while the pool runs.
#[derive(Debug)]
pub struct Facts {
    program: String,
    listen: Vec<String>,
    admin_socket: Option<String>,
    admin_listen: Option<SocketAddr>,
    /// Names that the admin address is asked by.
    hosts: Hosts,
    /// Longest message that can be published.
    max_message_bytes: u64,
}

/// What each connection of an operator is served with.
#[derive(Clone)]
struct Admin {
    desk: Desk,
    facts: Arc<Facts>,
}

impl Doors {
    /// Opens what the operator has chosen. A default path that cannot be used is no reason not to
    /// serve clients: that is told, and there is no socket.
    ///
    /// # Errors
    /// If a path that was chosen cannot be used, another pool has it, or an address is taken.
    pub fn open(config: &Config, bound: &[Bound]) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let entered = runtime.enter();
        let chosen = config.admin_socket.clone().map(Ok);
        let path = chosen.unwrap_or_else(|| place::default_path(port(bound)));
        let socket = match path {
            Ok(path) => Some(AdminSocket::open(&path)?),
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        };
        let http = config.admin_listen.map(|address| {
            let listener = Bound::tcp_listener(address);
            listener.with_context(|| format!("cannot listen on {address} for operators"))
        });
        let http = http.transpose()?;
        let admin_listen = http.as_ref().map(TcpListener::local_addr).transpose()?;
        let (listener, file) = socket.map(AdminSocket::into_parts).unzip();
        let (begin, begun) = oneshot::channel();
        drop(entered);
        let thread = thread::Builder::new().name("admin".to_owned());
        let run = move || runtime.block_on(serve(listener, http, begun));
        thread.spawn(run).context("cannot start a thread for operators")?;
        Ok(Doors { file, admin_listen, begin })
    }

    /// Has operators served until the process ends; returns what to keep until then.
    pub fn serve(self, config: &Config, bound: &[Bound], desk: Desk) -> Option<SocketFile> {
        let Doors { file, admin_listen, begin } = self;
        let facts = Facts {
            program: config.program.display().to_string(),
            listen: bound.iter().map(Bound::describe).collect(),
            admin_socket: file.as_ref().map(|file| file.path().display().to_string()),
            admin_listen,
            hosts: Hosts::new(&config.admin_host),
            max_message_bytes: config.max_message_bytes as u64,
        };
        if let Some(address) = admin_listen {
            tracing::info!(address = format!("http://{address}"), "listening for operators");
        }
        // The thread waits for nothing else.
        let _ = begin.send(Admin { desk, facts: Arc::new(facts) });
        file
    }
}

async fn serve(
    socket: Option<Listener>,
    http: Option<TcpListener>,
    begun: oneshot::Receiver<Admin>,
) {
    // An error means that the pool has not come up.
    let Ok(admin) = begun.await else { return };
    if let Some(listener) = socket {
        tokio::spawn(socket::serve(listener, admin.clone()));
    }
    if let Some(listener) = http {
        tokio::spawn(http::serve(listener, admin));
    }
    pending().await
}

/// The first port that the pool listens on.
fn port(bound: &[Bound]) -> Option<u16> {
    bound.iter().find_map(|bound| match bound {
        Bound::Tcp(listener) => listener.local_addr().ok().map(|address| address.port()),
        Bound::Unix(..) => None,
    })
}
