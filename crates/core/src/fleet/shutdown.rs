//! Letting go: of one worker (drain, stop, and force when that takes too long), and of the whole
//! pool.

use std::time::{Duration, Instant};

use shovel_protocol::id::{WorkerId, WorkerIndex};

use super::command::{Command, DrainReason, Outcome};
use super::recycle::Recycle;
use super::reload::Reload;
use super::report::Report;
use super::restart::START_FAILURES_ALLOWED;
use super::worker::{State, Worker};
use super::{Fleet, Phase};

/// How long close handlers and background work may take after a drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an exit may take that is due at any moment.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// How far the pool is with ending, while workers finish what they have.
#[derive(Debug)]
pub(super) struct End {
    pub(super) deadline: Instant,
    /// Something that was read may still need a worker that is not there.
    is_needed: bool,
    /// Starts for its sake that have failed since the last that has not.
    failed_starts: u32,
}

impl Fleet {
    /// Takes new work away from a ready worker, then has it finish what it has.
    pub(super) fn drain(&mut self, id: WorkerId, why: DrainReason, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let State::Ready { heartbeat } = worker.state else { return };
        let sleepy = why == DrainReason::Sleep;
        let cut_at = (!sleepy).then(|| now + self.config.drain_timeout);
        worker.enter(State::Draining { heartbeat, cut_at, sleepy, is_empty: false }, now);
        self.settle_offer();
        self.commands.push_back(Command::Drain { worker: id, why });
    }

