//! A connection as a stream and a sink of messages.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Error;
use futures_util::future::BoxFuture;
use futures_util::sink::Sink;
use futures_util::stream::{FusedStream, Stream};
use http::HeaderValue;
use shovel_protocol::{Close, CloseCode};

use super::delivery::{Delivery, Event, Events, Handled, Position};
use super::{CloseFrame, Message};
use crate::{Connection, SendError};

/// A client's WebSocket, as one task holds it.
///
/// It may be split by `futures_util`'s `StreamExt::split`. Dropped, it closes the connection with
/// 1000, or with 1011 by a panic. What was done by then with the message that was being handled does
/// not happen after a panic, if the connection is portable.
///
/// ```
/// use futures_util::{SinkExt, StreamExt};
/// use shovel_worker::axum::WebSocket;
///
/// /// Sends each message back, by its two halves.
/// async fn echo(socket: WebSocket) {
///     let (mut sink, mut stream) = socket.split();
///     while let Some(Ok(message)) = stream.next().await {
///         if sink.send(message).await.is_err() {
///             return;
///         }
///     }
/// }
/// ```
pub struct WebSocket {
    connection: Connection,
    events: Events,
    /// The message that was received last.
    handled: Option<Handled>,
    /// Its position.
    position: Position,
    ended: bool,
    /// A message that there is no room for yet.
    waiting: Option<BoxFuture<'static, Result<(), SendError>>>,
    protocol: Option<HeaderValue>,
    max_message_bytes: Option<usize>,
}

#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error("the client went away without closing the connection")]
    Lost,
    #[error("message has {len} bytes; at most {limit_bytes} are allowed")]
    TooLong { len: usize, limit_bytes: usize },
}

impl WebSocket {
    pub(super) fn new(
        connection: Connection,
        events: Events,
        protocol: Option<HeaderValue>,
        max_message_bytes: Option<usize>,
    ) -> WebSocket {
        WebSocket {
            connection,
            events,
            handled: None,
            position: Position::default(),
            ended: false,
            waiting: None,
            protocol,
            max_message_bytes,
        }
    }

    /// The next message; `None` after the last, which is [`Message::Close`].
    ///
    /// To ask for it says that the one before has been handled.
    ///
    /// ```
    /// # use shovel_worker::axum::{Message, WebSocket};
    /// async fn listen(mut socket: WebSocket) {
    ///     while let Some(Ok(message)) = socket.recv().await {
    ///         if let Message::Text(text) = message {
    ///             println!("{text}");
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// The client went away without closing the connection, or its message is longer than
    /// [`WebSocketUpgrade::max_message_size`](super::WebSocketUpgrade::max_message_size) allows.
    ///
    /// # Cancel safety
    /// Cancelled, it has taken no message.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// Sends a message; waits for room while the client reads too slowly.
    ///
    /// ```
    /// # use shovel_worker::axum::{Message, WebSocket};
    /// async fn greet(socket: &mut WebSocket) -> Result<(), axum::Error> {
    ///     socket.send(Message::text("hello")).await
    /// }
    /// ```
    ///
    /// # Errors
    /// The connection is closed, the message is longer than the supervisor allows, or it is a close
    /// frame that may not be sent.
    ///
    /// # Cancel safety
    /// Cancelled while it waits, the message is sent with the next one, or with the next flush.
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        poll_fn(|cx| self.poll_sent(cx)).await?;
        self.begin_send(message)?;
        poll_fn(|cx| self.poll_sent(cx)).await
    }

    /// The subprotocol that was picked.
    ///
    /// ```
    /// # use shovel_worker::axum::WebSocket;
    /// fn is_new(socket: &WebSocket) -> bool {
    ///     socket.protocol().is_some_and(|protocol| protocol == "chat.v2")
    /// }
    /// ```
    pub fn protocol(&self) -> Option<&HeaderValue> {
        self.protocol.as_ref()
    }

    /// The connection: its id, url and headers, and its channels. A clone may send from elsewhere,
    /// and outlives the socket.
    ///
    /// ```
    /// # use shovel_worker::axum::WebSocket;
    /// fn enter(socket: &WebSocket) -> Result<(), shovel_worker::ChannelError> {
    ///     socket.connection().subscribe("lobby")
    /// }
    /// ```
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        self.handled = None;
        if self.ended {
            return Poll::Ready(None);
        }
        let Some(event) = ready!(self.events.poll_recv(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(match event {
            Event::Message { message, position, handled } => {
                self.position = position;
                self.handled = Some(handled);
                self.check_length(&message).map(|()| message.into())
            }
            Event::Closed(close) => {
                self.ended = true;
                received_close(close)
            }
        }))
    }

    fn check_length(&self, message: &crate::Message) -> Result<(), Error> {
        let (len, limit_bytes) = (message.len(), self.max_message_bytes.unwrap_or(usize::MAX));
        if len <= limit_bytes {
            return Ok(());
        }
        self.close(CloseCode::TOO_BIG.0, "message too big")?;
        Err(Error::new(ReceiveError::TooLong { len, limit_bytes }))
    }

    /// Takes a message, when that before has been sent.
    fn begin_send(&mut self, message: Message) -> Result<(), Error> {
        assert!(self.waiting.is_none(), "`start_send` was called before `poll_ready` was ready");
        let message = match message {
            Message::Text(text) => crate::Message::Text(text),
            Message::Binary(data) => crate::Message::Binary(data),
            // Pings are the supervisor's.
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(None) => return self.close(CloseCode::NORMAL.0, ""),
            Message::Close(Some(frame)) => return self.close(frame.code, &frame.reason),
        };
        match self.connection.try_send(message.clone()) {
            Err(SendError::Full) => {
                let connection = self.connection.clone();
                self.waiting = Some(Box::pin(async move { connection.send(message).await }));
                Ok(())
            }
            sent => sent.map_err(Error::new),
        }
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(Ok(())) };
        let sent = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(sent.map_err(Error::new))
    }

    fn close(&self, code: u16, reason: &str) -> Result<(), Error> {
        self.connection.close(code, reason).map_err(Error::new)
    }
}

fn received_close(close: Close) -> Result<Message, Error> {
    match close.code {
        CloseCode::ABNORMAL => Err(Error::new(ReceiveError::Lost)),
        CloseCode::NO_STATUS => Ok(Message::Close(None)),
        CloseCode(code) => {
            Ok(Message::Close(Some(CloseFrame { code, reason: close.reason.into() })))
        }
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_receive(cx)
    }
}

impl FusedStream for WebSocket {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_sent(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.get_mut().begin_send(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_sent(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let socket = self.get_mut();
        ready!(socket.poll_sent(cx))?;
        Poll::Ready(socket.close(CloseCode::NORMAL.0, ""))
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        if self.connection.tenure.delivery.get().is_some_and(Delivery::moves) {
            // It goes on with another worker.
            return;
        }
        let code = match std::thread::panicking() {
            true => {
                self.connection.tenure.panicked();
                CloseCode::INTERNAL_ERROR
            }
            false => CloseCode::NORMAL,
        };
        // If it is closed already this does nothing.
        let _ = self.close(code.0, "");
    }
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("WebSocket");
        debug.field("connection", &self.connection).field("protocol", &self.protocol);
        debug.finish_non_exhaustive()
    }
}
