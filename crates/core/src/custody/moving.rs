//! A connection on its way from one worker to the next.
//!
//! The walk: it leaves its worker -> `ws:release` -> [`Custody::released`] -> it seeks another ->
//! `ws:adopt` -> [`Custody::adopted`]. A living worker is never robbed of it: it is asked (release),
//! then told (revoke), and at last its process is ended, which makes an orphan. The lease ends with
//! each tenure.
//!
//! Moves are parallel and bounded, so that each connection pauses for two round trips to workers
//! rather than for all the others.

use std::time::Duration;

use shovel_protocol::control::AdoptCause;
use shovel_protocol::{LeaseId, WorkerId};

use super::connection::{Record, State, Step, Wait};
use super::strikes::Blame;
use super::workers::Adopter;
use super::{
    Client, Command, Connection, Custody, Loss, Moment, OutOfTurn, Phase, Proof, Route, WorkerCell,
};
use crate::fleet::{Death, DrainReason};

/// Connections of a thread that are on their way at once.
pub const UNDER_WAY: u32 = 64;

/// A move that takes longer no longer keeps others waiting: its handler is slow.
const SLOW: Duration = Duration::from_millis(50);

/// How soon to tell again that a worker is stuck: its last request may have ended meanwhile.
const TELL_AGAIN: Duration = Duration::from_millis(200);

impl<W: WorkerCell, C: Client, M, E: Default> Custody<W, C, M, E> {
    /// The owner has given a connection up. `handled` is the last event that it finished, `started`
    /// the last that it began. A worker that was revoked while it adopted may answer that after it
    /// has adopted: the two have crossed.
    ///
    /// # Errors
    /// [`OutOfTurn`] if it was not asked, or its numbers are not those of its commits.
    pub fn released(
        &mut self,
        connection: LeaseId,
        worker: WorkerId,
        (handled, started): (u64, u64),
        now: Moment,
    ) -> Result<bool, OutOfTurn> {
        self.now = now;
        let Some(found) = self.of_owner(connection, worker) else { return Ok(false) };
        let (was_adopting, cause) = found.may_be_released()?;
        if handled != found.committed || started < handled || started > found.sent.max(handled) {
            return Err(OutOfTurn::Disagrees);
        }
        let slot = connection.0.slot;
        let route = Route { slot, born: found.born };
        let queued = Wait::Queued { until: now + self.settings.owner_wait };
        let cut = started > handled;
        let released = self.change(slot, |its| {
            let staged = its.take_staged();
            // What a handler did that was dropped does not happen.
            let acts = if cut { E::default() } else { staged };
            let mut is_hopeless = false;
            if let Record::Portable(portable) = &mut its.record {
                portable.maybe = portable.maybe.max(started);
                let blame = Blame { death: Death::Fault, is_alone: true, on_trial: false };
                is_hopeless = was_adopting && portable.adopt_strikes.add(blame);
            }
            its.sent = its.acked;
            its.state = State::Unowned { cause, wait: queued };
            (acts, is_hopeless)
        });
        let Some((acts, is_hopeless)) = released else { return Ok(false) };
        self.connections.renew(slot);
        if was_adopting {
            self.note_proof(worker, false);
        }
        self.commands.push_back(Command::CountReleased { cut });
        self.commands.push_back(Command::Act { worker, slot, acts });
        let sleeps = self.draining(worker) == Some(DrainReason::Sleep) && !self.is_ending;
        if is_hopeless {
            self.lose(route, Loss::NoWorker);
        } else if sleeps && self.on_route(route).is_some_and(|(_, its)| its.is_idle()) {
            self.wait(route, Wait::Asleep);
        } else {
            // It waits for its turn: slow ones did not count as under way, so many may come back at
            // once.
            self.seek(route);
        }
        // Its client may have been paused because of the worker that it left.
        self.commands.push_back(Command::Look { route });
        self.settle(now);
        Ok(true)
    }

