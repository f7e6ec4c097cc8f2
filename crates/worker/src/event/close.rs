//! A connection has closed.

use std::sync::Arc;

use shovel_protocol::{Again, Close};

use super::{Context, attachment, shared_methods, wait_until};
use crate::Connection;

/// A connection has closed, whoever closed it: its last event.
///
/// ```
/// use shovel_worker::{CloseEvent, Error};
///
/// async fn close(event: CloseEvent<()>) -> Result<(), Error> {
///     let id = event.connection().id();
///     match event.was_clean() {
///         true => println!("{id} left with {} {:?}", event.code(), event.reason()),
///         false => println!("{id} was lost"),
///     }
///     Ok(())
/// }
/// ```
pub struct CloseEvent<S> {
    context: Arc<Context<S>>,
    connection: Connection,
    again: Again,
    close: Close,
}

impl<S> CloseEvent<S> {
    pub(crate) fn new(
        context: Arc<Context<S>>,
        connection: Connection,
        again: Again,
        close: Close,
    ) -> CloseEvent<S> {
        CloseEvent { context, connection, again, close }
    }

    /// The connection. It is inert, but may still publish.
    ///
    /// ```
    /// # use shovel_worker::{CloseEvent, Error};
    /// async fn close(event: CloseEvent<()>) -> Result<(), Error> {
    ///     event.connection().publish("chat", "somebody left").await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The code of the close frame that decided: 1005 if it held none, 1006 if the socket ended
    /// without one (RFC 6455 §7.1.5).
    ///
    /// ```
    /// # use shovel_worker::{CloseEvent, Error};
    /// async fn close(event: CloseEvent<()>) -> Result<(), Error> {
    ///     // 1012: a reload, and the client will be back in a moment.
    ///     if event.code() != 1012 {
    ///         event.connection().publish("chat", "somebody left").await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn code(&self) -> u16 {
        self.close.code.0
    }

    /// The reason of that frame, at most 123 bytes.
    ///
    /// ```
    /// # use shovel_worker::{CloseEvent, Error};
    /// async fn close(event: CloseEvent<()>) -> Result<(), Error> {
    ///     println!("closed: {}", event.reason());
    ///     Ok(())
    /// }
    /// ```
    pub fn reason(&self) -> &str {
        &self.close.reason
    }

    /// Whether both ends have sent a close frame.
    ///
    /// ```
    /// # use shovel_worker::{CloseEvent, Error};
    /// async fn close(event: CloseEvent<()>) -> Result<(), Error> {
    ///     if !event.was_clean() {
    ///         println!("{} was lost", event.connection().id());
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn was_clean(&self) -> bool {
        self.close.was_clean
    }

    pub(crate) fn into_close(self) -> Close {
        self.close
    }

    /// Whether a worker that has died since may have begun to handle this close.
    ///
    /// ```
    /// # use shovel_worker::{CloseEvent, Error};
    /// # async fn is_noted(_id: &str) -> bool { true }
    /// # async fn note(_id: &str) {}
    /// async fn close(event: CloseEvent<()>) -> Result<(), Error> {
    ///     let id = event.connection().id().to_string();
    ///     if !(event.redelivered() && is_noted(&id).await) {
    ///         note(&id).await;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn redelivered(&self) -> bool {
        self.again.redelivered
    }

    attachment!();
    shared_methods!();
    wait_until!();
}
