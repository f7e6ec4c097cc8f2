//! Messages to the service manager (sd_notify(3)), which never wait for it: a manager that does
//! not read must not hold up a pool.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use sd_notify::NotifyState;

/// Messages that may wait for the manager; beyond it the oldest is dropped.
const WAITING_LIMIT: usize = 64;

/// The way to the manager, if the environment names one.
#[derive(Debug)]
pub struct Notifier {
    address: Option<SocketAddr>,
    waiting: VecDeque<String>,
    /// The manager's queue is full; this tells when it has room.
    full: Option<tokio::net::UnixDatagram>,
}

impl Notifier {
    /// The way that `NOTIFY_SOCKET` names.
    pub fn of_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let address = name.map(|name| address_of(&name)).transpose();
        let address = address.unwrap_or_else(|error| {
            complain(&error);
            None
        });
        Notifier { address, waiting: VecDeque::new(), full: None }
    }

    /// Sends a message, at the latest when the manager has read others.
    pub fn tell(&mut self, states: &[NotifyState<'_>]) {
        if self.address.is_none() {
            return;
        }
        if self.waiting.len() == WAITING_LIMIT {
            self.waiting.pop_front();
        }
        let lines = states.iter().map(|state| format!("{state}\n"));
        self.waiting.push_back(lines.collect());
        if self.full.is_none() {
            self.try_again();
        }
    }

    /// Sends a message now or never.
    pub fn tell_in_the_end(mut self, states: &[NotifyState<'_>]) {
        self.full = None;
        let lines = states.iter().map(|state| format!("{state}\n"));
        self.waiting.push_back(lines.collect());
        // The log has the same words.
        let _ = self.send_waiting();
    }

    /// Waits until the manager's queue has room again, and sends what waits for that; for ever if
    /// nothing does.
    ///
    /// # Cancel safety
    /// It only waits.
    pub async fn caught_up(&mut self) {
        match &self.full {
            None => std::future::pending().await,
            Some(socket) => {
                // An error shows itself again when something is sent.
                let _ = socket.writable().await;
                self.full = None;
                self.try_again();
            }
        }
    }

    fn try_again(&mut self) {
        let full = self.send_waiting();
        let full = full.and_then(|full| full.map(tokio::net::UnixDatagram::from_std).transpose());
        self.full = full.unwrap_or_else(|error| {
            complain(&error);
            self.waiting.clear();
            None
        });
    }

    /// Returns the socket if the manager's queue is full.
    fn send_waiting(&mut self) -> io::Result<Option<UnixDatagram>> {
        let Some(address) = &self.address else { return Ok(None) };
        // Each time anew, since a manager may have come back at the same place.
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(address)?;
        while let Some(message) = self.waiting.front() {
            match socket.send(message.as_bytes()) {
                Ok(_) => drop(self.waiting.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(socket)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// A path, or after an `@` a name in the abstract namespace.
fn address_of(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

fn complain(error: &io::Error) {
    tracing::warn!(%error, "cannot tell the service manager how the pool is");
}