    pub(super) fn check_drain(&mut self, id: WorkerId, now: Instant) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let State::Draining { cut_at, is_empty: false, .. } = &mut worker.state
            && cut_at.take_if(|at| *at <= now).is_some()
        {
            self.report(Report::DrainTimedOut { worker: id });
            self.commands.push_back(Command::Cut { worker: id });
        }
    }

    /// It was told to drop a handler, and blocks. Only its end frees the connection; but its requests
    /// may go on until its drain times out.
    pub(super) fn on_stuck(&mut self, id: WorkerId, has_requests: bool, now: Instant) {
        let Some(worker) = self.workers.get(&id) else { return };
        let State::Draining { cut_at, sleepy, .. } = worker.state else { return };
        let was_cut = cut_at.is_none() && !sleepy;
        if was_cut || !has_requests {
            self.report(Report::HandlerStuck { worker: id });
            self.dismiss(id, now);
        }
    }

    pub(super) fn on_drained(&mut self, id: WorkerId, now: Instant) {
        let is_ending = matches!(self.phase, Phase::Terminating(_));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let State::Draining { is_empty, .. } = &mut worker.state else { return };
        match is_ending {
            true => *is_empty = true,
            false => self.shut_down(&[id], now + STOP_TIMEOUT, now),
        }
    }

    /// While the pool ends all workers leave together, once none of them has anything. An empty one
    /// may still have to take over a connection that another releases, or that a dead one had, and to
    /// hear of its close. A process that is not reaped yet may leave such connections too.
    pub(super) fn settle_end(&mut self, now: Instant) {
        let Phase::Terminating(End { deadline, is_needed, .. }) = self.phase else { return };
        self.have_the_rest_adopted(now);
        if is_needed {
            return;
        }
        let is_done = |worker: &Worker| match worker.state {
            State::Draining { is_empty, .. } => is_empty,
            State::Stopping { .. } => true,
            State::Starting { .. } | State::Ready { .. } | State::Killed { .. } => false,
        };
        if self.workers.values().all(is_done) {
            let draining = |worker: &Worker| matches!(worker.state, State::Draining { .. });
            self.shut_down(&self.ids_where(draining), deadline, now);
        }
    }

    /// A worker that became ready though the pool ends takes over what is left, and is drained as the
    /// others are.
    fn have_the_rest_adopted(&mut self, now: Instant) {
        let ready = self.ids_where(Worker::is_ready);
        if !ready.is_empty() {
            self.settle_offer();
            self.drain_all(&ready, now);
            if let Phase::Terminating(end) = &mut self.phase {
                end.failed_starts = 0;
            }
        }
    }

    fn shut_down(&mut self, ids: &[WorkerId], deadline: Instant, now: Instant) {
        for id in ids {
            if let Some(worker) = self.workers.get_mut(id) {
                worker.enter(State::Stopping { deadline }, now);
            }
        }
        self.settle_offer();
        self.commands.extend(ids.iter().map(|id| Command::Shutdown { worker: *id }));
    }

    /// The worker is leaving by itself: its exit should follow shortly.
    pub(super) fn expect_exit(&mut self, id: WorkerId, now: Instant) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let State::Stopping { deadline } = &mut worker.state
        {
            *deadline = (*deadline).min(now + EXIT_TIMEOUT);
        }
    }

    pub(super) fn on_stop_timeout(&mut self, id: WorkerId, now: Instant) {
        self.report(Report::StopTimedOut { worker: id });
        self.dismiss(id, now);
    }

    pub(super) fn on_terminate_requested(&mut self, now: Instant) {
        match self.phase {
            Phase::Running => self.terminate(now),
            Phase::Terminating(_) => {
                self.report(Report::TerminateHurried);
                let why = "told twice to terminate".into();
                self.leave(Outcome::Failure { why }, now);
            }
            Phase::Leaving { .. } | Phase::Exited => {}
        }
    }

    fn terminate(&mut self, now: Instant) {
        let timeout = self.config.shutdown_timeout;
        self.commands.push_back(Command::StopAccepting);
        self.report(Report::TerminateStarted { timeout });
        if let Some(generation) = self.reload.incoming() {
            self.report(Report::ReloadCutShort { generation });
        }
        if !self.ever_ready {
            // Nothing was ever handled, so nobody relies on it.
            return self.leave(Outcome::Success, now);
        }
        let end = End { deadline: now + timeout, is_needed: true, failed_starts: 0 };
        self.phase = Phase::Terminating(end);
        self.forget_plans();
        // If nobody serves, whoever is about to may be needed.
        let (serving, serves) = (self.serving.generation, !self.offered.is_empty());
        for id in self.ids_where(|worker| worker.is_starting()) {
            if serves || self.workers[&id].generation != serving {
                self.dismiss(id, now);
            }
        }
        self.give_places_up();
        // They are drained already; but what they still have ends with the pool.
        let leaving =
            self.ids_where(|worker| matches!(worker.state, State::Draining { sleepy: false, .. }));
        self.drain_all(&self.ids_where(Worker::is_ready), now);
        self.hurry_sleepers(0, DrainReason::Terminate, now);
        for id in leaving {
            self.commands.push_back(Command::Drain { worker: id, why: DrainReason::Terminate });
        }
    }

    /// The pool ends, something that was read has no worker, and none serves: one is started for it.
    pub(super) fn start_for_the_rest(&mut self, now: Instant) {
        let Phase::Terminating(End { is_needed: true, .. }) = self.phase else { return };
        let is_coming = self.is_starting() || self.serving.next_restart().is_some();
        if is_coming || !self.offered.is_empty() {
            return;
        }
        let index = self.serving.first_asleep().unwrap_or(WorkerIndex(0));
        self.serving.set_asleep(index, false);
        let (generation, restarts) = (self.serving.generation, self.serving.restarts(index));
        let id = self.spawn(index, generation, restarts, now);
        self.report(Report::WorkerNeeded { worker: id });
    }

    /// The pool ends, and a worker that was needed has failed before it was ready.
    pub(super) fn on_last_start_failed(
        &mut self,
        id: WorkerId,
        index: WorkerIndex,
        why: String,
        now: Instant,
    ) {
        let Phase::Terminating(end) = &mut self.phase else { return };
        end.failed_starts += 1;
        let is_hopeless = end.is_needed && end.failed_starts >= START_FAILURES_ALLOWED;
        let restart_in = match end.is_needed && !is_hopeless {
            true => self.plan_restart(index, self.serving.generation, false, now),
            false => None,
        };
        let outcome = format!("no worker could be started for what was left: worker {id} {why}");
        self.report(Report::WorkerFailed { worker: id, why, restart_in });
        if is_hopeless {
            self.leave(Outcome::Failure { why: outcome }, now);
        }
    }

    /// Nobody needs a worker any more that is not there.
    pub(super) fn on_emptied(&mut self, now: Instant) {
        let Phase::Terminating(end) = &mut self.phase else { return };
        end.is_needed = false;
        self.serving.cancel_restarts();
        for id in self.ids_where(|worker| worker.is_starting()) {
            self.dismiss(id, now);
        }
    }

    /// Those whose end is known already have no place any more that is to be taken again.
    fn give_places_up(&mut self) {
        for worker in self.workers.values_mut() {
            if let State::Killed { fault: Some(fault) } = &mut worker.state {
                fault.holds_place = false;
            }
        }
    }

    fn drain_all(&mut self, ready: &[WorkerId], now: Instant) {
        ready.iter().for_each(|id| self.drain(*id, DrainReason::Terminate, now));
    }

    /// Ends every worker by force, and then the supervisor.
    pub(super) fn leave(&mut self, outcome: Outcome, now: Instant) {
        self.phase = Phase::Leaving { outcome, deadline: now + EXIT_TIMEOUT };
        self.forget_plans();
        self.commands.push_back(Command::EndWaits);
        for id in self.ids_where(|_| true) {
            self.dismiss(id, now);
        }
    }

    pub(super) fn on_phase_timeout(&mut self, now: Instant) {
        if let Phase::Terminating(End { deadline, .. }) = self.phase
            && deadline <= now
        {
            self.report(Report::TerminateTimedOut);
            let why = format!("workers did not finish within {:?}", self.config.shutdown_timeout);
            self.leave(Outcome::Failure { why }, now);
        }
    }

    /// Ends the supervisor if nothing is left to wait for.
    pub(super) fn settle_phase(&mut self, now: Instant) {
        let outcome = match &self.phase {
            Phase::Terminating(End { is_needed: false, .. }) if self.workers.is_empty() => {
                Outcome::Success
            }
            Phase::Leaving { outcome, deadline } if self.workers.is_empty() || *deadline <= now => {
                outcome.clone()
            }
            Phase::Running | Phase::Terminating(_) | Phase::Leaving { .. } | Phase::Exited => {
                return;
            }
        };
        self.phase = Phase::Exited;
        self.commands.push_back(Command::Exit(outcome));
    }

    /// Nothing new starts from here on.
    fn forget_plans(&mut self) {
        self.serving.cancel_restarts();
        self.reload = Reload::Idle;
        self.reload_wanted = false;
        self.recycle = Recycle::Idle;
    }
}
