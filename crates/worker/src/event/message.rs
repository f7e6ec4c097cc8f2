//! A message came.

use std::sync::Arc;

use super::{Context, shared_methods, wait_until};
use crate::{Connection, Message};

/// A client has sent a message.
pub struct MessageEvent<S> {
    context: Arc<Context<S>>,
    connection: Connection,
    message: Message,
}

impl<S> MessageEvent<S> {
    pub(crate) fn new(
        context: Arc<Context<S>>,
        connection: Connection,
        message: Message,
    ) -> MessageEvent<S> {
        MessageEvent { context, connection, message }
    }

    /// The connection that it came on.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The message, without the event.
    pub fn into_message(self) -> Message {
        self.message
    }

    shared_methods!();
    wait_until!();
}
