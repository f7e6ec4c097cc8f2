//! Letting go: of one worker (drain, stop, and force when that takes too long), and of the whole
//! pool.

use std::time::{Duration, Instant};

use shovel_protocol::id::WorkerId;

use super::command::{Command, DrainReason, Outcome};
use super::recycle::Recycle;
use super::reload::Reload;
use super::report::Report;
use super::worker::{State, Worker};
use super::{Fleet, Phase};

/// How long close handlers and background work may take after a drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an exit may take that is due at any moment.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

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
        let is_ending = matches!(self.phase, Phase::Terminating { .. });
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
        let Phase::Terminating { deadline } = self.phase else { return };
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
            Phase::Terminating { .. } => {
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
            let why = "the pool is terminating".into();
            self.report(Report::ReloadAbandoned { generation, why });
        }
        self.phase = Phase::Terminating { deadline: now + timeout };
        self.forget_plans();
        for id in self.ids_where(|worker| worker.is_starting()) {
            self.dismiss(id, now);
        }
        // They are drained already; but what they still have ends with the pool.
        let leaving =
            self.ids_where(|worker| matches!(worker.state, State::Draining { sleepy: false, .. }));
        for id in self.ids_where(|worker| worker.is_ready()) {
            self.drain(id, DrainReason::Terminate, now);
        }
        self.hurry_sleepers(0, DrainReason::Terminate, now);
        for id in leaving {
            self.commands.push_back(Command::Drain { worker: id, why: DrainReason::Terminate });
        }
    }

    /// Ends every worker by force, and then the supervisor.
    pub(super) fn leave(&mut self, outcome: Outcome, now: Instant) {
        self.phase = Phase::Leaving { outcome, give_up_at: now + EXIT_TIMEOUT };
        self.forget_plans();
        for id in self.ids_where(|_| true) {
            self.dismiss(id, now);
        }
    }

    pub(super) fn on_phase_timeout(&mut self, now: Instant) {
        if let Phase::Terminating { deadline } = self.phase
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
            Phase::Terminating { .. } if self.workers.is_empty() => Outcome::Success,
            Phase::Leaving { outcome, give_up_at }
                if self.workers.is_empty() || *give_up_at <= now =>
            {
                outcome.clone()
            }
            Phase::Running | Phase::Terminating { .. } | Phase::Leaving { .. } | Phase::Exited => {
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
