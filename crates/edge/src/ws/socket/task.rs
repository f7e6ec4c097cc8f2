//! What the reader task and the deadlines of a thread ask of a socket.

use std::task::{Context, Poll};

use shovel_protocol::{Close, CloseCode};

use super::{Due, Emptied, Phase, Socket, State, Why};
use crate::Turn;
use crate::ledger::{Held, Reads};
use crate::outbox::Outbox;
use crate::ws::decoder::{Hold, Violation};
use crate::ws::encoder;

/// So much may still go out to a client that is closed for what it holds.
const EVICTED_BYTES: usize = 4 * 1024;

impl Socket {
    /// Remembers whom to wake.
    pub(crate) fn set_task(&self, context: &Context<'_>) {
        let mut state = self.0.state.borrow_mut();
        if !state.task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            state.task = Some(context.waker().clone());
        }
    }

    /// Of its thread.
    pub fn turn(&self) -> &Turn {
        &self.0.turn
    }

    /// What is to be left unread, and whether messages are taken. `None` if nothing is even to be
    /// decoded, since the client broke the protocol. One look, since each message needs it.
    #[inline]
    pub(crate) fn hold(&self) -> Option<(Hold, bool)> {
        let state = self.0.state.borrow();
        match &state.phase {
            Phase::Open if state.paused | state.throttled => Some((Hold::Data, true)),
            Phase::Open => Some((Hold::Nothing, true)),
            Phase::Closing { deaf: false, .. } => Some((Hold::Nothing, false)),
            Phase::Closing { deaf: true, .. } | Phase::Ended(_) => None,
        }
    }

    /// Notes that bytes came, whether a message among them is left unread, and where the client
    /// stands in one that has not ended: some number that changes with each byte of it.
    pub(crate) fn note_read(&self, withheld: bool, message: Option<u64>) {
        let mut state = self.0.state.borrow_mut();
        state.heard = true;
        state.withheld = withheld;
        state.message = message;
        if message.is_some() && !std::mem::replace(&mut state.looks.at_message, true) {
            self.0.deadlines.set(Due::Message, self.downgrade());
        }
        if withheld {
            self.look_for_end(&mut state);
        }
    }

    /// As [`Socket::pause`], by its reader.
    pub(crate) fn throttle(&self, throttled: bool) {
        self.0.state.borrow_mut().throttled = throttled;
    }

    /// How much of the client is to be read now.
    #[inline]
    pub(crate) fn reads(&self) -> Reads {
        self.0.account.reads()
    }

    /// Nothing is read of the client for now, since memory is short; or no longer so.
    pub(crate) fn starve(&self, is_starved: bool) {
        let mut state = self.0.state.borrow_mut();
        state.starved = is_starved;
        if is_starved {
            self.look_for_end(&mut state);
        }
    }

    /// It is not read: looks whether its client has gone, from now on.
    fn look_for_end(&self, state: &mut State) {
        if !std::mem::replace(&mut state.looks.at_unread, true) {
            self.0.deadlines.set(Due::Unread, self.downgrade());
        }
    }

    /// Notes what is held of what came of the client.
    #[inline]
    pub(crate) fn note_incoming(&self, bytes: usize) {
        self.0.account.note_incoming(bytes, || self.0.state.borrow().task.clone());
    }

    /// Whether it is to be closed, since it holds too much. Told once.
    #[inline]
    pub(crate) fn take_eviction(&self) -> bool {
        self.0.account.take_eviction()
    }

    /// Closes it so that its memory is free at once. It hears why if that can still be said.
    pub(crate) fn evict(&self) {
        self.0.state.borrow_mut().outbox.discard(self.0.turn.buffers());
        self.begin_close(CloseCode::POLICY, "held too much memory", Why::HeldTooMuch);
        let mut state = self.0.state.borrow_mut();
        let state = &mut *state;
        let Phase::Closing { deaf, .. } = &mut state.phase else { return };
        *deaf = true;
        // What is half out cannot be taken back, and its client does not take it.
        if state.outbox.bytes() > EVICTED_BYTES {
            state.outbox = Outbox::default();
            state.end(Why::HeldTooMuch);
        }
        self.0.note_fill(state, false);
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
                self.look_at_close(&mut state);
                drop(state);
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

    /// Whether our close frame is still to go out. Then the task is woken when it has.
    pub(crate) fn is_saying_goodbye(&self) -> bool {
        let state = self.0.state.borrow();
        matches!(state.phase, Phase::Closing { .. }) && state.outbox.bytes() > 0
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

    /// Whether nothing waited for a moment, which the backend has not been told of.
    pub(crate) fn take_emptied(&self) -> bool {
        let is_untold = self.0.emptied.get() == Emptied::Untold;
        if is_untold {
            self.0.emptied.set(Emptied::Unasked);
        }
        is_untold
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
        self.0.account.note(Held::default(), false, || None);
    }
}
