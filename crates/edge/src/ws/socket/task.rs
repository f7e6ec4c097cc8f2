//! What the reader task and the deadlines of a thread ask of a socket.

use std::task::{Context, Poll};

use shovel_protocol::{Close, CloseCode};

use super::{Due, Phase, Socket, WeakSocket, Why};
use crate::Turn;
use crate::ws::decoder::Violation;
use crate::ws::encoder;
use crate::ws::outbox::Outbox;

impl Socket {
    /// Remembers whom to wake.
    pub(crate) fn set_task(&self, context: &Context<'_>) {
        let mut state = self.0.state.borrow_mut();
        if !state.task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            state.task = Some(context.waker().clone());
        }
    }

    pub(crate) fn turn(&self) -> &Turn {
        &self.0.turn
    }

    /// Whether messages are to be left unread.
    pub(crate) fn is_held(&self) -> bool {
        let state = self.0.state.borrow();
        state.paused && state.is_open()
    }

    /// Whether the client broke the protocol, so that what it says is not even decoded.
    pub(crate) fn is_deaf(&self) -> bool {
        matches!(self.0.state.borrow().phase, Phase::Closing { deaf: true, .. } | Phase::Ended(_))
    }

    /// Notes that bytes came, and whether a message among them is left unread.
    pub(crate) fn note_read(&self, withheld: bool) {
        let mut state = self.0.state.borrow_mut();
        state.heard = true;
        state.withheld = withheld;
    }

    /// What [`Socket::finish`] asked for, while the connection is open.
    pub(crate) fn finishing(&self) -> Option<(CloseCode, &'static str)> {
        let state = self.0.state.borrow();
        state.finish.filter(|_| state.is_open())
    }

    /// The client has said its last; what it said before may still be answered, for a while.
    pub(crate) fn settle(&self) {
        let mut state = self.0.state.borrow_mut();
        if state.is_open() && state.settling.is_none() {
            state.settling = Some(false);
            drop(state);
            self.0.deadlines.set(Due::Settle, self.downgrade());
        }
    }

    /// Whether there is nothing left to wait for.
    pub(crate) fn has_settled(&self) -> bool {
        let state = self.0.state.borrow();
        state.settling == Some(true) || !state.is_open()
    }

    pub(crate) fn pong(&self, payload: &[u8]) {
        let mut state = self.0.state.borrow_mut();
        // A client that sends pings and reads nothing would fill the outbox with pongs; one that
        // is over its limit goes without, which RFC 6455 §5.5.3 allows only as "most recent":
        // it has as good as stopped reading.
        if !state.is_open() || self.0.over.get() {
            return;
        }
        state.outbox.put(self.0.turn.buffers(), |out| encoder::put_pong(out, payload));
        drop(state);
        self.mark();
    }

    /// The client's close frame has come (RFC 6455 §5.5.1).
    pub(crate) fn answer_close(&self, received: Option<(CloseCode, &str)>) {
        let mut state = self.0.state.borrow_mut();
        match &mut state.phase {
            Phase::Open => {
                state.outbox.put(self.0.turn.buffers(), |out| {
                    encoder::put_close(out, received.map(|(code, _)| (code, "")));
                });
                let (code, reason) = received.unwrap_or((CloseCode::NO_STATUS, ""));
                let close = Close { code, reason: reason.to_owned(), was_clean: true };
                state.phase = Phase::Closing { close, deaf: false, answered: true };
                state.why.get_or_insert(Why::Client);
                drop(state);
                self.0.deadlines.set(Due::Close, self.downgrade());
                self.mark();
            }
            Phase::Closing { close, answered, .. } => {
                close.was_clean = true;
                *answered = true;
                drop(state);
                self.mark();
            }
            Phase::Ended(_) => {}
        }
    }

    /// The client broke the protocol: close, and do not listen any more (RFC 6455 §7.1.7).
    pub(crate) fn refuse(&self, violation: Violation) {
        let mut state = self.0.state.borrow_mut();
        if let Phase::Closing { deaf, .. } = &mut state.phase {
            *deaf = true;
            return;
        }
        drop(state);
        let (code, reason) = (violation.close_code(), violation.to_string());
        self.begin_close(code, &reason, Why::Violation(violation));
    }

    /// The stream has ended or failed.
    pub(crate) fn end(&self, why: Why) {
        self.0.state.borrow_mut().end(why);
    }

    /// How the connection ended, once it has.
    pub(crate) fn ended(&self) -> Option<Close> {
        match &self.0.state.borrow().phase {
            Phase::Ended(close) => Some(close.clone()),
            Phase::Open | Phase::Closing { .. } => None,
        }
    }

    /// A change of pressure that the backend has not been told of.
    pub(crate) fn take_pressure(&self) -> Option<bool> {
        let mut state = self.0.state.borrow_mut();
        let over = self.0.over.get();
        (std::mem::replace(&mut state.told_over, over) != over).then_some(over)
    }

    /// Writes on when the kernel takes bytes again.
    pub(crate) fn poll_write(&self, context: &mut Context<'_>) {
        loop {
            let mut state = self.0.state.borrow_mut();
            if !state.full {
                return;
            }
            let Some(write) = &state.write else { return };
            match write.poll_ready(context) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => return state.end(Why::Failed(error.kind())),
                Poll::Ready(Ok(())) => {
                    state.full = false;
                    drop(state);
                    self.0.write();
                }
            }
        }
    }

    /// Gives the stream back to the system.
    pub(crate) fn drop_stream(&self) {
        let mut state = self.0.state.borrow_mut();
        state.write = None;
        state.task = None;
        state.outbox = Outbox::default();
        self.0.note_waiting(0);
    }
}

impl Socket {
    /// A deadline has come; returns the next to set.
    pub(crate) fn on_due(&self, due: Due) -> Option<(Due, WeakSocket)> {
        let mut state = self.0.state.borrow_mut();
        let heard = std::mem::take(&mut state.heard);
        let next = match (due, &state.phase) {
            (Due::Close, Phase::Closing { .. }) => {
                state.end(Why::Gone);
                return None;
            }
            (Due::Ping, Phase::Open) if !heard => {
                let buffers = self.0.turn.buffers();
                state.outbox.put(buffers, |out| encoder::put_ping(out, b""));
                Due::Pong
            }
            (Due::Settle, Phase::Open) => {
                state.settling = Some(true);
                state.wake();
                return None;
            }
            // While we do not read, its pong cannot be seen.
            (Due::Pong, Phase::Open) if !heard && state.is_unread() => Due::Pong,
            (Due::Pong, Phase::Open) if !heard => {
                state.end(Why::NoPong);
                return None;
            }
            (Due::Ping | Due::Pong, Phase::Open) => Due::Ping,
            (_, Phase::Open | Phase::Closing { .. } | Phase::Ended(_)) => return None,
        };
        drop(state);
        self.mark();
        Some((next, self.downgrade()))
    }
}
