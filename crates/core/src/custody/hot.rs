//! What most frames need: direct calls that return what to do, beside the queue of commands.
//!
//! A message comes: [`Custody::hand_over`] numbers it, if its connection ends with its worker;
//! [`Custody::take_in`] keeps it, if the connection is portable, and [`Custody::next`] gives what is
//! to be handed over. A handler acts ([`Custody::act`], [`Custody::stage`]) and ends
//! ([`Custody::commit`]).

use std::hint::cold_path;

use shovel_protocol::{Close, LeaseId, WorkerId};

use super::connection::{Record, State};
use super::log::Kept;
use super::{ClientHandle, Connection, Custody, OutOfTurn, Route, WorkerCell};

/// A message that has come.
pub enum Arrived<'a, W, C> {
    /// It goes to its owner now.
    Goes(PlainMessage<'a, W, C>),
    /// Its connection is portable: [`Custody::take_in`] it.
    ToKeep,
    /// Nobody is there to take it, or its close has come.
    Dropped,
}

impl<W, C> Arrived<'_, W, C> {
    /// The compiler is told that this is rare: behind so many tests, each as likely as not, it would
    /// take the way of most for rare, and leave calls on it.
    #[inline(always)]
    fn dropped() -> Self {
        cold_path();
        Arrived::Dropped
    }
}

/// A message of a connection that ends with its worker.
pub struct PlainMessage<'a, W, C> {
    /// Whose it is, as the owner knows it.
    pub connection: LeaseId,
    /// Its number.
    pub seq: u64,
    /// Whether another one may be read.
    pub has_room: bool,
    /// The owner.
    pub worker: &'a W,
    /// Whose client it is.
    pub client: &'a mut C,
}

/// An event to be handed to the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextEvent<'a, W, M> {
    /// The owner.
    pub worker: &'a W,
    /// Its number.
    pub seq: u64,
    /// What happened.
    pub event: &'a Kept<M>,
    /// A tenure that has ended may have begun it.
    pub redelivered: bool,
    /// And has let acts of it out.
    pub partial: bool,
}

/// What to do with a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Hand it over under this number.
    HandOver(u64),
    /// It is kept, the last of the events that are to be handed over.
    Kept,
    /// There is one already, or the connection was never accepted.
    Nothing,
}

/// The close of a connection that is cut off, to be handed to its owner at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEvent {
    /// As the owner knows it.
    pub connection: LeaseId,
    /// The owner.
    pub worker: WorkerId,
    /// Its number.
    pub seq: u64,
    /// A tenure that has ended may have begun it.
    pub redelivered: bool,
    /// And has let acts of it out.
    pub partial: bool,
}

/// What a commit leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed<E> {
    /// What the handlers did, in order: to be done now, before anything else.
    pub acts: E,
    /// What is left.
    pub left: Left,
}

