//! Events on their way through handlers: taken in, handed over, committed.

use std::time::Duration;

use shovel_protocol::Close;

use super::{Connection, Event, OutOfTurn, Record, Tenure};

/// An event to be handed to the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver<'a, M> {
    /// Its number.
    pub seq: u64,
    /// What happened.
    pub event: &'a Event<M>,
    /// A tenure that has ended may have begun it.
    pub redelivered: bool,
    /// And has let effects of it out.
    pub partial: bool,
}

/// What to do with a close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Hand it over under this number.
    HandOver(u64),
    /// It is kept, the last of the events that are to be handed over.
    Kept,
    /// There is one already, or the connection was never accepted.
    Nothing,
}

/// What a commit leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed<E> {
    /// What the handlers did, in order: to be applied now, before anything else.
    pub effects: E,
    /// What is left.
    pub left: Left,
}

/// What is left after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Events that are not finished. `open`: another message may be read.
    Some {
        /// Whether there is room for more.
        open: bool,
    },
    /// Everything that has come is finished.
    Nothing,
    /// The close event is finished: the connection is no more.
    Closed,
}

impl<O, M, E: Default> Connection<O, M, E> {
    /// Numbers a message of a connection that is not kept, which is handed over now, and says
    /// whether another may be read. `None` if nobody is there to take it, or its close has come.
    pub fn hand_over(&mut self, bytes: usize) -> Option<(u64, bool)> {
        if self.close.is_some() || !matches!(self.tenure, Tenure::Owned { .. }) {
            return None;
        }
        let Record::Sizes(window) = &mut self.record else { return None };
        self.sent += 1;
        window.push(bytes);
        Some((self.sent, window.is_open()))
    }

    /// Takes in a message of a connection that is kept, whoever owns it. `false` once its close has
    /// come: nothing may follow that.
    pub fn append(&mut self, message: M, bytes: usize) -> bool {
        let Record::Kept(kept) = &mut self.record else { return false };
        if self.close.is_some() {
            return false;
        }
        kept.log.push_message(message, bytes);
        true
    }

    /// Takes in the close, the last event. It comes once, and no bound holds it back.
    pub fn append_close(&mut self, close: Close) -> Closing {
        if self.close.is_some() || matches!(self.tenure, Tenure::Offered(_)) {
            return Closing::Nothing;
        }
        let seq = self.read() + 1;
        self.close = Some(seq);
        match &mut self.record {
            Record::Sizes(window) => {
                self.sent = seq;
                window.push(0);
                Closing::HandOver(seq)
            }
            Record::Kept(kept) => {
                kept.log.push_close(close);
                Closing::Kept
            }
        }
    }

    /// Whether its owner has something of it under way: an event, or the adoption itself. Of a
    /// connection that is not kept nobody asks.
    pub fn is_under_way(&self) -> bool {
        let is_adopting = matches!(self.tenure, Tenure::Adopting { .. });
        self.is_kept() && (self.sent > self.acked || is_adopting)
    }

    /// How long a trial lasts if what is to be done with it next is a suspect: the next event, or
    /// the adoption if nobody has it. Then it is to be done alone.
    pub fn suspect(&self) -> Option<Duration> {
        let kept = self.kept()?;
        let strikes = match self.tenure {
            Tenure::Unowned { .. } => kept.adopt_strikes,
            Tenure::Owned { .. } if self.sent == self.acked && kept.log.len() > 0 => kept.strikes,
            Tenure::Offered(_)
            | Tenure::Owned { .. }
            | Tenure::Releasing { .. }
            | Tenure::Adopting { .. } => return None,
        };
        strikes.is_suspect().then(|| strikes.trial())
    }

    /// Whether a suspect of it is under way.
    pub fn carries_suspect(&self) -> bool {
        self.kept().is_some_and(|kept| {
            let is_adopting = matches!(self.tenure, Tenure::Adopting { .. });
            (self.sent > self.acked && kept.strikes.is_suspect())
                || (is_adopting && kept.adopt_strikes.is_suspect())
        })
    }

    /// Whether there is an event that its owner is to be given next.
    pub fn has_next(&self) -> bool {
        let is_owned = matches!(self.tenure, Tenure::Owned { .. });
        is_owned && self.is_kept() && self.sent < self.read()
    }