    /// A worker has taken a connection over, or refuses it.
    ///
    /// # Errors
    /// [`OutOfTurn`] if it was not asked.
    pub fn adopted(
        &mut self,
        connection: LeaseId,
        worker: WorkerId,
        taken: bool,
        now: Moment,
    ) -> Result<bool, OutOfTurn> {
        self.now = now;
        let Some(found) = self.of_owner(connection, worker) else { return Ok(false) };
        let State::Adopting { owner, cause, step } = found.state else {
            return Err(if found.is_accepted() { OutOfTurn::Unasked } else { OutOfTurn::Offered });
        };
        let slot = connection.0.slot;
        let route = Route { slot, born: found.born };
        let was_closed = found.is_closed();
        let is_revoked = matches!(step, Step::Revoked { .. } | Step::Stuck { .. });
        let answered = self.change(slot, |its| {
            its.state = State::Owned { owner, crossed: is_revoked.then_some(cause) };
            let staged = its.take_staged();
            // An answer acquits, whatever it is.
            if let Record::Portable(portable) = &mut its.record {
                portable.adopt_strikes.clear();
            }
            // What a handler did that failed to adopt does not happen.
            if taken { (staged, 0) } else { (E::default(), its.give_up_messages(Loss::Refused)) }
        });
        let Some((acts, dropped)) = answered else { return Ok(false) };
        self.note_proof(worker, true);
        if taken {
            self.commands.push_back(Command::CountAdopted { cause });
            self.commands.push_back(Command::Act { worker, slot, acts });
        } else {
            let (loss, worker) = (Loss::Refused, Some(worker));
            let given_up = Command::GiveUp { route, loss, dropped, worker, was_closed };
            self.commands.push_back(given_up);
        }
        self.commands.push_back(Command::HandOver { connection });
        self.commands.push_back(Command::Look { route });
        if self.draining(worker).is_some() {
            self.leaving.push(route);
        }
        self.is_unsettled = true;
        self.settle(now);
        Ok(true)
    }

    /// Takes a connection from a draining worker: at its turn, and as it is then.
    pub(super) fn leave(&mut self, route: Route) {
        let Some((id, connection)) = self.on_route(route) else { return };
        // One that is not owned is looked at again when it is.
        let State::Owned { owner, .. } = connection.state else { return };
        let (can_move, is_open) = (connection.can_move(), connection.client.is_open());
        let Some(why) = self.draining(owner) else { return };
        // When the pool ends nobody is to move.
        let why = if self.is_ending { DrainReason::Terminate } else { why };
        let cause = match why {
            DrainReason::Reload | DrainReason::Recycle => AdoptCause::Reload,
            DrainReason::Sleep => AdoptCause::Wake,
            DrainReason::Terminate => {
                return self.commands.push_back(Command::Finish { route, why });
            }
        };
        if !is_open {
            // Its close comes soon.
            return;
        }
        if !can_move || self.adopter(None) == Adopter::Unable {
            // One that came when its worker was already falling asleep keeps it awake.
            if why != DrainReason::Sleep {
                self.commands.push_back(Command::Finish { route, why });
            }
            return;
        }
        let step = self.asked(self.settings.handler_timeout);
        self.change(route.slot, |its| its.state = State::Releasing { owner, cause, step });
        self.commands.push_back(Command::Release { worker: owner, connection: id });
    }

    /// Has a worker take a connection over that nobody owns. `false` if it has to wait for one.
    fn find_owner(&mut self, route: Route, now: Moment) -> bool {
        let Some((id, connection)) = self.on_route(route) else { return true };
        let State::Unowned { cause, .. } = connection.state else { return true };
        let worker = match self.adopter(self.tried_with(route)) {
            Adopter::Ready(worker) => worker,
            Adopter::Unable => {
                self.lose(route, Loss::Unable);
                return true;
            }
            Adopter::None if self.is_ending => {
                self.lose(route, Loss::End);
                return true;
            }
            Adopter::None => return false,
        };
        // While its program is asked for a first adoption, no suspect takes the worker's trial.
        let is_asked = self.worker(worker).is_none_or(|cell| cell.proof() == Proof::Asked);
        if is_asked || !self.may_adopt(route, worker, now) || !self.ask(worker) {
            return false;
        }
        self.want_help(worker, now);
        let step = self.asked(self.settings.adopt_timeout);
        self.change(route.slot, |its| {
            its.state = State::Adopting { owner: worker, cause, step };
        });
        self.commands.push_back(Command::Adopt { worker, connection: id, cause });
        true
    }

