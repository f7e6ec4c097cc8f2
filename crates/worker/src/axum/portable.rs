//! A connection that outlives its worker, as one task holds it.

use std::fmt;

use axum::Error;

use super::{Message, WebSocket};
use crate::attachment::{self, Attachment, AttachmentError};

/// A portable connection, with the state that goes along to the next worker.
///
/// See [`WebSocketUpgrade::portable`](super::WebSocketUpgrade::portable). Dropped, it closes the
/// connection as a [`WebSocket`] does, unless it goes to another worker.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shovel_worker::Attachment;
/// use shovel_worker::axum::{Connection, Message};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Points {
///     n: u64,
/// }
///
/// impl Attachment for Points {}
///
/// /// What `state` holds survives the worker: here, how many messages there were.
/// async fn count(mut conn: Connection<Points>) {
///     while let Some(Ok(Message::Text(_))) = conn.recv().await {
///         conn.state.n += 1;
///     }
/// }
/// ```
pub struct Connection<T: Attachment> {
    /// What the next worker will know. It counts as it is when [`Connection::recv`] is called.
    pub state: T,
    socket: WebSocket,
    /// The state as it was attached last.
    saved: Vec<u8>,
}

impl<T: Attachment> Connection<T> {
    pub(super) fn new(socket: WebSocket, state: T) -> Result<Self, AttachmentError> {
        let mut connection = Connection { state, socket, saved: Vec::new() };
        connection.save()?;
        Ok(connection)
    }

    /// The next message; `None` after the last, which is [`Message::Close`].
    ///
    /// To ask for it says that the one before has been handled: what was done since, and
    /// [`Connection::state`], take effect together.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use shovel_worker::Attachment;
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Points { n: u64 }
    /// # impl Attachment for Points {}
    /// # use shovel_worker::axum::{Connection, Message};
    /// async fn sum(mut conn: Connection<Points>) {
    ///     while let Some(Ok(Message::Text(text))) = conn.recv().await {
    ///         // Counts once the next message is asked for.
    ///         conn.state.n += text.parse::<u64>().unwrap_or_default();
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`WebSocket::recv`]; or the state cannot be attached, so that the connection cannot move
    /// any more.
    ///
    /// # Cancel safety
    /// Cancelled, it has taken no message.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        if let Err(error) = self.save() {
            return Some(Err(Error::new(error)));
        }
        self.socket.recv().await
    }

    /// Sends a message; waits for room while the client reads too slowly.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use shovel_worker::Attachment;
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Points { n: u64 }
    /// # impl Attachment for Points {}
    /// # use shovel_worker::axum::{Connection, Message};
    /// async fn welcome(conn: &mut Connection<Points>) -> Result<(), axum::Error> {
    ///     conn.send(Message::text(format!("you have {} points", conn.state.n))).await
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    ///
    /// # Cancel safety
    /// As [`WebSocket::send`].
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message).await
    }

    /// The number of the message that was received last. Those of a connection count up from 1,
    /// whichever workers it has had; 0 before the first that this one received.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use shovel_worker::Attachment;
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Points { n: u64 }
    /// # impl Attachment for Points {}
    /// # use shovel_worker::axum::{Connection, Message};
    /// async fn number(conn: &mut Connection<Points>) -> Result<(), axum::Error> {
    ///     conn.send(Message::text(format!("that was message {}", conn.seq()))).await
    /// }
    /// ```
    pub fn seq(&self) -> u64 {
        self.socket.position().seq
    }

    /// Whether a worker that has lost the connection since may have begun to handle the message that
    /// was received last.
    ///
    /// What that one did to the connection did not happen. What it did elsewhere, such as in a
    /// database, may have: [`seq`](Self::seq) together with the connection's id is a key by which to
    /// find out.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use shovel_worker::Attachment;
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Points { n: u64 }
    /// # impl Attachment for Points {}
    /// # use shovel_worker::axum::Connection;
    /// # async fn is_booked(_key: &str) -> bool { true }
    /// /// Whether what this message asks for is still to be done.
    /// async fn is_to_do(conn: &Connection<Points>) -> bool {
    ///     let key = format!("{} {}", conn.connection().id(), conn.seq());
    ///     !(conn.redelivered() && is_booked(&key).await)
    /// }
    /// ```
    pub fn redelivered(&self) -> bool {
        self.socket.position().again.redelivered
    }

    /// Whether, beyond that, the client has seen something of it already: what was let out by
    /// [`flush`](crate::Connection::flush), or because it was over 1 MiB.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use shovel_worker::Attachment;
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Points { n: u64 }
    /// # impl Attachment for Points {}
    /// # use shovel_worker::axum::{Connection, Message};
    /// async fn begin(conn: &mut Connection<Points>) -> Result<(), axum::Error> {
    ///     match conn.partial() {
    ///         true => conn.send(Message::text("from the beginning:")).await,
    ///         false => Ok(()),
    ///     }
    /// }
    /// ```
    pub fn partial(&self) -> bool {
        self.socket.position().again.partial
    }

    /// The connection itself: its id, url and headers, and its channels. A clone may send from
    /// elsewhere; once the connection has moved it tells so ([`moved`](crate::Connection::moved)).
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use shovel_worker::Attachment;
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Points { n: u64 }
    /// # impl Attachment for Points {}
    /// # use shovel_worker::axum::Connection;
    /// fn enter(conn: &Connection<Points>) -> Result<(), shovel_worker::ChannelError> {
    ///     conn.connection().subscribe("lobby")
    /// }
    /// ```
    pub fn connection(&self) -> &crate::Connection {
        self.socket.connection()
    }

    fn save(&mut self) -> Result<(), AttachmentError> {
        let data = attachment::write(&self.state)?;
        if data != self.saved {
            self.connection().attach_bytes(T::VERSION, &data)?;
            self.saved = data;
        }
        Ok(())
    }
}

impl<T: Attachment> fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("socket", &self.socket).finish_non_exhaustive()
    }
}
