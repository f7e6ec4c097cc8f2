//! Whether a worker still answers: one ping at a time, at a sixth of the hang timeout, and every second
//! while somebody waits for it. One whose answer takes a second is late: it is not offered while others
//! are on time.
//!
//! The timeout counts from the last answer, since a worker may hang from that moment on. Others that
//! it holds up wait no longer than the timeout says.

use std::time::{Duration, Instant};

use shovel_protocol::id::WorkerId;

use super::command::Command;
use super::report::Report;
use super::worker::{State, Worker};
use super::{Config, Fleet};

const SHORTEST_PING_INTERVAL: Duration = Duration::from_millis(100);

/// A worker whose answers are waited for is pinged this long after it answered, and late if it takes
/// as long to answer.
const LATE_AFTER: Duration = Duration::from_secs(1);

/// Where a worker stands between pings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heartbeat {
    /// It answered the last ping.
    Resting { answered: Instant, ping_at: Instant },
    /// A ping is under way. `late_at` is `None` once it is late.
    Waiting { answered: Instant, late_at: Option<Instant>, hung_at: Instant },
}

impl Heartbeat {
    pub(super) fn resting(config: &Config, now: Instant) -> Self {
        let interval = (config.hang_timeout / 6).max(SHORTEST_PING_INTERVAL);
        Heartbeat::Resting { answered: now, ping_at: now + interval }
    }

    pub(super) fn deadline(&self) -> Instant {
        match *self {
            Heartbeat::Resting { ping_at, .. } => ping_at,
            Heartbeat::Waiting { late_at, hung_at, .. } => {
                late_at.map_or(hung_at, |late_at| late_at.min(hung_at))
            }
        }
    }

    fn is_late(&self) -> bool {
        matches!(self, Heartbeat::Waiting { late_at: None, .. })
    }
}

impl Fleet {
    pub(super) fn on_ponged(&mut self, id: WorkerId, now: Instant) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let Some(heartbeat @ Heartbeat::Waiting { .. }) = worker.state.heartbeat_mut()
        {
            *heartbeat = Heartbeat::resting(&self.config, now);
        }
    }

    /// Somebody waits for this worker: whether it answers is to be known soon.
    pub(super) fn on_awaited(&mut self, id: WorkerId, now: Instant) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let Some(Heartbeat::Resting { answered, .. }) = worker.state.heartbeat_mut().copied()
            && answered + LATE_AFTER <= now
        {
            self.ping(id, answered, now);
        }
    }

    /// Pings the worker if it is time to, or kills it if its answer is overdue.
    pub(super) fn check_heartbeat(&mut self, id: WorkerId, now: Instant) {
        let Some(heartbeat) =
            self.workers.get_mut(&id).and_then(|worker| worker.state.heartbeat_mut())
        else {
            return;
        };
        if now < heartbeat.deadline() {
            return;
        }
        match heartbeat {
            Heartbeat::Resting { answered, .. } => {
                let answered = *answered;
                self.ping(id, answered, now);
            }
            Heartbeat::Waiting { late_at, hung_at, .. } if now < *hung_at => *late_at = None,
            Heartbeat::Waiting { answered, .. } => {
                let answered = *answered;
                let silent_for = now.saturating_duration_since(answered);
                self.report(Report::WorkerHung { worker: id, silent_for });
                self.fail(id, Some(format!("has not answered for {silent_for:?}")), now);
            }
        }
    }

    /// Tells who gets no work any more, and who gets some again, because of its answers.
    pub(super) fn report_late(&mut self, offer: &[WorkerId], late: &[WorkerId]) {
        let before = std::mem::take(&mut self.late);
        for worker in late.iter().copied().filter(|id| !before.contains(id)) {
            self.report(Report::WorkerLate { worker });
        }
        let answers = |id: &WorkerId| offer.contains(id) && !self.workers[id].is_late();
        for worker in before.into_iter().filter(answers).collect::<Vec<_>>() {
            self.report(Report::WorkerOnTime { worker });
        }
    }

    fn ping(&mut self, id: WorkerId, answered: Instant, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(heartbeat) = worker.state.heartbeat_mut() else { return };
        // Half of it is the worker's even if this ping goes out late.
        let timeout = self.config.hang_timeout;
        let hung_at = (answered + timeout).max(now + timeout / 2);
        *heartbeat = Heartbeat::Waiting { answered, late_at: Some(now + LATE_AFTER), hung_at };
        self.commands.push_back(Command::Ping { worker: id });
    }
}

impl Worker {
    /// Whether it has not answered a ping for so long that others are to get its work.
    pub(super) fn is_late(&self) -> bool {
        match &self.state {
            State::Ready { heartbeat } | State::Draining { heartbeat, .. } => heartbeat.is_late(),
            State::Starting { .. } | State::Stopping { .. } | State::Killed { .. } => false,
        }
    }
}

impl State {
    /// Only workers with something to serve are pinged: one that starts or stops is bounded by a
    /// deadline of its own.
    fn heartbeat_mut(&mut self) -> Option<&mut Heartbeat> {
        match self {
            State::Ready { heartbeat } | State::Draining { heartbeat, .. } => Some(heartbeat),
            State::Starting { .. } | State::Stopping { .. } | State::Killed { .. } => None,
        }
    }
}
