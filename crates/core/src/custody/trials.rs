//! Trials: what its workers have died with is done alone, so that the next death has one culprit.
//!
//! A worker has one trial at a time, on whichever thread ([`WorkerCell`]). While there is one,
//! nothing else of portable connections is begun with that worker; it waits. The suspect is handed
//! over once all that was under way has ended. Both waits have a bound: otherwise a handler that takes
//! long, or waits for another connection, would pause all of them for ever.
//!
//! An unowned suspect waits until every other unowned connection has a worker: it may hold up the one
//! that takes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shovel_protocol::WorkerId;

use super::connection::State;
use super::workers::{Life, Worker};
use super::{ClientHandle, Custody, Moment, Route, Slot, Tried, WorkerCell};

/// How long a suspect waits for what is under way with its worker. Then it goes in company.
pub const COMPANY_ENDS_IN: Duration = Duration::from_millis(250);

/// That one connection is the only one of its worker with which anything is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) route: Route,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Stage {
    /// The suspect waits for what is under way, until then.
    Waiting { until: Moment },
    /// It is handed over, and others wait until then.
    Begun { until: Moment },
}

impl<W: WorkerCell> Worker<W> {
    fn is_tried(&self, route: Route) -> bool {
        self.trial.is_some_and(|trial| trial.route == route)
    }

    fn has_begun(&self, route: Route) -> bool {
        self.trial
            .is_some_and(|trial| trial.route == route && matches!(trial.stage, Stage::Begun { .. }))
    }

    /// Ends the trial of this thread, if there is one; returns who was tried.
    pub(super) fn end_trial(&mut self, thread: u32) -> Option<Route> {
        let route = self.trial.take()?.route;
        self.cell.end_trial(Tried { thread, slot: route.slot });
        Some(route)
    }

    /// When something about its trial is due.
    pub(super) fn trial_due(&self) -> Option<Moment> {
        self.trial.map(|trial| match trial.stage {
            Stage::Waiting { until } | Stage::Begun { until } => until,
        })
    }

