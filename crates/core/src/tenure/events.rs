//! What happens to a connection: one event after another, each with one handler.
//!
//! The walk: [`Tenure::begin`] -> the handler, or those of a row -> [`Tenure::end`], which commits and
//! begins the next.
//! A connection that is to leave finishes the handler that runs; what waits behind it is the next
//! worker's.

use super::{
    ClientState, EventQueue, OwnClose, Plain, Portable, Recall, Running, Staging, State, Tenure,
    WaitingEvent,
};

/// Which event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The first, of a connection that another worker had.
    Adopt,
    /// A message and its number.
    Message(u64),
    /// The connection's end and its number. Without one it is this worker's own: the supervisor does
    /// not have the connection, and nothing is committed.
    Close(Option<u64>),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next<E> {
    /// Call the event's handler.
    Handle(E),
    /// Call nothing, but end it: a message after the app's own close is dropped, but committed.
    Skip,
    /// Call the release handler: the connection is about to leave.
    Release {
        /// A handler was dropped for it, so nothing may be done to the connection any more.
        revoked: bool,
    },
}

/// How a handler has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// As it should.
    Done,
    /// With an error. What it did takes place all the same; only an adopt handler refuses by it.
    Failed,
    /// With a panic. What it has staged is dropped; what it had let out stays.
    Panicked,
}

/// What to write when a handler has ended: all of it in a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Conclusion<'a, S, A> {
    /// A plain connection's handlers have finished events up to `seq`.
    Plain {
        /// The event.
        seq: u64,
        /// It is the number after the last that was committed, which the flag LAST can say too.
        is_next: bool,
    },
    /// A handler of a portable connection has ended.
    Portable {
        /// What is attached, if that is new.
        attachment: Option<&'a A>,
        /// What the handler did. It is forgotten after this.
        staged: &'a mut S,
        /// Commits the two, unless it refuses.
        answer: Answer,
        /// So many `ws:pressed` go last.
        owed: u32,
    },
}

/// What a handler's end says of a portable connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// An event is finished; as [`Conclusion::Plain`].
    #[allow(missing_docs, reason = "as there")]
    Commit { seq: u64, is_next: bool },
    /// The connection is taken over, or refused.
    #[allow(missing_docs, reason = "one field says what its variant does")]
    Adopted { taken: bool },
    /// The connection is given up, and this the last of it.
    Released {
        /// The last event that was finished.
        handled: u64,
        /// The last that was begun.
        started: u64,
    },
}

/// What the running handler of a portable connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Event(What),
    Release { started: u64, revoked: bool },
}

impl<E, S: Staging, A> Tenure<E, S, A> {
    /// Begins an event if none is being handled. Else it waits until those before it have ended.
    #[inline]
    pub fn begin(&mut self, what: What, event: E) -> Option<Next<E>> {
        match &mut self.0 {
            State::Plain(plain) => {
                if plain.running.is_some() {
                    plain.waiting.push(what, event, plain.client);
                    return None;
                }
                plain.running = Some(what);
                Some(Next::of(what, event, plain.client))
            }
            State::Portable(portable) => {
                if portable.running.is_some() {
                    portable.waiting.push(what, event, portable.client);
                    return None;
                }
                portable.running = Some(Running::new(Subject::Event(what)));
                Some(Next::of(what, event, portable.client))
            }
            State::Withdrawn => Some(Next::Handle(event)),
            // Nothing happens before it is accepted, and what comes too late is the next worker's.
            State::Offered { .. } | State::Moved { .. } => None,
        }
    }