/// What is left after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Events that are not finished.
    Some {
        /// Whether there is room for more.
        has_room: bool,
    },
    /// Everything that has come is finished.
    Nothing,
    /// The close event is finished: the connection is no more.
    Closed,
}

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// Numbers a message of a connection that ends with its worker; it is handed over now.
    #[inline]
    pub fn hand_over(&mut self, route: Route, bytes: usize) -> Arrived<'_, W, C> {
        let Some((id, connection)) = self.connections.leased_at_mut(route.slot) else {
            return Arrived::dropped();
        };
        if connection.born != route.born || connection.close.is_some() {
            return Arrived::dropped();
        }
        let Record::Plain(window) = &mut connection.record else { return Arrived::ToKeep };
        let State::Owned { owner, .. } = connection.state else { return Arrived::dropped() };
        let Some(worker) = self.workers.get(&owner) else { return Arrived::dropped() };
        connection.sent += 1;
        window.push(bytes);
        Arrived::Goes(PlainMessage {
            connection: LeaseId(id),
            seq: connection.sent,
            has_room: window.is_open(),
            worker: &worker.cell,
            client: &mut connection.client,
        })
    }

    /// Takes in a message of a portable connection, whoever owns it: then [`Custody::next`]. `None`
    /// once its close has come: nothing may follow that.
    pub fn take_in(&mut self, route: Route, message: M, bytes: usize) -> Option<LeaseId> {
        let (id, connection) = self.on_route_mut(route)?;
        let Record::Portable(portable) = &mut connection.record else { return None };
        if connection.close.is_some() {
            return None;
        }
        let was_idle = portable.log.len() == 0;
        let kept = portable.log.push_message(message, bytes);
        let is_woken = was_idle && connection.is_unowned();
        self.kept_bytes += kept;
        if is_woken {
            self.note_woken(route);
        }
        Some(id)
    }

    /// Takes in the close, the last event. It comes once, and no bound holds it back.
    pub fn close(&mut self, route: Route, close: Close) -> Closing {
        let Some((_, connection)) = self.on_route_mut(route) else { return Closing::Nothing };
        let was_idle = connection.is_idle();
        let closing = connection.append_close(close);
        if closing == Closing::Kept && was_idle && connection.is_unowned() {
            self.note_woken(route);
        }
        closing
    }

    /// Hands the close of a connection that is cut off to its owner at once. What came before it and is
    /// not finished is not waited for. `None` if nobody owns it, or its owner was told before.
    /// Afterwards [`Custody::remove`].
    pub fn cut_off(&mut self, route: Route, close: Close) -> Option<LastEvent> {
        let (id, connection) = self.on_route_mut(route)?;
        let worker = connection.owner().filter(|_| connection.is_accepted())?;
        let was_told = connection.close.is_some_and(|seq| seq <= connection.sent);
        connection.append_close(close);
        let seq = connection.close.filter(|_| !was_told)?;
        let (maybe, partial) = connection.portable().map_or((0, 0), |its| (its.maybe, its.partial));
        let redelivered = seq <= maybe;
        let partial = redelivered && seq <= partial;
        Some(LastEvent { connection: id, worker, seq, redelivered, partial })
    }

    /// The next event for the owner, which counts as sent from here on. `None` if there is none, or
    /// it may not be begun now: then a [`super::Command::HandOver`] comes when it may.
    pub fn next(&mut self, connection: LeaseId) -> Option<NextEvent<'_, W, M>> {
        let found = self.connections.get(connection.0)?;
        if !found.has_next() {
            return None;
        }
        let State::Owned { owner, .. } = found.state else { return None };
        let slot = connection.0.slot;
        let may_begin = self.may_begin(slot, owner);
        if !may_begin {
            return None;
        }
        let found = self.connections.at_mut(slot)?;
        let Record::Portable(portable) = &mut found.record else { return None };
        let worker = self.workers.get_mut(&owner)?;
        if found.sent == found.acked {
            worker.cell.begin();
        }
        let event = portable.log.at(found.sent - found.acked)?;
        found.sent += 1;
        let seq = found.sent;
        let redelivered = seq <= portable.maybe;
        let partial = redelivered && seq <= portable.partial;
        Some(NextEvent { worker: &worker.cell, seq, event, redelivered, partial })
    }

    /// Where to put an act that waits until its handler ends. `None` if the connection is not its
    /// sender's.
    ///
    /// # Errors
    /// [`OutOfTurn`] if the connection is not accepted, or not portable.
    pub fn stage(
        &mut self,
        connection: LeaseId,
        worker: WorkerId,
    ) -> Result<Option<&mut E>, OutOfTurn> {
        let Some(found) = self.accepted(connection, worker)? else { return Ok(None) };
        let Record::Portable(portable) = &mut found.record else {
            return Err(OutOfTurn::NotPortable);
        };
        Ok(Some(&mut portable.staged))
    }

    /// Whether an act may take place at once. `during`: within a handler that has not ended.
    ///
    /// # Errors
    /// [`OutOfTurn`] if the connection is not accepted.
    pub fn act(
        &mut self,
        connection: LeaseId,
        worker: WorkerId,
        during: bool,
    ) -> Result<bool, OutOfTurn> {
        let Some(found) = self.accepted(connection, worker)? else { return Ok(false) };
        // Without an event under way it is the adopt handler's, or the release handler's.
        let is_handling = found.sent > found.acked;
        if let Record::Portable(portable) = &mut found.record
            && during
            && is_handling
        {
            portable.partial = portable.partial.max(found.acked + 1);
        }
        Ok(true)
    }

    /// The connection that a frame is about, if it is its sender's.
    ///
    /// # Errors
    /// [`OutOfTurn::Offered`]: one that is only offered takes no such frame.
    #[inline]
    pub fn accepted(
        &mut self,
        connection: LeaseId,
        worker: WorkerId,
    ) -> Result<Option<&mut Connection<C, M, E>>, OutOfTurn> {
        match self.of_owner_mut(connection, worker) {
            Some(found) if !found.is_accepted() => Err(OutOfTurn::Offered),
            found => Ok(found),
        }
    }

    /// The owner has finished all events up to `seq`, or the next if there is no number. Earlier
    /// numbers than before only let out what is staged. `None` if the connection is not its
    /// sender's. Call [`Custody::next`] afterwards, or [`Custody::remove`] if it has closed.
    ///
    /// # Errors
    /// [`OutOfTurn`] if the connection is only offered or still adopted, or the event was never
    /// sent.
    pub fn commit(
        &mut self,
        connection: LeaseId,
        worker: WorkerId,
        seq: Option<u64>,
    ) -> Result<Option<Committed<E>>, OutOfTurn> {
        let Some(found) = self.of_owner_mut(connection, worker) else { return Ok(None) };
        let seq = seq.unwrap_or(found.acked + 1);
        // Of a connection that ends with its worker nothing changes that counts elsewhere.
        let before = found.is_portable().then(|| found.standing());
        let committed = found.commit(seq)?;
        if let Some(before) = before {
            let after = found.standing();
            self.note_standing(connection.0.slot, before, after);
            self.note_change(worker);
        }
        Ok(Some(committed))
    }
}

