//! Whether a worker still answers: one ping at a time, at a sixth of the hang timeout.
//!
//! The timeout counts from the last answer, since a worker may hang from that moment on. Others that
//! it holds up wait no longer than the timeout says.

use std::time::{Duration, Instant};

use shovel_protocol::id::WorkerId;

use super::command::Command;
use super::report::Report;
use super::worker::State;
use super::{Config, Fleet};

const SHORTEST_PING_INTERVAL: Duration = Duration::from_millis(100);

/// Where a worker stands between pings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heartbeat {
    /// It answered the last ping.
    Resting { answered: Instant, ping_at: Instant },
    /// A ping is under way.
    Waiting { answered: Instant, hung_at: Instant },
}

impl Heartbeat {
    pub(super) fn resting(config: &Config, now: Instant) -> Self {
        let interval = (config.hang_timeout / 6).max(SHORTEST_PING_INTERVAL);
        Heartbeat::Resting { answered: now, ping_at: now + interval }
    }

    pub(super) fn deadline(&self) -> Instant {
        match *self {
            Heartbeat::Resting { ping_at, .. } => ping_at,
            Heartbeat::Waiting { hung_at, .. } => hung_at,
        }
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
        match *heartbeat {
            Heartbeat::Resting { answered, .. } => {
                // Half of it is the worker's even if this ping goes out late.
                let timeout = self.config.hang_timeout;
                let hung_at = (answered + timeout).max(now + timeout / 2);
                *heartbeat = Heartbeat::Waiting { answered, hung_at };
                self.commands.push_back(Command::Ping { worker: id });
            }
            Heartbeat::Waiting { answered, .. } => {
                let silent_for = now.saturating_duration_since(answered);
                self.report(Report::WorkerHung { worker: id, silent_for });
                self.fail(id, Some(format!("has not answered for {silent_for:?}")), now);
            }
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