    /// An unowned connection has something to handle. Its deadline counts from the next moment that
    /// is told.
    pub(super) fn note_woken(&mut self, route: Route) {
        self.woken.push(route);
        self.seek(route);
    }

    pub(super) fn wake(&mut self, now: Moment) {
        while let Some(route) = self.woken.pop() {
            self.wait(route, Wait::Queued { until: now + self.settings.owner_wait });
        }
    }

    /// Puts a connection that nobody owns into the queue, if it is not there.
    pub(super) fn seek(&mut self, route: Route) {
        let Some((_, connection)) = self.on_route(route) else { return };
        if connection.is_unowned() {
            match connection.suspect() {
                Some(_) => self.seeking_suspects.push(route),
                None => self.seeking.push(route),
            }
            self.is_unsettled = true;
        }
    }

    /// Begins as many moves as there is room for. Unowned connections pause already, so they come
    /// first, and among them those that are no suspects.
    pub(super) fn begin_moves(&mut self, now: Moment) {
        let is_waiting = !self.seeking.is_empty() || !self.seeking_suspects.is_empty();
        if is_waiting && !self.is_ending && self.adopter(None) == Adopter::None {
            // They are looked at again when there is a worker.
            self.want_work(now);
        } else {
            self.begin_seeking(now);
        }
        while self.has_room() && self.may_ask() {
            let Some(route) = self.leaving.pop() else { return };
            self.leave(route);
        }
    }

