//! Connections as the app sees them: sending, closing, channels. What lets one go on with another
//! worker is in [`moving`], what waits for a client in [`outbox`].

mod moving;
mod outbox;
mod sending;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, Uri};
use shovel_protocol::ConnectionUuid;
use shovel_protocol::close::{self, CloseCode};

pub use self::outbox::{OutboxError, SlowConsumer};
pub use self::sending::Sending;

use crate::channel::check_name;
use crate::supervised::tenure::{NotTaken, SharedTenure};
use crate::{ChannelError, CloseError, Message, PublishError};

/// A client's WebSocket. A clone is the same connection.
///
/// Usable as soon as `upgrade_websocket` has given it: what the fetch handler does with it takes
/// effect, in order, when the response that came along is returned. Dropping it does not close it.
///
/// It is inert once its close event has begun, or if it was never accepted: it takes no more
/// messages, and closing and subscribing do nothing.
///
/// ```
/// use std::time::Duration;
///
/// use shovel_worker::{Error, FetchEvent, Response};
///
/// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
///     let (connection, response) = event.upgrade_websocket()?;
///     // A clone may live on in a task.
///     let later = connection.clone();
///     tokio::spawn(async move {
///         tokio::time::sleep(Duration::from_secs(60)).await;
///         // An error says that the client has gone meanwhile.
///         let _ = later.send("you have been here for a minute").await;
///     });
///     connection.send("welcome").await?;
///     Ok(response)
/// }
/// ```
#[derive(Clone)]
pub struct Connection {
    pub(crate) tenure: Arc<SharedTenure>,
}

/// Names a connection, in apps and logs: a UUIDv7, so that ids sort by time.
///
/// ```
/// use shovel_worker::{Connection, ConnectionId};
///
/// fn is_older(one: &Connection, other: &Connection) -> bool {
///     one.id() < other.id()
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) ConnectionUuid);

/// Why a message was not sent.
///
/// ```
/// use shovel_worker::{Connection, SendError};
///
/// /// Sends news that are not worth waiting for.
/// fn tell(connection: &Connection, news: &str) -> Result<(), SendError> {
///     match connection.try_send(news) {
///         Err(SendError::Full | SendError::Closed) => Ok(()),
///         other => other,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closed, or the app has closed it.
    #[error("the connection is closed")]
    Closed,
    /// The client reads too slowly; only from [`Connection::try_send`].
    #[error("too much waits for this client already; `send` waits for room")]
    Full,
    /// Another worker has the connection by now: it goes on there.
    #[error("the connection has moved to another worker")]
    Moved,
    /// Over 16 MiB, or 65,536 messages and other things, were sent before the connection was accepted.
    #[error("too much was sent before the connection was accepted; return the upgrade first")]
    TooMuch,
    /// The message is longer than the supervisor allows.
    #[error("message has {len} bytes; at most {limit_bytes} are allowed by --max-message-size")]
    TooLong {
        /// Of the message, in bytes.
        len: usize,
        /// The supervisor's `--max-message-size`.
        limit_bytes: usize,
    },
}

/// The rest of a call that could not be finished at once.
type Later<'a, E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send + 'a>>;

impl Connection {
    /// The connection's name, unique among all workers and for ever.
    ///
    /// ```
    /// # use shovel_worker::Connection;
    /// fn log(connection: &Connection) {
    ///     println!("{} is here", connection.id());
    /// }
    /// ```
    pub fn id(&self) -> ConnectionId {
        ConnectionId(self.tenure.id)
    }

    /// Path and query of the upgrade request.
    ///
    /// ```
    /// # use shovel_worker::Connection;
    /// fn room(connection: &Connection) -> &str {
    ///     connection.url().path().trim_start_matches("/rooms/")
    /// }
    /// ```
    pub fn url(&self) -> &Uri {
        &self.tenure.url
    }

    /// Headers of the upgrade request.
    ///
    /// ```
    /// # use shovel_worker::{Connection, header};
    /// fn language(connection: &Connection) -> Option<&str> {
    ///     connection.headers().get(header::ACCEPT_LANGUAGE)?.to_str().ok()
    /// }
    /// ```
    pub fn headers(&self) -> &HeaderMap {
        &self.tenure.headers
    }