impl<C, M, E: Default> Connection<C, M, E> {
    /// The flag LAST on a connection that ends with its worker: returns what is left. `None` if the
    /// connection is portable: then [`Custody::commit`].
    #[inline]
    pub fn commit_next_of_plain(&mut self) -> Option<Result<Left, OutOfTurn>> {
        match self.record {
            Record::Plain(_) => Some(self.commit(self.acked + 1).map(|committed| committed.left)),
            Record::Portable(_) => None,
        }
    }

    pub(super) fn append_close(&mut self, close: Close) -> Closing {
        if self.close.is_some() || !self.is_accepted() {
            return Closing::Nothing;
        }
        let seq = self.read() + 1;
        self.close = Some(seq);
        match &mut self.record {
            Record::Plain(window) => {
                self.sent = seq;
                window.push(0);
                Closing::HandOver(seq)
            }
            Record::Portable(portable) => {
                portable.log.push_close(close);
                Closing::Kept
            }
        }
    }

    #[inline]
    fn commit(&mut self, seq: u64) -> Result<Committed<E>, OutOfTurn> {
        match self.state {
            State::Offered { .. } => return Err(OutOfTurn::Offered),
            State::Adopting { .. } => return Err(OutOfTurn::Adopting),
            State::Unowned { .. } | State::Over => return Err(OutOfTurn::Unasked),
            State::Owned { .. } | State::Releasing { .. } => {}
        }
        if seq > self.sent {
            return Err(OutOfTurn::Beyond);
        }
        let acts = self.take_staged();
        // No handler finished what was given up. And no tenure follows the close, so nobody asks
        // how far this one came.
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
            Left::Some { has_room: self.has_room() }
        };
        Ok(Committed { acts, left })
    }

    fn finish_up_to(&mut self, seq: u64) {
        let finished = seq - self.acked;
        self.acked = seq;
        match &mut self.record {
            Record::Plain(window) => window.pop(finished),
            Record::Portable(portable) => {
                (0..finished).for_each(|_| portable.log.pop());
                portable.strikes.clear();
            }
        }
    }
}