    fn begin_seeking(&mut self, now: Moment) {
        while self.has_room()
            && let Some(route) = self.seeking.pop()
        {
            if !self.find_owner(route, now) {
                // Nor would those behind it find one.
                self.seeking.push_front(route);
                return;
            }
        }
        for _ in 0..self.seeking_suspects.len() {
            if !self.has_room() || !self.seeking.is_empty() {
                return;
            }
            let Some(route) = self.seeking_suspects.pop() else { return };
            if !self.find_owner(route, now) {
                self.seeking_suspects.push(route);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.under_way < self.most_under_way
    }

    /// Until the program that serves has answered its first adoption, only one connection leaves its
    /// worker at a time, and none while one is being adopted, however long that takes. A program that
    /// fails to adopt would lose all of them.
    fn may_ask(&self) -> bool {
        let cells = self.offered.iter().filter_map(|worker| self.worker(*worker));
        let proofs = cells.filter(|cell| cell.adopts()).map(WorkerCell::proof);
        let least = proofs.fold(Proof::Given, |least, proof| match (least, proof) {
            (Proof::Asked, _) | (_, Proof::Asked) => Proof::Asked,
            (Proof::None, _) | (_, Proof::None) => Proof::None,
            (Proof::Given, Proof::Given) => Proof::Given,
        });
        self.is_ending
            || match least {
                Proof::Given => true,
                Proof::None => self.under_way == 0 && self.seeking.is_empty(),
                Proof::Asked => false,
            }
    }

    fn ask(&mut self, worker: WorkerId) -> bool {
        let Some(its) = self.workers.get_mut(&worker) else { return false };
        match its.cell.ask() {
            Proof::Given => true,
            Proof::Asked => false,
            Proof::None => {
                its.is_proving = true;
                true
            }
        }
    }

    pub(super) fn note_proof(&mut self, worker: WorkerId, answered: bool) {
        if let Some(its) = self.workers.get_mut(&worker)
            && std::mem::take(&mut its.is_proving)
        {
            its.cell.prove(answered);
        }
    }

    /// A connection's deadline has come.
    pub(super) fn be_late(&mut self, route: Route, now: Moment) {
        let Some((id, connection)) = self.on_route(route) else { return };
        let (state, is_idle) = (connection.state, connection.is_idle());
        match state {
            State::Releasing { owner, cause, step } => {
                let patience = self.settings.handler_timeout;
                let step = self.be_impatient(owner, id, step, patience, now);
                self.change(route.slot, |its| {
                    its.state = State::Releasing { owner, cause, step };
                });
            }
            State::Adopting { owner, cause, step } => {
                let patience = self.settings.handler_timeout;
                let step = self.be_impatient(owner, id, step, patience, now);
                self.change(route.slot, |its| its.state = State::Adopting { owner, cause, step });
            }
            // It has nothing to handle, so nothing is late.
            State::Unowned { wait: Wait::Queued { .. }, .. } if is_idle => {
                self.wait(route, Wait::Asleep);
            }
            // There is a worker, whose trial will end.
            State::Unowned { wait: Wait::Queued { .. }, .. } if self.has_trials() => {
                self.wait(route, Wait::Queued { until: now + self.settings.owner_wait });
            }
            State::Unowned { wait: Wait::Queued { .. }, .. } => self.lose(route, Loss::NoWorker),
            State::Unowned { wait: Wait::Asleep, .. }
            | State::Offered { .. }
            | State::Owned { .. }
            | State::Over => {}
        }
    }

    /// Whether a connection waits for a worker.
    pub(super) fn is_seeking(&self, route: Route) -> bool {
        self.seeking.contains(route) || self.seeking_suspects.contains(route)
    }

    /// Whether the worker that would adopt takes nothing over before a trial of this thread has ended.
    fn has_trials(&mut self) -> bool {
        match self.adopter(None) {
            Adopter::Ready(worker) => {
                self.workers.get(&worker).is_some_and(|its| its.trial.is_some())
            }
            Adopter::None | Adopter::Unable => false,
        }
    }

    fn be_impatient(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
        step: Step,
        patience: Duration,
        now: Moment,
    ) -> Step {
        match step {
            Step::Asked { late_at, .. } => {
                self.is_unsettled = true;
                Step::Slow { late_at }
            }
            Step::Slow { .. } => {
                self.commands.push_back(Command::Revoke { worker, connection });
                Step::Revoked { stuck_at: now + patience }
            }
            Step::Revoked { .. } | Step::Stuck { .. } => {
                let is_first = matches!(step, Step::Revoked { .. });
                self.commands.push_back(Command::Stuck { worker, connection, is_first });
                Step::Stuck { again_at: now + TELL_AGAIN }
            }
        }
    }

    fn asked(&self, patience: Duration) -> Step {
        let (slow_at, late_at) = (self.now + SLOW.min(patience / 2), self.now + patience);
        Step::Asked { slow_at, late_at }
    }

    pub(super) fn wait(&mut self, route: Route, wait: Wait) {
        self.change(route.slot, |its| {
            if let State::Unowned { wait: before, .. } = &mut its.state {
                *before = wait;
            }
        });
    }

    /// Connections that cannot move are closed, each once what was read of it is handled. On reload
    /// the closes are spread, so that clients do not all come back at once.
    pub(super) fn plan_farewells(&mut self, routes: Vec<Route>, why: DrainReason, now: Moment) {
        let spread = match why {
            DrainReason::Reload | DrainReason::Recycle if !self.is_ending => {
                self.settings.close_spread
            }
            DrainReason::Reload
            | DrainReason::Recycle
            | DrainReason::Sleep
            | DrainReason::Terminate => Duration::ZERO,
        };
        if spread.is_zero() {
            return routes.into_iter().for_each(|route| self.leave(route));
        }
        let mut routes = routes;
        // Those that came one after the other do not leave so.
        routes.sort_by_key(|route| u64::from(route.slot).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let count = routes.len() as f64;
        for (place, route) in routes.into_iter().enumerate() {
            let at = now + spread.mul_f64((place + 1) as f64 / count);
            self.farewells.insert((at, route));
        }
    }
}

impl<C, M, E: Default> Connection<C, M, E> {
    pub(super) fn is_unowned(&self) -> bool {
        self.phase() == Phase::Unowned
    }

    /// Whether its owner was adopting when it was asked to give it up, and why it was asked.
    fn may_be_released(&self) -> Result<(bool, AdoptCause), OutOfTurn> {
        match self.state {
            State::Releasing { cause, .. } => Ok((false, cause)),
            State::Adopting { cause, step: Step::Revoked { .. } | Step::Stuck { .. }, .. } => {
                Ok((true, cause))
            }
            State::Owned { crossed: Some(cause), .. } => Ok((false, cause)),
            State::Offered { .. } => Err(OutOfTurn::Offered),
            State::Owned { crossed: None, .. }
            | State::Adopting { step: Step::Asked { .. } | Step::Slow { .. }, .. }
            | State::Unowned { .. }
            | State::Over => Err(OutOfTurn::Unasked),
        }
    }
}
