//! A service manager, as far as a pool sees one: a socket on which it is told how the pool is.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::{Options, within};

/// What `NOTIFY_SOCKET` leads to.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    folder: TempDir,
}

/// One message: assignments, one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(String);

impl ServiceManager {
    /// Listens.
    ///
    /// # Panics
    /// Without a temporary folder.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        ServiceManager { socket, folder }
    }

    /// Where it listens.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// A pool that tells this manager how it is.
    pub fn starts(&self, options: Options) -> Options {
        options.variable("NOTIFY_SOCKET", &self.path().display().to_string())
    }

    /// The next message.
    pub async fn next(&self) -> Notice {
        let mut message = vec![0; 64 * 1024];
        let read = within("a message to the service manager", self.socket.recv(&mut message));
        let len = read.await.expect("a message");
        Notice(String::from_utf8_lossy(&message[..len]).into_owned())
    }

    /// The messages up to the first that says this, which is the last of them.
    pub async fn until(&self, variable: &str, value: &str) -> Vec<Notice> {
        let mut notices = Vec::new();
        loop {
            notices.push(self.next().await);
            let last = notices.last();
            if last.and_then(|notice| notice.value(variable)).is_some_and(|is| is.contains(value)) {
                return notices;
            }
        }
    }

    /// Forgets what has come so far.
    pub fn forget(&self) {
        while self.socket.try_recv(&mut [0; 1]).is_ok() {}
    }

    /// Whether so much has come that no more is taken for now.
    pub fn is_full(&self) -> bool {
        let another = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
        another.set_nonblocking(true).expect("a socket");
        another.send_to(b"X_TEST=1", self.path()).is_err()
    }

    /// Whether a message is there.
    pub fn has_heard(&self) -> bool {
        self.socket.try_recv(&mut [0; 1]).is_ok()
    }
}

impl Default for ServiceManager {
    fn default() -> Self {
        Self::new()
    }
}

impl Notice {
    /// What this message says of a variable.
    pub fn value(&self, variable: &str) -> Option<&str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(variable)?.strip_prefix('='))
    }
}
