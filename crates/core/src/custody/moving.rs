//! A connection on its way from one worker to the next.
//!
//! The walk: it leaves its worker -> `ws:release` -> [`Custody::released`] -> it seeks another
//! (`seeking`) -> `ws:adopt` -> [`Custody::adopted`]. A living worker is never robbed of it: it is asked (release),
//! then told (revoke), and at last its process is ended, which orphans it. The lease ends with
//! each tenure.

use std::time::Duration;

use shovel_protocol::control::AdoptCause;
use shovel_protocol::{LeaseId, WorkerId};

use super::connection::{Record, State, Step, Wait};
use super::strikes::Blame;
use super::workers::Adopter;
use super::{
    ClientHandle, Command, Connection, Custody, GiveUpCause, Loss, Moment, OutOfTurn, Phase, Route,
    WorkerCell,
};
use crate::fleet::{Death, DrainReason};

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
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
        if is_hopeless {
            self.lose(route, Loss::NoWorker);
        } else {
            self.go_on_without(worker, route, cause);
        }
        // Its client may have been paused because of the worker that it left.
        self.commands.push_back(Command::CheckReader { route });
        self.settle(now);
        Ok(true)
    }

    /// What a connection does that its worker has given up: it waits for another, or sleeps.
    fn go_on_without(&mut self, worker: WorkerId, route: Route, cause: AdoptCause) {
        let is_idle = self.on_route(route).is_some_and(|(_, its)| its.is_idle());
        let was_to_sleep = match self.is_ending() {
            false => self.draining(worker) == Some(DrainReason::Sleep),
            true => cause == AdoptCause::Wake && self.nobody_takes_work(),
        };
        if !was_to_sleep || !is_idle {
            // It waits for its turn: slow ones did not count as under way, so many may come back at
            // once.
            self.seek(route);
        } else if self.is_ending() {
            // As those that slept when the end began: nobody is woken for it.
            self.lose(route, Loss::End);
        } else {
            self.wait(route, Wait::Asleep);
        }
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
            match taken {
                true => (staged, 0),
                false => (E::default(), its.give_up_messages(GiveUpCause::Refused)),
            }
        });
        let Some((acts, given_up)) = answered else { return Ok(false) };
        self.note_proof(worker, true);
        if taken {
            self.commands.push_back(Command::CountAdopted { cause });
            self.commands.push_back(Command::Act { worker, slot, acts });
        } else {
            let (cause, worker) = (GiveUpCause::Refused, Some(worker));
            let give_up = Command::GiveUp { route, cause, given_up, worker, was_closed };
            self.commands.push_back(give_up);
        }
        self.commands.push_back(Command::HandOver { connection });
        self.commands.push_back(Command::CheckReader { route });
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
        let why = if self.is_ending() { DrainReason::Terminate } else { why };
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

    /// Connections that cannot move are closed, each once what was read of it is handled. On reload
    /// the closes are spread, so that clients do not all come back at once.
    pub(super) fn plan_farewells(&mut self, routes: Vec<Route>, why: DrainReason, now: Moment) {
        let spread = match why {
            DrainReason::Reload | DrainReason::Recycle if !self.is_ending() => {
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
            | State::Adopting { step: Step::Awaited { .. } | Step::Slow { .. }, .. }
            | State::Unowned { .. }
            | State::Over => Err(OutOfTurn::Unasked),
        }
    }
}