    /// The next event for the owner, which counts as sent from here on. `None` if there is none, or
    /// nobody may be given one.
    #[expect(clippy::should_implement_trait, reason = "what it yields borrows from the connection")]
    pub fn next(&mut self) -> Option<HandOver<'_, M>> {
        let (Tenure::Owned { .. }, Record::Kept(kept)) = (&self.tenure, &self.record) else {
            return None;
        };
        let event = kept.log.at(self.sent - self.acked)?;
        self.sent += 1;
        let seq = self.sent;
        let redelivered = seq <= kept.maybe;
        let partial = redelivered && seq <= kept.partial;
        Some(HandOver { seq, event, redelivered, partial })
    }

    /// Where to put an effect that waits until its handler ends.
    ///
    /// # Errors
    /// [`OutOfTurn`] if the connection is not accepted, or not kept.
    pub fn staged(&mut self) -> Result<&mut E, OutOfTurn> {
        self.may_act()?;
        let Record::Kept(kept) = &mut self.record else { return Err(OutOfTurn::NotKept) };
        Ok(&mut kept.staged)
    }

    /// Whether an effect may take place at once. `during`: within a handler that has not ended.
    ///
    /// # Errors
    /// [`OutOfTurn`] if the connection is not accepted.
    pub fn act(&mut self, during: bool) -> Result<(), OutOfTurn> {
        self.may_act()?;
        // Without an event under way it is the adopt handler's, or the release hook's.
        let is_handling = self.sent > self.acked;
        if let Record::Kept(kept) = &mut self.record
            && during
            && is_handling
        {
            kept.partial = kept.partial.max(self.acked + 1);
        }
        Ok(())
    }

    /// The owner has finished all events up to `seq`. Earlier numbers than before only let out what
    /// is staged.
    ///
    /// # Errors
    /// [`OutOfTurn`] if nobody has the connection, or the event was never sent.
    pub fn commit(&mut self, seq: u64) -> Result<Committed<E>, OutOfTurn> {
        match self.tenure {
            Tenure::Offered(_) => return Err(OutOfTurn::Offered),
            Tenure::Adopting { .. } => return Err(OutOfTurn::Adopting),
            Tenure::Unowned { .. } => return Err(OutOfTurn::Unasked),
            Tenure::Owned { .. } | Tenure::Releasing { .. } => {}
        }
        if seq > self.sent {
            return Err(OutOfTurn::Beyond);
        }
        let effects = self.take_staged();
        // What was given up is not finished by anyone. And the close ends all: no tenure follows
        // that would ask how far this one came.
        if seq > self.acked && self.close.is_none_or(|close| seq < close) {
            self.committed = seq;
        }
        if seq > self.acked {
            self.finish_up_to(seq);
        }
        let left = if self.close == Some(self.acked) {
            Left::Closed
        } else if self.is_idle() {
            Left::Nothing
        } else {
            Left::Some { open: self.is_open() }
        };
        Ok(Committed { effects, left })
    }

    /// The owner has finished the next event: what the flag LAST says.
    ///
    /// # Errors
    /// As [`Connection::commit`].
    pub fn commit_next(&mut self) -> Result<Committed<E>, OutOfTurn> {
        self.commit(self.acked + 1)
    }

    /// Whether its owner may do something to it.
    fn may_act(&self) -> Result<(), OutOfTurn> {
        match self.tenure {
            Tenure::Offered(_) => Err(OutOfTurn::Offered),
            // A frame of nobody's comes over no owner's link.
            Tenure::Unowned { .. } => Err(OutOfTurn::Unasked),
            Tenure::Owned { .. } | Tenure::Releasing { .. } | Tenure::Adopting { .. } => Ok(()),
        }
    }

    pub(super) fn take_staged(&mut self) -> E {
        match &mut self.record {
            Record::Sizes(_) => E::default(),
            Record::Kept(kept) => std::mem::take(&mut kept.staged),
        }
    }

    fn finish_up_to(&mut self, seq: u64) {
        let finished = seq - self.acked;
        self.acked = seq;
        match &mut self.record {
            Record::Sizes(window) => window.pop(finished),
            Record::Kept(kept) => {
                (0..finished).for_each(|_| kept.log.pop());
                kept.strikes.clear();
            }
        }
    }
}
