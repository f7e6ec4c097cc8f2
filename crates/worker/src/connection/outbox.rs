//! What waits for a client, and what becomes of what is published to one that reads too slowly.

use shovel_protocol::OutboxQuestion;

use super::Connection;

/// What becomes of a message that is published to a client while too much waits for it.
///
/// What an app sends to one client, by [`Connection::send`], is never dropped: that waits.
///
/// ```
/// use shovel_worker::{Error, FetchEvent, Response, SlowConsumer};
///
/// /// Positions: only the newest are of use to anybody.
/// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
///     let (connection, response) = event.upgrade_websocket()?;
///     connection.set_slow_consumer(SlowConsumer::DropOldest);
///     connection.subscribe("positions")?;
///     Ok(response)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// What the pool's `--slow-consumer` says.
    #[default]
    AsConfigured,
    /// The client is closed with 1008.
    Close,
    /// The message is dropped.
    DropNewest,
    /// Messages that wait for longer and were published make room for it; if that is not enough, it
    /// is dropped.
    DropOldest,
}

/// Why it is not known what waits for a client.
///
/// ```
/// use shovel_worker::{Connection, OutboxError};
///
/// /// With a supervisor that does not tell, as if nothing waited.
/// async fn lag(connection: &Connection) -> Result<usize, OutboxError> {
///     match connection.buffered().await {
///         Err(OutboxError::Unsupported) => Ok(0),
///         told => told,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The client has gone, and what waited for it with it.
    #[error("the connection is closed")]
    Closed,
    /// Another worker has the connection by now: ask there.
    #[error("the connection has moved to another worker")]
    Moved,
    /// Its fetch handler has not returned the upgrade: until then nothing has been sent.
    #[error("the connection is not accepted yet; return the upgrade first")]
    NotAccepted,
    /// The supervisor is older than this library and does not tell.
    #[error("the supervisor does not tell what waits for a client")]
    Unsupported,
}

impl Connection {
    /// Chooses, for this connection, what becomes of what is published to its client while over
    /// `--outbox-limit` waits for that. It stays so wherever the connection moves, until this is called
    /// again.
    ///
    /// It takes effect when a subscription would: within a handler of a portable connection with all
    /// else that it did. A supervisor that is older than this library goes on as it is configured.
    ///
    /// ```
    /// use shovel_worker::{Error, MessageEvent, SlowConsumer};
    ///
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     if event.message().as_text() == Some("every one, please") {
    ///         event.connection().set_slow_consumer(SlowConsumer::Close);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn set_slow_consumer(&self, policy: SlowConsumer) {
        use shovel_protocol::SlowConsumer as Wire;
        self.tenure.set_slow_consumer(match policy {
            SlowConsumer::AsConfigured => None,
            SlowConsumer::Close => Some(Wire::Close),
            SlowConsumer::DropNewest => Some(Wire::DropNewest),
            SlowConsumer::DropOldest => Some(Wire::DropOldest),
        });
    }

    /// How many bytes wait in the supervisor for this client: of all that was sent and published to it
    /// so far, what its socket does not take now. What is in the kernel's hands already is not counted,
    /// nor what a handler of a portable connection has sent before it ended or called
    /// [`Connection::flush`].
    ///
    /// ```
    /// use shovel_worker::{Connection, Error};
    ///
    /// /// To a client that lags, pictures are sent in a smaller size.
    /// async fn size(connection: &Connection) -> Result<u32, Error> {
    ///     Ok(if connection.buffered().await? > 100_000 { 320 } else { 1280 })
    /// }
    /// ```
    ///
    /// # Errors
    /// [`OutboxError`].
    ///
    /// # Cancel safety
    /// Safe: only asks.
    pub async fn buffered(&self) -> Result<usize, OutboxError> {
        let bytes = self.tenure.ask(OutboxQuestion::Bytes).await?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Waits until nothing waits for this client any more, as [`Connection::buffered`] counts. Others
    /// may have sent or published to it again by then.
    ///
    /// ```
    /// use shovel_worker::{Connection, Error};
    ///
    /// /// One part after the other, each when its client has taken those before: so others can say
    /// /// something in between.
    /// async fn send_file(connection: Connection, parts: Vec<Vec<u8>>) -> Result<(), Error> {
    ///     for part in parts {
    ///         connection.send(part).await?;
    ///         connection.outbox_empty().await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`OutboxError`]: `Closed` and `Moved` also if that happens while this waits.
    ///
    /// # Cancel safety
    /// Safe: only waits.
    pub async fn outbox_empty(&self) -> Result<(), OutboxError> {
        self.tenure.ask(OutboxQuestion::Empty).await.map(drop)
    }
}
