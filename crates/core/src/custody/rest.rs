//! Which workers nobody needs for now, and when somebody is needed.
//!
//! A worker is idle on a thread if it has no request there, only connections that can do without
//! it, and has done nothing for as long as `sleep_after` says. Idle on all threads, it is told to
//! the fleet, which decides. Connections of workers that sleep stay open and subscribed; the next
//! message of one, or a request, asks for a worker.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shovel_protocol::WorkerId;

use super::{ClientHandle, Command, Custody, Moment, WorkerCell};

/// How often to ask for workers, at most.
pub(super) const ASKING_PAUSE: Duration = Duration::from_millis(25);

/// If even the least busy worker has so many requests and connections, one more is asked for.
const MUCH: u32 = 8;

/// When a worker last did anything, as its link shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Rest {
    /// All that was counted of it.
    activity: u64,
    since: Moment,
    /// It is counted among the threads on which it is idle.
    is_idle: bool,
}

impl Rest {
    pub(super) fn new(now: Moment) -> Self {
        Rest { activity: 0, since: now, is_idle: false }
    }

    pub(super) fn rebase(&mut self, shift: &impl Fn(&mut Moment)) {
        shift(&mut self.since);
    }
}

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// Asks for a worker, now and then.
    pub fn want_work(&mut self, now: Moment) {
        let is_new = self.work_wanted.is_none_or(|before| now - before >= ASKING_PAUSE);
        if is_new {
            self.work_wanted = Some(now);
            self.commands.push_back(Command::WorkWanted);
        }
    }

    /// Asks for one worker more if the least busy one has much to do.
    pub(super) fn want_help(&mut self, least_busy: WorkerId, now: Moment) {
        // Without that setting nobody falls asleep.
        let may_sleep = self.settings.sleep_after.is_some();
        if may_sleep && self.worker(least_busy).is_some_and(|cell| cell.load() >= MUCH) {
            self.want_work(now);
        }
    }

    pub(super) fn look_for_rest(&mut self, worker: WorkerId, activity: u64, now: Moment) {
        let Some(sleep_after) = self.settings.sleep_after else { return };
        let Some(its) = self.workers.get_mut(&worker) else { return };
        let rest = &mut its.rest;
        if activity != rest.activity {
            (rest.activity, rest.since) = (activity, now);
        }
        let rests = now - rest.since >= sleep_after && its.cell.adopts();
        // Looked at last: it walks all connections.
        let is_idle = rests && self.can_spare(worker);
        let Some(its) = self.workers.get_mut(&worker) else { return };
        let rest = &mut its.rest;
        let change = (is_idle != rest.is_idle).then_some(is_idle);
        rest.is_idle = is_idle;
        let is_idle_everywhere = its.cell.note_idle(change);
        if is_idle && is_idle_everywhere && its.takes_work() {
            self.commands.push_back(Command::Idle { worker });
        }
    }

    /// Whether all that a worker has here are connections that can do without it.
    fn can_spare(&self, worker: WorkerId) -> bool {
        let has_requests = self.workers.get(&worker).is_some_and(|its| its.requests > 0);
        let mut connections = self.connections.iter();
        !has_requests
            && connections.all(|(_, connection)| {
                let is_its = connection.owner() == Some(worker);
                !is_its
                    || (connection.can_move()
                        && connection.is_idle()
                        && connection.client.is_open())
            })
    }
}