    /// Whether anything waits here that another thread's trial, or company, holds up.
    pub(super) fn waits_for_others(&self) -> bool {
        let is_waiting =
            self.trial.is_some_and(|trial| matches!(trial.stage, Stage::Waiting { .. }));
        is_waiting || !self.suspects.is_empty() || !self.others.is_empty()
    }
}

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// Whether the next event of a connection may be begun with its owner now. If not, it waits.
    pub(super) fn may_begin(&mut self, slot: Slot, worker: WorkerId) -> bool {
        let Some(connection) = self.connections.at(slot) else { return false };
        let is_suspect = connection.suspect().is_some();
        let route = Route { slot, born: connection.born };
        let Some(its) = self.workers.get_mut(&worker) else { return false };
        // What its link would drop was never begun, and is nobody's fault.
        if its.life == Life::Gone {
            return false;
        }
        if its.is_tried(route) {
            return its.has_begun(route);
        }
        if !is_suspect && !its.cell.has_trial() {
            return true;
        }
        if is_suspect {
            its.suspects.push(route);
        } else {
            its.others.push(route);
        }
        self.is_unsettled = true;
        false
    }

    /// Whether a connection that nobody owns may be taken over by a worker now.
    pub(super) fn may_adopt(&mut self, route: Route, worker: WorkerId, now: Moment) -> bool {
        let suspect = self.on_route(route).and_then(|(_, connection)| connection.suspect());
        let thread = self.thread;
        let Some(its) = self.workers.get_mut(&worker) else { return false };
        let Some(lasts) = suspect else { return !its.cell.has_trial() };
        if !its.is_tried(route) {
            let who = Tried { thread, slot: route.slot };
            if !its.cell.seek_trial(who) {
                return false;
            }
            let stage = Stage::Waiting { until: now + COMPANY_ENDS_IN };
            its.trial = Some(Trial { route, stage });
        }
        its.begin_if_alone(lasts, now);
        its.has_begun(route)
    }

    /// With which worker a connection that nobody owns waits to be tried.
    pub(super) fn tried_with(&self, route: Route) -> Option<WorkerId> {
        let tries = |(_, worker): &(&WorkerId, &Worker<W>)| worker.is_tried(route);
        self.workers.iter().find(tries).map(|(id, _)| *id)
    }

    /// Ends trials that are over, begins those that can be, and goes on with what waited.
    pub(super) fn settle_trials(&mut self, now: Moment) {
        let workers: Vec<_> = self.workers.keys().copied().collect();
        for worker in workers {
            let has_lapsed = self.end_trial_if_over(worker, now);
            // After a trial that took too long the others have their turn before the next suspect.
            if !has_lapsed {
                self.begin_trials(worker, now);
            }
            let Some(its) = self.workers.get_mut(&worker) else { continue };
            if !its.cell.has_trial() {
                let others = its.others.take();
                others.into_iter().for_each(|route| self.hand_over_next(route));
            }
        }
    }

    /// Whether it is over because it has lasted as long as it may.
    fn end_trial_if_over(&mut self, worker: WorkerId, now: Moment) -> bool {
        let Some(trial) = self.workers.get(&worker).and_then(|its| its.trial) else { return false };
        let has_lapsed = matches!(trial.stage, Stage::Begun { until } if until <= now);
        let goes_on = self.on_route(trial.route).is_some_and(|(_, connection)| {
            let is_suspect = connection.suspect().is_some() || connection.carries_suspect();
            let is_here = match trial.stage {
                Stage::Waiting { .. } => match connection.owner() {
                    Some(owner) => owner == worker,
                    // It gives way to those that are no suspects: while it waits, they are not
                    // adopted. And it waits for no worker that adopts nothing.
                    None => self.seeking.is_empty() && self.is_offered(worker),
                },
                Stage::Begun { .. } => connection.owner() == Some(worker),
            };
            is_suspect && is_here
        });
        if goes_on && !has_lapsed {
            return false;
        }
        if let Some(its) = self.workers.get_mut(&worker) {
            its.end_trial(self.thread);
        }
        self.hand_over_next(trial.route);
        has_lapsed
    }

    fn begin_trials(&mut self, worker: WorkerId, now: Moment) {
        let thread = self.thread;
        loop {
            let Some(its) = self.workers.get_mut(&worker) else { return };
            if its.trial.is_none() {
                if its.cell.has_trial() {
                    return;
                }
                let Some(route) = its.suspects.pop() else { return };
                let who = Tried { thread, slot: route.slot };
                if !its.cell.seek_trial(who) {
                    its.suspects.push(route);
                    return;
                }
                let stage = Stage::Waiting { until: now + COMPANY_ENDS_IN };
                its.trial = Some(Trial { route, stage });
            }
            let Some(Trial { route, stage: Stage::Waiting { .. } }) = its.trial else { return };
            let found = self.connections.at(route.slot).filter(|its| its.born == route.born);
            let lasts = found.and_then(|connection| match connection.state {
                State::Owned { owner, .. } if owner == worker => connection.suspect(),
                // Whoever seeks a worker for it begins its trial.
                State::Unowned { .. } => None,
                State::Offered { .. }
                | State::Owned { .. }
                | State::Releasing { .. }
                | State::Adopting { .. }
                | State::Over => None,
            });
            let is_unowned = found.is_some_and(|connection| connection.is_unowned());
            let Some(its) = self.workers.get_mut(&worker) else { return };
            match lasts {
                Some(lasts) => {
                    its.begin_if_alone(lasts, now);
                    if its.has_begun(route) {
                        self.hand_over_next(route);
                    }
                    return;
                }
                None if is_unowned => return,
                None => drop(its.end_trial(thread)),
            }
        }
    }
}

impl<W: WorkerCell> Worker<W> {
    /// Begins the trial if nothing else is under way, or that takes too long.
    fn begin_if_alone(&mut self, lasts: Duration, now: Moment) {
        if let Some(Trial { stage: stage @ Stage::Waiting { .. }, .. }) = &mut self.trial
            && let Stage::Waiting { until } = *stage
            && (self.cell.company() == 0 || until <= now)
        {
            *stage = Stage::Begun { until: now + lasts };
        }
    }
}
