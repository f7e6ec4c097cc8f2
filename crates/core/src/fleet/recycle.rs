//! Replacing single workers within their generation, one at a time, when they have reached a
//! limit.
//!
//! The walk: start a replacement with the same index and image, offer it in place of the old
//! worker, drain the old one, wait until it is gone. A reload replaces everybody and so comes
//! first.

use std::time::{Duration, Instant};

use shovel_protocol::id::WorkerId;

use super::command::DrainReason;
use super::event::RecycleReason;
use super::reload::Reload;
use super::report::Report;
use super::{Fleet, Phase};

const RETRY_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Recycle {
    Idle,
    /// The old worker serves until its replacement can.
    Starting {
        old: WorkerId,
        replacement: WorkerId,
    },
    /// The replacement serves and the old worker is leaving.
    Draining {
        old: WorkerId,
    },
    /// The last replacement failed.
    Waiting {
        until: Instant,
    },
}

impl Fleet {
    pub(super) fn on_recycle_wanted(&mut self, id: WorkerId, why: RecycleReason) {
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.is_ready()
        {
            worker.recycle.get_or_insert(why);
        }
    }

    pub(super) fn check_age(&mut self, id: WorkerId, now: Instant) {
        let expiry = self.workers.get(&id).and_then(|worker| worker.expiry(&self.config));
        if expiry.is_some_and(|at| at <= now) {
            self.on_recycle_wanted(id, RecycleReason::MaxAge);
        }
    }

    /// Whether the worker was a replacement on trial, whose failure leaves the old worker in
    /// place.
    pub(super) fn on_replacement_failed(&mut self, id: WorkerId, why: &str, now: Instant) -> bool {
        let Recycle::Starting { old, replacement } = self.recycle else { return false };
        if replacement != id {
            return false;
        }
        self.recycle = Recycle::Waiting { until: now + RETRY_AFTER };
        let why = format!("worker {id} {why}");
        let retry_in = RETRY_AFTER;
        self.report(Report::RecycleAbandoned { worker: old, replacement, why, retry_in });
        true
    }

    /// Ends the replacement under way, if any. The old worker keeps its wish for one.
    pub(super) fn cancel_recycle(&mut self, now: Instant) {
        if let Recycle::Starting { replacement, .. } = self.recycle {
            self.recycle = Recycle::Idle;
            self.dismiss(replacement, now);
        }
    }

    /// Takes each step of the recycle that has become possible.
    pub(super) fn settle_recycle(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        match self.recycle {
            Recycle::Starting { old, replacement } => {
                if !self.is_ready(old) {
                    // It failed by itself: the replacement is now simply the worker of its place.
                    self.recycle = Recycle::Idle;
                } else if self.is_ready(replacement) {
                    self.recycle = Recycle::Draining { old };
                    self.drain(old, DrainReason::Recycle, now);
                }
            }
            Recycle::Draining { old } if !self.workers.contains_key(&old) => {
                self.recycle = Recycle::Idle;
            }
            Recycle::Waiting { until } if until <= now => self.recycle = Recycle::Idle,
            Recycle::Idle | Recycle::Draining { .. } | Recycle::Waiting { .. } => {}
        }
        if matches!(self.recycle, Recycle::Idle) && matches!(self.reload, Reload::Idle) {
            self.start_recycle(now);
        }
    }

    fn start_recycle(&mut self, now: Instant) {
        let wish = self.workers.values().find_map(|worker| {
            let reason = worker.recycle.filter(|_| worker.is_ready())?;
            Some((worker.id, worker.index, worker.generation, reason))
        });
        let Some((old, index, generation, reason)) = wish else { return };
        let restarts = self.serving.restarts(index);
        let replacement = self.spawn(index, generation, restarts, now);
        self.recycle = Recycle::Starting { old, replacement };
        self.report(Report::RecycleStarted { worker: old, replacement, reason });
    }

    fn is_ready(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.is_ready())
    }
}
