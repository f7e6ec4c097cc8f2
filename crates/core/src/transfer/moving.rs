//! A connection on its way from one worker to the next.
//!
//! A living worker is never robbed of it: it is asked (`release`), then told (`revoke`), and at
//! last its process is ended, which makes an orphan. The lease of a connection ends with each
//! tenure and each offer: the caller renews it where these functions hand the owner back.

use shovel_protocol::Close;
use shovel_protocol::control::AdoptCause;

use super::{Connection, Kept, OutOfTurn, Record, Tenure};

/// What `ws:released` leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released<O, E> {
    /// Who had it. The connection is unowned now, and its lease over.
    pub owner: O,
    /// What the app did while it gave the connection up: to be applied now.
    pub effects: E,
    /// It was not taken over in time once too often: to be closed with 1011, and forgotten.
    pub hopeless: bool,
}

/// Whether a worker's death counts against what it was handling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It was ended by us.
    None,
    /// It died by itself, or hung, and had other things under way too.
    InCompany,
    /// It died by itself, or hung, and had nothing else under way.
    Alone,
}

/// What becomes of a connection whose worker has died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orphaned {
    /// It waits for another worker. Its lease is over.
    Unowned,
    /// As [`Orphaned::Unowned`], but the event that killed its workers was given up with all that
    /// came behind it, this many messages: only its close, which is 1011, is left.
    Quarantined {
        /// How many messages nobody will handle.
        dropped: u64,
    },
    /// It ends here: close it with 1011, unless it was only offered.
    Lost,
}

impl<O, M, E: Default> Connection<O, M, E> {
    /// Why a worker is asked to take it over; `None` if none is.
    pub fn cause(&self) -> Option<AdoptCause> {
        match self.tenure {
            Tenure::Adopting { cause, .. } => Some(cause),
            Tenure::Offered(_)
            | Tenure::Owned { .. }
            | Tenure::Releasing { .. }
            | Tenure::Unowned { .. } => None,
        }
    }

    /// Asks the owner to give it up. `false` if it is not one that can move now: nobody owns it, it
    /// has no attachment, or its close has come.
    pub fn release(&mut self, cause: AdoptCause) -> bool {
        let can_move = self.is_portable() && self.close.is_none();
        if !can_move || !matches!(self.tenure, Tenure::Owned { .. }) {
            return false;
        }
        self.tenure = match self.take_tenure() {
            Tenure::Owned { owner, .. } => Tenure::Releasing { owner, revoked: false, cause },
            other => other,
        };
        true
    }

    /// Tells whoever was asked, and has not answered in time, to answer at once. `false` if nobody
    /// was asked, or was told before.
    pub fn revoke(&mut self) -> bool {
        match &mut self.tenure {
            Tenure::Releasing { revoked, .. } | Tenure::Adopting { revoked, .. } => {
                !std::mem::replace(revoked, true)
            }
            Tenure::Offered(_) | Tenure::Owned { .. } | Tenure::Unowned { .. } => false,
        }
    }

    /// The owner has given it up. Whoever was told to while it still adopted may also do so right
    /// after it took the connection over: the two have crossed. `handled` is the last event that it
    /// finished, `started` the last that it began.
    ///
    /// # Errors
    /// [`OutOfTurn`] if it was not asked, or its numbers are not those of its commits.
    pub fn released(&mut self, handled: u64, started: u64) -> Result<Released<O, E>, OutOfTurn> {
        let (was_adopting, cause) = match self.tenure {
            Tenure::Releasing { cause, .. } => (false, cause),
            Tenure::Adopting { revoked: true, cause, .. } => (true, cause),
            Tenure::Owned { crossed: Some(cause), .. } => (false, cause),
            Tenure::Offered(_) => return Err(OutOfTurn::Offered),
            Tenure::Owned { crossed: None, .. }
            | Tenure::Adopting { revoked: false, .. }
            | Tenure::Unowned { .. } => return Err(OutOfTurn::Unasked),
        };
        if handled != self.committed || started < handled || started > self.sent.max(handled) {
            return Err(OutOfTurn::Disagrees);
        }
        let staged = self.take_staged();
        // What a handler did that was dropped does not happen.
        let effects = if started > handled { E::default() } else { staged };
        let mut hopeless = false;
        if let Record::Kept(kept) = &mut self.record {
            kept.maybe = kept.maybe.max(started);
            hopeless = was_adopting && kept.adopt_strikes.add(Blame::Alone);
        }
        self.sent = self.acked;
        match std::mem::replace(&mut self.tenure, Tenure::Unowned { cause }) {
            Tenure::Owned { owner, .. }
            | Tenure::Releasing { owner, .. }
            | Tenure::Adopting { owner, .. } => Ok(Released { owner, effects, hopeless }),
            Tenure::Offered(_) | Tenure::Unowned { .. } => Err(OutOfTurn::Unasked),
        }
    }

