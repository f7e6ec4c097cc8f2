//! Workers that nobody needs for now: they stop, their places are kept, and the next work wakes one.
//!
//! Only workers whose connections can all do without them fall asleep, each by a drain without a
//! deadline: what came to such a worker in the last moment, and cannot move, keeps it alive. One
//! place is woken at a time, so that many clients who speak at once start no stampede; a thread that
//! still finds the others busy asks again.

use std::time::Instant;

use shovel_protocol::id::WorkerId;

use super::command::DrainReason;
use super::recycle::Recycle;
use super::reload::Reload;
use super::report::Report;
use super::worker::State;
use super::{Fleet, Phase};

impl Fleet {
    /// A worker has had nothing to do for as long as it takes to fall asleep. Told again while that
    /// lasts, so whatever is in the way now need not be remembered.
    pub(super) fn on_idle(&mut self, id: WorkerId, now: Instant) {
        let is_settled = matches!(self.phase, Phase::Running)
            && matches!(self.reload, Reload::Idle)
            && matches!(self.recycle, Recycle::Idle | Recycle::Waiting { .. });
        let serving = self.serving.generation;
        // One that answers late may hang, and is no worker to rely on.
        let awake = self.ids_where(|worker| {
            worker.generation == serving && worker.is_ready() && !worker.is_late()
        });
        if !is_settled || !awake.contains(&id) || awake.len() <= self.config.min_workers as usize {
            return;
        }
        let Some(worker) = self.workers.get(&id) else { return };
        self.serving.set_asleep(worker.index, true);
        self.report(Report::WorkerSleeps { worker: id });
        self.drain(id, DrainReason::Sleep, now);
    }

    /// There is work, and nobody for it, or only workers that have much.
    pub(super) fn on_work_wanted(&mut self, now: Instant) {
        match self.phase {
            Phase::Running if !self.is_starting() => self.wake_one(now),
            Phase::Terminating(_) => self.start_for_the_rest(now),
            Phase::Running | Phase::Leaving { .. } | Phase::Exited => {}
        }
    }

    /// Whether a worker of the generation that serves will be ready soon.
    pub(super) fn is_starting(&self) -> bool {
        let serving = self.serving.generation;
        self.workers.values().any(|worker| worker.generation == serving && worker.is_starting())
    }

    /// Wakes as many as there must be, after places with workers were taken away.
    pub(super) fn wake_enough(&mut self, now: Instant) {
        let needed = self.config.min_workers.min(self.config.workers) as usize;
        while self.serving.size().saturating_sub(self.serving.asleep()) < needed {
            self.wake_one(now);
        }
    }

    fn wake_one(&mut self, now: Instant) {
        let Some(index) = self.serving.first_asleep() else { return };
        self.serving.set_asleep(index, false);
        let restarts = self.serving.restarts(index);
        let id = self.spawn(index, self.serving.generation, restarts, now);
        self.report(Report::WorkerWakes { worker: id });
    }

    /// How many places of the generation that serves have no worker because none was needed.
    pub fn asleep(&self) -> usize {
        self.serving.asleep()
    }

    /// Those that fall asleep and have not got there leave for another reason now, if they have an
    /// index from `first` on.
    pub(super) fn hurry_sleepers(&mut self, first: u32, why: DrainReason, now: Instant) {
        let sleepers = self.ids_where(|worker| {
            matches!(worker.state, State::Draining { sleepy: true, .. }) && worker.index.0 >= first
        });
        for id in sleepers {
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            let State::Draining { cut_at, sleepy, .. } = &mut worker.state else { continue };
            *sleepy = false;
            *cut_at = Some(now + self.config.drain_timeout);
            self.commands.push_back(super::Command::Drain { worker: id, why });
        }
    }
}