    /// The running handler has ended. `write` is called at most once, with what to tell the
    /// supervisor; the next event begins behind that. Behind [`Answer::Released`] there is none, and
    /// who waits for the connection is to be woken.
    #[inline]
    pub fn end(
        &mut self,
        outcome: Outcome,
        write: impl FnOnce(Conclusion<'_, S, A>),
    ) -> Option<Next<E>> {
        match &mut self.0 {
            State::Plain(plain) => plain.end(write),
            State::Portable(portable) => {
                let running = portable.running.take()?;
                if let Subject::Release { started, revoked } = running.subject {
                    let keep = !revoked && outcome != Outcome::Panicked;
                    // Behind the answer nobody hears that the pressure is known.
                    let running = Running { owed: 0, ..running };
                    let (handled, started) = (portable.committed, started.max(portable.committed));
                    portable.conclude(running, keep, Answer::Released { handled, started }, write);
                    let attachment = portable.attachment.take();
                    self.0 = State::Moved { attachment };
                    return None;
                }
                portable.end(running, outcome, write)
            }
            State::Offered { .. } | State::Withdrawn | State::Moved { .. } => None,
        }
    }

    /// The handlers of a row have ended, up to that of the message `handled`. As [`Tenure::end`].
    ///
    /// A row is several messages of a plain connection, of which only the first is begun here.
    #[inline]
    pub fn end_row(
        &mut self,
        handled: u64,
        write: impl FnOnce(Conclusion<'_, S, A>),
    ) -> Option<Next<E>> {
        if let State::Plain(plain) = &mut self.0 {
            plain.running = Some(What::Message(handled));
        }
        self.end(Outcome::Done, write)
    }

    /// The handlers of a row have ended up to that of the message `handled`; that of the next waits.
    /// The caller commits `handled`, in a frame of its own: the last send may be of the handler that
    /// waits.
    pub fn row_waits(&mut self, handled: u64, waiting: u64) {
        if let State::Plain(plain) = &mut self.0 {
            plain.committed = handled;
            plain.running = Some(What::Message(waiting));
        }
    }

    /// Part of the running handler has panicked, and the handler goes on: what is staged so far is
    /// dropped.
    pub fn panicked(&mut self) {
        if let State::Portable(portable) = &mut self.0
            && let Portable { running: Some(running), staged, .. } = &mut **portable
        {
            running.forget(staged);
        }
    }

    /// The supervisor wants the connection back: after the handler that runs. Messages that wait are
    /// the next worker's.
    pub fn release(&mut self) -> Option<Next<E>> {
        let portable = self.leaving()?;
        portable.waiting.0.clear();
        match &mut portable.running {
            Some(Running { asked: asked @ Recall::Nothing, .. }) => *asked = Recall::Release,
            Some(Running { asked: Recall::Release | Recall::Revoke, .. }) => {}
            None => return Some(portable.begin_release(portable.committed, false)),
        }
        None
    }

    /// The supervisor wants the connection back at once. `true` if a handler runs: it is to be
    /// dropped as soon as that can be, see [`Tenure::is_revoked`].
    pub fn revoke(&mut self) -> bool {
        // A worker that has given it up already has answered.
        let Some(Portable { running: Some(running), waiting, .. }) = self.leaving() else {
            return false;
        };
        running.asked = Recall::Revoke;
        waiting.0.clear();
        true
    }

    /// Whether the running handler is to be dropped, and then [`Tenure::handler_dropped`] called. What ends a
    /// revoked connection's last handler is not dropped itself.
    pub fn is_revoked(&self) -> bool {
        let State::Portable(portable) = &self.0 else { return false };
        portable.running.as_ref().is_some_and(|running| {
            running.asked == Recall::Revoke
                && !matches!(running.subject, Subject::Release { revoked: true, .. })
        })
    }

    /// The running handler was dropped, really: nothing that it staged happens.
    pub fn handler_dropped(&mut self) -> Option<Next<E>> {
        let State::Portable(portable) = &mut self.0 else { return None };
        let started = match portable.running.take()?.subject {
            Subject::Event(What::Message(seq) | What::Close(Some(seq))) => seq,
            Subject::Release { started, .. } => started,
            Subject::Event(What::Adopt | What::Close(None)) => portable.committed,
        };
        portable.staged.clear();
        Some(portable.begin_release(started, true))
    }

    /// A connection that can be given back.
    fn leaving(&mut self) -> Option<&mut Portable<E, S, A>> {
        match &mut self.0 {
            State::Portable(portable) if portable.client != ClientState::Gone => Some(portable),
            State::Portable(_)
            | State::Plain(_)
            | State::Offered { .. }
            | State::Withdrawn
            | State::Moved { .. } => None,
        }
    }
}

impl<E> Plain<E> {
    #[inline]
    fn end<S, A>(&mut self, write: impl FnOnce(Conclusion<'_, S, A>)) -> Option<Next<E>> {
        if let Some(seq) = self.running.take().and_then(What::seq) {
            let is_next = seq == self.committed + 1;
            self.committed = seq;
            write(Conclusion::Plain { seq, is_next });
        }
        let WaitingEvent { what, event } = self.waiting.0.pop_front()?;
        self.running = Some(what);
        Some(event.map_or(Next::Skip, Next::Handle))
    }
}

impl<E, S: Staging, A> Portable<E, S, A> {
    fn end(
        &mut self,
        running: Running<A>,
        outcome: Outcome,
        write: impl FnOnce(Conclusion<'_, S, A>),
    ) -> Option<Next<E>> {
        let asked = running.asked;
        match running.subject {
            Subject::Event(What::Adopt) => {
                let taken = outcome == Outcome::Done;
                self.conclude(running, taken, Answer::Adopted { taken }, write);
                if !taken {
                    // The supervisor closes it: it is here for its close event alone.
                    self.dismiss();
                }
            }
            Subject::Event(What::Message(seq) | What::Close(Some(seq))) => {
                let is_next = seq == self.committed + 1;
                self.committed = seq;
                let keep = outcome != Outcome::Panicked;
                self.conclude(running, keep, Answer::Commit { seq, is_next }, write);
            }
            // Nobody is told, and nothing was staged.
            Subject::Event(What::Close(None)) | Subject::Release { .. } => {}
        }
        if asked != Recall::Nothing && self.client != ClientState::Gone {
            return Some(self.begin_release(self.committed, asked == Recall::Revoke));
        }
        let WaitingEvent { what, event } = self.waiting.0.pop_front()?;
        self.running = Some(Running::new(Subject::Event(what)));
        Some(event.map_or(Next::Skip, Next::Handle))
    }

    /// Writes what a handler did, or if it is not to be kept forgets it, and the answer behind that.
    fn conclude(
        &mut self,
        mut running: Running<A>,
        keep: bool,
        answer: Answer,
        write: impl FnOnce(Conclusion<'_, S, A>),
    ) {
        if !keep {
            running.forget(&mut self.staged);
        }
        let Running { attached, close, owed, .. } = running;
        if close != OwnClose::No {
            self.dismiss();
        }
        let is_new = attached.is_some();
        self.attachment = attached.or(self.attachment.take());
        let attachment = self.attachment.as_ref().filter(|_| is_new);
        write(Conclusion::Portable { attachment, staged: &mut self.staged, answer, owed });
        self.staged.clear();
    }

    fn begin_release(&mut self, started: u64, revoked: bool) -> Next<E> {
        self.running = Some(Running::new(Subject::Release { started, revoked }));
        Next::Release { revoked }
    }
}

impl<A> Running<A> {
    fn new(subject: Subject) -> Self {
        Running { subject, asked: Recall::Nothing, attached: None, close: OwnClose::No, owed: 0 }
    }

    /// Nothing that is staged happens; what was let out stays.
    fn forget<S: Staging>(&mut self, staged: &mut S) {
        staged.clear();
        self.attached = None;
        if self.close == OwnClose::Staged {
            self.close = OwnClose::No;
        }
    }
}

impl What {
    fn seq(self) -> Option<u64> {
        match self {
            What::Message(seq) => Some(seq),
            What::Close(seq) => seq,
            What::Adopt => None,
        }
    }

    fn is_unwanted_of(self, client: ClientState) -> bool {
        matches!(self, What::Message(_)) && client == ClientState::Dismissed
    }
}

impl<E> Next<E> {
    /// The event, whose turn it is.
    fn of(what: What, event: E, client: ClientState) -> Self {
        match what.is_unwanted_of(client) {
            true => Next::Skip,
            false => Next::Handle(event),
        }
    }
}

impl<E> EventQueue<E> {
    fn push(&mut self, what: What, event: E, client: ClientState) {
        let event = (!what.is_unwanted_of(client)).then_some(event);
        self.0.push_back(WaitingEvent { what, event });
    }

    /// The app has closed the connection: its messages are dropped, but committed.
    pub(super) fn forget_messages(&mut self) {
        let messages = self.0.iter_mut().filter(|waiting| matches!(waiting.what, What::Message(_)));
        messages.for_each(|message| message.event = None);
    }
}
