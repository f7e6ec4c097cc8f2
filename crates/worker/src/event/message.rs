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
    connection: Connection,
    seq: u64,
    again: Again,
    message: Message,
}

impl<S> MessageEvent<S> {
    pub(crate) fn new(
        context: Arc<Context<S>>,
        connection: Connection,
        (seq, again): (u64, Again),
        message: Message,
    ) -> MessageEvent<S> {
        MessageEvent { context, connection, seq, again, message }
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
        &self.connection
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
        &self.message
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
        self.message
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
        self.seq
    }

    pub(crate) fn again(&self) -> Again {
        self.again
    }

    again!();
    attachment!();
    shared_methods!();
    wait_until!();
}
