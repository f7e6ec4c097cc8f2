//! A send, which is done when it is first polled unless it has to wait.
//!
//! Written by hand since most messages are answered by one: a handler holds it, and an async
//! function would hold its arguments twice.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Connection, Later};
use crate::{Message, SendError};

/// The future of [`Connection::send`]. Nothing is sent before it is awaited.
///
/// ```
/// use shovel_worker::{Error, MessageEvent};
///
/// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
///     let answer = event.connection().send("text");
///     answer.await?;
///     Ok(())
/// }
/// ```
#[must_use = "nothing is sent before it is awaited"]
pub struct Sending<'a> {
    connection: &'a Connection,
    state: State<'a>,
}

enum State<'a> {
    New(Message),
    Waiting(Later<'a, SendError>),
    Ended,
}

impl<'a> Sending<'a> {
    pub(super) fn new(connection: &'a Connection, message: Message) -> Self {
        Sending { connection, state: State::New(message) }
    }
}

impl Future for Sending<'_> {
    type Output = Result<(), SendError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::New(message) = &self.state
            && self.connection.tenure.try_send(message).is_ok()
        {
            self.state = State::Ended;
            return Poll::Ready(Ok(()));
        }
        self.wait(cx)
    }
}

impl Sending<'_> {
    #[cold]
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if let State::New(_) = &self.state
            && let State::New(message) = std::mem::replace(&mut self.state, State::Ended)
        {
            self.state = State::Waiting(self.connection.send_later(message));
        }
        let State::Waiting(later) = &mut self.state else {
            panic!("a send was polled after its end");
        };
        later.as_mut().poll(cx).map(|result| {
            self.state = State::Ended;
            result
        })
    }
}
