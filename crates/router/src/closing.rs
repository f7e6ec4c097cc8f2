//! What is told of a connection that has closed: in the access log, or to those who look for
//! faults.

use shovel_protocol::Close;

use super::registry::Connection;
use super::router::Router;

impl Router {
    /// Tells that a connection has closed; called once for each that was accepted.
    pub fn tell_closed(&self, connection: &Connection, close: &Close) {
        macro_rules! tell {
            ($level:ident, $target:expr) => {
                tracing::$level!(
                    target: $target,
                    connection = %connection.uuid,
                    worker = connection.link().map(|link| tracing::field::display(link.worker)),
                    client = connection.origin.peer.map(tracing::field::display),
                    code = close.code.0,
                    reason = close.reason,
                    was_clean = close.was_clean,
                    why = connection.socket.why().map(tracing::field::display),
                    "connection closed"
                )
            };
        }
        match self.access_log.get() {
            true => tell!(info, "access"),
            false => tell!(debug, module_path!()),
        }
    }
}
