//! A message came.

use std::sync::Arc;

use shovel_protocol::Again;

use super::{Context, again, attachment, shared_methods, wait_until};
use crate::{Connection, Message};

/// A client has sent a message.
///
/// ```
/// use shovel_worker::{Error, Message, MessageEvent};
///
/// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
///     match event.message() {
///         Message::Text(text) => event.connection().send(text.to_uppercase()).await?,
///         Message::Binary(_) => event.connection().close(1003, "text only")?,
///     }
///     Ok(())
/// }
/// ```
pub struct MessageEvent<S> {
    context: Arc<Context<S>>,
    arrived: Box<Arrived>,
}

/// What came. Apart, so that the event is two pointers: an async handler holds what it is given
/// twice, and each of those that it passes it on to does so again.
pub(crate) struct Arrived {
    pub(crate) connection: Connection,
    pub(crate) seq: u64,
    pub(crate) again: Again,
    pub(crate) message: Message,
}

impl<S> MessageEvent<S> {
    pub(crate) fn new(context: Arc<Context<S>>, arrived: Box<Arrived>) -> MessageEvent<S> {
        MessageEvent { context, arrived }
    }

    /// The connection that it came on.
    ///
    /// ```
    /// # use shovel_worker::{Error, MessageEvent};
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     event.connection().send("heard").await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn connection(&self) -> &Connection {
        &self.arrived.connection
    }

    /// The message.
    ///
    /// ```
    /// # use shovel_worker::{Error, MessageEvent};
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     println!("{} bytes", event.message().len());
    ///     Ok(())
    /// }
    /// ```
    pub fn message(&self) -> &Message {
        &self.arrived.message
    }

    /// The message, without the event.
    ///
    /// ```
    /// # use shovel_worker::{Error, MessageEvent};
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     let connection = event.connection().clone();
    ///     connection.send(event.into_message()).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn into_message(self) -> Message {
        self.arrived.message
    }

    /// The connection and the message, without the event.
    ///
    /// ```
    /// # use shovel_worker::{Error, MessageEvent};
    /// async fn echo(event: MessageEvent<()>) -> Result<(), Error> {
    ///     let (connection, message) = event.into_parts();
    ///     connection.send(message).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn into_parts(self) -> (Connection, Message) {
        let Arrived { connection, message, .. } = *self.arrived;
        (connection, message)
    }

    /// The message's number on its connection, from 1 and without gaps. It stays the same if the
    /// message is handled again.
    ///
    /// ```
    /// # use shovel_worker::{Error, MessageEvent};
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     let key = format!("{}/{}", event.connection().id(), event.seq());
    ///     println!("{key} is {}", if event.redelivered() { "here again" } else { "new" });
    ///     Ok(())
    /// }
    /// ```
    pub fn seq(&self) -> u64 {
        self.arrived.seq
    }

    pub(crate) fn again(&self) -> Again {
        self.arrived.again
    }

    again!();
    attachment!();
    shared_methods!();
    wait_until!();
}
