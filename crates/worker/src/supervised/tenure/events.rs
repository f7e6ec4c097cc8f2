//! What happens to a connection: one event after another, each with one handler.
//!
//! The walk: [`SharedTenure::begin`] -> the handler, or those of a row ([`super::super::in_place`]) ->
//! [`SharedTenure::end`], which commits and begins the next.

use std::task::Waker;

use http::{HeaderMap, Method, Uri};
use shovel_core::tenure::{self, Answer, Conclusion, Outcome, What};
use shovel_protocol::control::AdoptCause;
use shovel_protocol::{Again, Close, ToSupervisor};

use super::{Attached, SharedTenure, Staged};
use crate::event::Arrived;
use crate::lock::lock;

/// What happens to a connection, in order. A pointer each, since most of what an event costs would
/// be moving it from one hand to the next.
pub(crate) enum Event {
    /// The first, of a connection that another worker had.
    Adopted(Box<Adoption>),
    Message(Box<Arrived>),
    Closed(Box<Closed>),
}

/// What to do next.
pub(crate) type Next = tenure::Next<Event>;

/// A connection's end.
pub(crate) struct Closed {
    /// Without a number it is this worker's own, and is not committed.
    pub(crate) seq: Option<u64>,
    pub(crate) again: Again,
    pub(crate) close: Close,
}

/// What a worker is told of a connection that it takes over, beside the connection itself.
pub(crate) struct Adoption {
    pub(crate) cause: AdoptCause,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) client: Option<std::net::SocketAddr>,
    pub(crate) channels: Vec<String>,
}

impl Event {
    fn what(&self) -> What {
        match self {
            Event::Adopted(_) => What::Adopt,
            Event::Message(arrived) => What::Message(arrived.seq),
            Event::Closed(closed) => What::Close(closed.seq),
        }
    }
}

impl SharedTenure {
    /// Begins an event if none is being handled. Else it waits until those before it have ended.
    #[inline]
    pub(crate) fn begin(&self, event: Event) -> Option<Next> {
        lock(&self.state).decided.begin(event.what(), event)
    }

    /// The supervisor wants the connection back: after the handler that runs.
    pub(crate) fn release(&self) -> Option<Next> {
        lock(&self.state).decided.release()
    }

    /// The supervisor wants the connection back at once: the handler that runs is dropped.
    pub(crate) fn revoke(&self) {
        let mut state = lock(&self.state);
        let task = if state.decided.revoke() { state.task.take() } else { None };
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Whether the running handler is to be dropped. If not, `task` is woken when it is.
    pub(crate) fn is_revoked(&self, task: &Waker) -> bool {
        let mut state = lock(&self.state);
        if state.decided.is_revoked() {
            return true;
        }
        match &mut state.task {
            Some(before) => before.clone_from(task),
            none => *none = Some(task.clone()),
        }
        false
    }

    /// The running handler was dropped: nothing that it did happens.
    pub(crate) fn handler_dropped(&self) -> Option<Next> {
        lock(&self.state).decided.handler_dropped()
    }

    /// The task that the running handler waits for has panicked: what is staged so far is dropped.
    pub(crate) fn panicked(&self) {
        lock(&self.state).decided.panicked();
    }

    /// All messages of a row up to `handled` are handled, and the handler of `waiting` waits: tells
    /// the supervisor.
    pub(crate) fn row_waits(&self, handled: u64, waiting: u64) {
        lock(&self.state).decided.row_waits(handled, waiting);
        // By a frame of its own: the last send may be that of the handler that waits.
        self.link.commit(self.wire, handled, false);
    }

    /// The handlers of a row have ended: tells the supervisor, and begins the next.
    #[inline]
    pub(crate) fn end_row(&self, handled: u64) -> Option<Next> {
        lock(&self.state).decided.end_row(handled, |conclusion| self.conclude(conclusion))
    }

    /// An event's handler has ended: tells the supervisor, and begins the next.
    #[inline]
    pub(crate) fn end(&self, outcome: Outcome) -> Option<Next> {
        let mut state = lock(&self.state);
        let next = state.decided.end(outcome, |conclusion| self.conclude(conclusion));
        if next.is_none() && state.decided.has_moved() {
            drop(state);
            self.relieved.notify_waiters();
        }
        next
    }

    fn conclude(&self, conclusion: Conclusion<'_, Staged, Attached>) {
        let connection = self.wire;
        let (attached, staged, answer, owed) = match conclusion {
            Conclusion::Plain { seq, is_next } => {
                return self.link.commit(connection, seq, is_next);
            }
            Conclusion::Portable { attachment, staged, answer, owed } => {
                (attachment, staged, answer, owed)
            }
        };
        self.link.put_frames(connection.to_wire(), |out| {
            match answer {
                Answer::Commit { seq, is_next } => {
                    staged.commit(out, connection, attached, (seq, is_next));
                }
                Answer::Adopted { taken } => {
                    staged.put(out, connection, attached);
                    ToSupervisor::Adopted { connection, taken }.put(out);
                }
                Answer::Released { handled, started } => {
                    staged.put(out, connection, attached);
                    ToSupervisor::Released { connection, handled, started }.put(out);
                }
            }
            self.put_pressed(out, owed);
        });
        if matches!(answer, Answer::Released { .. }) {
            self.link.left(connection);
        }
    }
}
