//! A connection has closed.

use std::sync::Arc;

use shovel_protocol::Close;

use super::{Context, shared_methods, wait_until};
use crate::Connection;

/// A connection has closed, whoever closed it: its last event.
pub struct CloseEvent<S> {
    context: Arc<Context<S>>,
    connection: Connection,
    close: Close,
}

impl<S> CloseEvent<S> {
    pub(crate) fn new(
        context: Arc<Context<S>>,
        connection: Connection,
        close: Close,
    ) -> CloseEvent<S> {
        CloseEvent { context, connection, close }
    }

    /// The connection. It is inert, but may still publish.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The code of the close frame that decided: 1005 if it held none, 1006 if the socket ended
    /// without one (RFC 6455 §7.1.5).
    pub fn code(&self) -> u16 {
        self.close.code.0
    }

    /// The reason of that frame, at most 123 bytes.
    pub fn reason(&self) -> &str {
        &self.close.reason
    }

    /// Whether both ends have sent a close frame.
    pub fn was_clean(&self) -> bool {
        self.close.was_clean
    }

    pub(crate) fn into_close(self) -> Close {
        self.close
    }

    shared_methods!();
    wait_until!();
}