    /// The subprotocol that was picked.
    ///
    /// ```
    /// # use shovel_worker::Connection;
    /// fn speaks_json(connection: &Connection) -> bool {
    ///     connection.protocol() == Some("chat.json")
    /// }
    /// ```
    pub fn protocol(&self) -> Option<&str> {
        self.tenure.protocol.as_deref()
    }

    /// Whether messages are still taken.
    ///
    /// ```
    /// # use shovel_worker::Connection;
    /// fn forget_the_closed(connections: &mut Vec<Connection>) {
    ///     connections.retain(Connection::is_open);
    /// }
    /// ```
    pub fn is_open(&self) -> bool {
        self.tenure.is_open()
    }

    /// Sends a message; waits for room while the client reads too slowly.
    ///
    /// Before the connection is accepted it never waits.
    ///
    /// ```
    /// use shovel_worker::{Error, MessageEvent};
    ///
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     event.connection().send("text").await?;
    ///     event.connection().send(vec![0xf0, 0x9f]).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// All of [`SendError`] but `Full`.
    ///
    /// # Cancel safety
    /// Cancelled while it waits, the message was not sent.
    pub fn send(&self, message: impl Into<Message>) -> Sending<'_> {
        Sending::new(self, message.into())
    }

    /// Sends a message if there is room now.
    ///
    /// ```
    /// # use shovel_worker::{Connection, SendError};
    /// /// A position is soon replaced by the next: to a client that reads too slowly it is not sent.
    /// fn send_position(connection: &Connection, position: String) -> Result<(), SendError> {
    ///     match connection.try_send(position) {
    ///         Err(SendError::Full) => Ok(()),
    ///         other => other,
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`SendError`]; `Full` if [`Connection::send`] would wait.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        match self.tenure.try_send(&message.into()) {
            Err(NotTaken::Pressed | NotTaken::LinkFull) => Err(SendError::Full),
            Err(NotTaken::For(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Closes the connection. Messages that come in from now on are dropped; the close event comes
    /// when the client's socket has closed. Closing twice does nothing more.
    ///
    /// ```
    /// use shovel_worker::{Error, MessageEvent};
    ///
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     if event.message().len() > 1000 {
    ///         event.connection().close(1009, "at most 1000 bytes")?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
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
    /// ```
    /// use shovel_worker::{Error, MessageEvent};
    ///
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     if let Some(room) = event.message().as_text() {
    ///         event.connection().subscribe(&format!("room:{room}"))?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
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
    /// ```
    /// # use shovel_worker::{ChannelError, Connection};
    /// fn change_room(connection: &Connection, from: &str, to: &str) -> Result<(), ChannelError> {
    ///     connection.unsubscribe(from)?;
    ///     connection.subscribe(to)
    /// }
    /// ```
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
    /// ```
    /// use shovel_worker::{Error, MessageEvent};
    ///
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     event.connection().publish("chat", event.message().clone()).await?;
    ///     Ok(())
    /// }
    /// ```
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
        match self.begin_publish(channel, message.into()) {
            Ok(()) => Ok(()),
            Err(later) => later.await,
        }
    }

    /// Sends once there is room. Few sends wait, so that is boxed: each handler that sends would
    /// hold it, and what a handler holds is moved with it.
    fn send_later(&self, message: Message) -> Later<'_, SendError> {
        Box::pin(async move {
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
        })
    }

    /// Publishes now, or else gives what does so later; boxed as a send that waits is.
    fn begin_publish<'a>(
        &'a self,
        channel: &'a str,
        message: Message,
    ) -> Result<(), Later<'a, PublishError>> {
        if let Ok(true) = self.tenure.try_publish(channel, &message) {
            return Ok(());
        }
        Err(Box::pin(async move {
            while !self.tenure.try_publish(channel, &message)? {
                self.tenure.link().wait_for_room().await;
            }
            Ok(())
        }))
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
