//! Connections as the app sees them.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Uri};
use shovel_protocol::ConnectionUuid;
use shovel_protocol::close::{self, CloseCode};

use crate::channel::check_name;
use crate::pool::tenure::{Refused, Tenure};
use crate::{ChannelError, CloseError, Message, PublishError};

/// A client's WebSocket. A clone is the same connection.
///
/// Usable as soon as `upgrade_websocket` has given it: what the fetch handler does with it takes
/// effect, in order, when the response that came along is returned. Dropping it does not close it.
///
/// It is inert once its close event has begun, or if it was never accepted: it takes no more
/// messages, and closing and subscribing do nothing.
#[derive(Clone)]
pub struct Connection {
    pub(crate) tenure: Arc<Tenure>,
}

/// Names a connection, in apps and logs: a UUIDv7, so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) ConnectionUuid);

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closed, or the app has closed it.
    #[error("the connection is closed")]
    Closed,
    /// The client reads too slowly; only from [`Connection::try_send`].
    #[error("too much waits for this client already")]
    Full,
    /// Over 16 MiB were sent before the connection was accepted.
    #[error("too much was sent before the connection was accepted")]
    TooMuch,
    /// The message is longer than the supervisor allows.
    #[error("message has {len} bytes; at most {limit_bytes} are allowed")]
    TooLong {
        /// Of the message, in bytes.
        len: usize,
        /// The supervisor's `--max-message-size`.
        limit_bytes: usize,
    },
}

impl Connection {
    /// The connection's name, unique among all workers and for ever.
    pub fn id(&self) -> ConnectionId {
        ConnectionId(self.tenure.id)
    }

    /// Path and query of the upgrade request.
    pub fn url(&self) -> &Uri {
        &self.tenure.url
    }

    /// Headers of the upgrade request.
    pub fn headers(&self) -> &HeaderMap {
        &self.tenure.headers
    }

    /// The subprotocol that was picked.
    pub fn protocol(&self) -> Option<&str> {
        self.tenure.protocol.as_deref()
    }

    /// Whether messages are still taken.
    pub fn is_open(&self) -> bool {
        self.tenure.is_open()
    }

    /// Sends a message; waits for room while the client reads too slowly.
    ///
    /// Before the connection is accepted it never waits.
    ///
    /// # Errors
    /// All of [`SendError`] but `Full`.
    ///
    /// # Cancel safety
    /// Cancelled while it waits, the message was not sent.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        loop {
            let Err(refused) = self.tenure.try_send(&message) else { return Ok(()) };
            let room = self.tenure.room(&refused)?;
            let mut room = std::pin::pin!(room.notified());
            room.as_mut().enable();
            // Room may have come before the wait for it began.
            match self.tenure.try_send(&message) {
                Ok(()) => return Ok(()),
                Err(still) if still == refused => room.await,
                Err(_another) => {}
            }
        }
    }

    /// Sends a message if there is room now.
    ///
    /// # Errors
    /// [`SendError`]; `Full` if [`Connection::send`] would wait.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        match self.tenure.try_send(&message.into()) {
            Err(Refused::Pressed | Refused::LinkFull) => Err(SendError::Full),
            Err(Refused::For(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Closes the connection. Messages that come in from now on are dropped; the close event comes
    /// when the client's socket has closed. Closing twice does nothing more.
    ///
    /// # Errors
    /// [`CloseError`] unless the code is 1000 to 1003, 1007 to 1014 or 3000 to 4999 and the reason
    /// has at most 123 bytes (RFC 6455 §7.4).
    pub fn close(&self, code: u16, reason: &str) -> Result<(), CloseError> {
        let code = CloseCode(code);
        close::check(code, reason)?;
        self.tenure.close(code, reason);
        Ok(())
    }

    /// Subscribes the client to a channel: what is published there goes to it, whoever publishes.
    ///
    /// # Errors
    /// [`ChannelError`] unless the name has 1 to 1,024 bytes.
    pub fn subscribe(&self, channel: &str) -> Result<(), ChannelError> {
        check_name(channel)?;
        self.tenure.subscribe(channel);
        Ok(())
    }

    /// Ends a subscription. Does nothing if there is none.
    ///
    /// # Errors
    /// [`ChannelError`] unless the name has 1 to 1,024 bytes.
    pub fn unsubscribe(&self, channel: &str) -> Result<(), ChannelError> {
        check_name(channel)?;
        self.tenure.unsubscribe(channel);
        Ok(())
    }

    /// Publishes to everyone on a channel, in order with what is sent through this connection; to
    /// its own client too, if it is subscribed.
    ///
    /// Never waits for a subscriber. Also possible in the close event.
    ///
    /// # Errors
    /// [`PublishError`].
    ///
    /// # Cancel safety
    /// Cancelled while it waits, the message was not published.
    pub async fn publish(
        &self,
        channel: &str,
        message: impl Into<Message>,
    ) -> Result<(), PublishError> {
        check_name(channel)?;
        let message = message.into();
        loop {
            self.tenure.link().wait_for_room().await;
            if self.tenure.try_publish(channel, &message)? {
                return Ok(());
            }
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
