//! What happens to a connection: one event after another, each with one handler.
//!
//! The walk: [`Tenure::begin`] -> the handler, or those of a row ([`super::super::in_place`]) ->
//! [`Tenure::end`], which commits and begins the next.
//! A connection that is to leave finishes the handler that runs; what waits behind it is the next
//! worker's.

use std::task::Waker;

use http::{HeaderMap, Method, Uri};
use shovel_protocol::control::AdoptCause;
use shovel_protocol::{Again, Close, ToSupervisor};

use super::{Leaving, Phase, State, Tenure};
use crate::event::Arrived;
use crate::lock::lock;

/// What happens to a connection, in order. A pointer each, since most of what an event costs would
/// be moving it from one hand to the next.
pub(crate) enum Event {
    /// The first, of a connection that another worker had.
    Adopted(Box<Adoption>),
    Message(Box<Arrived>),
    /// A message after the app's own close: it is dropped, but committed.
    Unwanted(Box<Arrived>),
    Closed(Box<Closed>),
    /// It goes to another worker.
    Released(Box<Release>),
}

/// A connection's end.
pub(crate) struct Closed {
    /// Without a number it is this worker's own, and is not committed.
    pub(crate) seq: Option<u64>,
    pub(crate) again: Again,
    pub(crate) close: Close,
}

/// That this worker gives a connection up.
pub(crate) struct Release {
    /// The event whose handler was dropped for it.
    pub(crate) started: Option<u64>,
    pub(crate) revoked: bool,
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

/// What to tell the supervisor when a handler has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// That the event is finished, if it has a number.
    Commit(Option<u64>),
    /// That the connection is taken over, or refused.
    Adopted { taken: bool },
    /// That it is given up.
    Released { started: Option<u64>, revoked: bool },
}

impl Tenure {
    /// Begins an event if none is being handled. Else it waits until those before it have ended.
    #[inline]
    pub(crate) fn begin(&self, event: Event) -> Option<Event> {
        let mut state = lock(&self.state);
        if state.handling {
            state.mailbox.push_back(event);
            return None;
        }
        state.handling = true;
        Some(state.begun(event))
    }

    /// The supervisor wants the connection back: after the handler that runs.
    pub(crate) fn release(&self) -> Option<Event> {
        let mut state = lock(&self.state);
        let State { phase: Phase::Open, portable: Some(portable), .. } = &mut *state else {
            return None;
        };
        if portable.leaving == Leaving::No {
            portable.leaving = Leaving::Released;
        }
        state.mailbox.clear();
        if state.handling {
            return None;
        }
        state.handling = true;
        Some(Event::released(None, false))
    }

    /// The supervisor wants the connection back at once: the handler that runs is dropped.
    pub(crate) fn revoke(&self) {
        let mut state = lock(&self.state);
        // A worker that has given it up already has answered.
        let State { phase: Phase::Open, portable: Some(portable), handling: true, .. } =
            &mut *state
        else {
            return;
        };
        portable.leaving = Leaving::Revoked;
        let task = portable.task.take();
        state.mailbox.clear();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Whether the running handler is to be dropped. If not, `task` is woken when it is.
    pub(crate) fn is_revoked(&self, task: &Waker) -> bool {
        let mut state = lock(&self.state);
        let Some(portable) = &mut state.portable else { return false };
        if portable.leaving == Leaving::Revoked {
            return true;
        }
        match &mut portable.task {
            Some(before) => before.clone_from(task),
            none => *none = Some(task.clone()),
        }
        false
    }

    /// The running handler was dropped: nothing that it did happens.
    pub(crate) fn drop_running(&self, after: After) -> Event {
        let mut state = lock(&self.state);
        if let Some(portable) = &mut state.portable {
            portable.held.clear();
            portable.is_new = false;
        }
        let started = match after {
            After::Commit(seq) => seq,
            After::Released { started, .. } => started,
            After::Adopted { .. } => None,
        };
        Event::released(started, true)
    }

    /// All messages of a plain connection up to `seq` are handled, and the handler of the one behind
    /// them waits: tells the supervisor.
    pub(crate) fn handled(&self, seq: u64) {
        lock(&self.state).committed = seq;
        // By a frame of its own: the last send may be that of the handler that waits.
        self.link.commit(self.wire, seq, false);
    }

    /// An event's handler has ended: tells the supervisor, and begins the next.
    #[inline]
    pub(crate) fn end(&self, after: After) -> Option<Event> {
        let mut state = lock(&self.state);
        match after {
            After::Commit(None) => {}
            After::Commit(Some(seq)) => self.commit(&mut state, seq),
            After::Adopted { taken } => self.answer_adoption(&mut state, taken),
            After::Released { started, revoked } => {
                self.give_back(&mut state, started, revoked);
                drop(state);
                self.relieved.notify_waiters();
                return None;
            }
        }
        let leaving = state.portable.as_ref().map_or(Leaving::No, |portable| portable.leaving);
        if leaving != Leaving::No && matches!(state.phase, Phase::Open) {
            let revoked = leaving == Leaving::Revoked;
            return Some(Event::released(None, revoked));
        }
        match state.mailbox.pop_front() {
            Some(event) => Some(state.begun(event)),
            None => {
                state.handling = false;
                None
            }
        }
    }

    fn commit(&self, state: &mut State, seq: u64) {
        let is_next = seq == state.committed + 1;
        state.committed = seq;
        let Some(portable) = &mut state.portable else {
            return self.link.commit(self.wire, seq, is_next);
        };
        let is_new = std::mem::take(&mut portable.is_new);
        let attached = portable.attached.as_ref().filter(|_| is_new);
        let held = &mut portable.held;
        let commit = |out: &mut Vec<u8>| held.commit(out, self.wire, attached, (seq, is_next));
        self.link.put_frames(self.wire.to_wire(), commit);
        self.answer_pressure(state);
    }

    fn answer_adoption(&self, state: &mut State, taken: bool) {
        let Some(portable) = &mut state.portable else { return };
        portable.adopting = false;
        if !taken {
            portable.held.clear();
            portable.is_new = false;
            // The supervisor closes it: it is here for its close event alone.
            state.app_closed = true;
        }
        let is_new = std::mem::take(&mut portable.is_new);
        let attached = portable.attached.as_ref().filter(|_| is_new);
        let (held, connection) = (&mut portable.held, self.wire);
        self.link.put_frames(connection.to_wire(), |out| {
            held.put(out, connection, attached);
            ToSupervisor::Adopted { connection, taken }.put(out);
        });
        self.answer_pressure(state);
    }

    fn give_back(&self, state: &mut State, started: Option<u64>, revoked: bool) {
        let handled = state.committed;
        let started = started.unwrap_or(handled).max(handled);
        state.phase = Phase::Moved;
        state.handling = false;
        let Some(portable) = &mut state.portable else { return };
        if revoked {
            portable.held.clear();
            portable.is_new = false;
        }
        let attached = portable.attached.as_ref().filter(|_| portable.is_new);
        let (held, connection) = (&mut portable.held, self.wire);
        self.link.put_frames(connection.to_wire(), |out| {
            held.put(out, connection, attached);
            ToSupervisor::Released { connection, handled, started }.put(out);
        });
        self.link.left(connection);
    }
}

impl Event {
    fn released(started: Option<u64>, revoked: bool) -> Event {
        Event::Released(Box::new(Release { started, revoked }))
    }
}

impl State {
    /// The event, whose turn it is.
    fn begun(&self, event: Event) -> Event {
        match event {
            Event::Message(arrived) if self.app_closed => Event::Unwanted(arrived),
            event => event,
        }
    }
}