    /// Has a worker take it over; returns why, for it to be told. `None`, and the worker is not
    /// taken, unless nobody has the connection.
    pub fn adopt(&mut self, owner: O) -> Option<AdoptCause> {
        let Tenure::Unowned { cause } = self.tenure else { return None };
        self.tenure = Tenure::Adopting { owner, revoked: false, cause };
        Some(cause)
    }

    /// The worker has taken it over; returns what its adopt handler did, to be applied now.
    ///
    /// # Errors
    /// [`OutOfTurn`] if it was not asked.
    pub fn adopted(&mut self) -> Result<E, OutOfTurn> {
        self.end_adopting()?;
        Ok(self.take_staged())
    }

    /// The worker refuses it: it owns the connection for its close event alone. `close` is that
    /// event, unless there is one. Returns how many messages nobody will handle.
    ///
    /// # Errors
    /// [`OutOfTurn`] if it was not asked.
    pub fn refused(&mut self, close: Close) -> Result<u64, OutOfTurn> {
        self.end_adopting()?;
        // What a handler did that failed to adopt does not happen.
        self.take_staged();
        Ok(self.give_up_messages(close))
    }

    /// The owner's process is gone, and its link read to the end.
    pub fn orphan(&mut self, blame: Blame, close: Close) -> Orphaned {
        let (sent, acked) = (self.sent, self.acked);
        let was_adopting = matches!(self.tenure, Tenure::Adopting { .. });
        let Record::Kept(kept) = &mut self.record else { return Orphaned::Lost };
        if kept.attachment.is_none() || matches!(self.tenure, Tenure::Offered(_)) {
            return Orphaned::Lost;
        }
        kept.staged = E::default();
        kept.maybe = kept.maybe.max(sent);
        self.sent = acked;
        self.tenure = Tenure::Unowned { cause: AdoptCause::Crash };
        let is_guilty = if was_adopting {
            kept.adopt_strikes.add(blame)
        } else {
            sent > acked && kept.strikes.add(blame)
        };
        match (is_guilty, was_adopting) {
            (false, _) => Orphaned::Unowned,
            // Another worker would have to adopt it to hear of its close.
            (true, true) => Orphaned::Lost,
            (true, false) if self.close == Some(acked + 1) => Orphaned::Lost,
            (true, false) => Orphaned::Quarantined { dropped: self.give_up_messages(close) },
        }
    }

    fn end_adopting(&mut self) -> Result<(), OutOfTurn> {
        match self.tenure {
            Tenure::Adopting { .. } => {}
            Tenure::Offered(_) => return Err(OutOfTurn::Offered),
            Tenure::Owned { .. } | Tenure::Releasing { .. } | Tenure::Unowned { .. } => {
                return Err(OutOfTurn::Unasked);
            }
        }
        self.tenure = match self.take_tenure() {
            Tenure::Adopting { owner, revoked, cause } => {
                Tenure::Owned { owner, crossed: revoked.then_some(cause) }
            }
            other => other,
        };
        // An answer acquits, whatever it is.
        if let Record::Kept(kept) = &mut self.record {
            kept.adopt_strikes.clear();
        }
        Ok(())
    }

    /// Leaves the close as the only event.
    fn give_up_messages(&mut self, close: Close) -> u64 {
        self.append_close(close);
        let Record::Kept(kept) = &mut self.record else { return 0 };
        let Kept { log, strikes, .. } = &mut **kept;
        let dropped = log.drop_messages();
        if dropped > 0 {
            strikes.clear();
        }
        self.acked += dropped;
        self.sent = self.acked;
        dropped
    }
}
