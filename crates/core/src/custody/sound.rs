//! Whether a custody that was read makes sense: what is counted agrees with what is there, and what is
//! looked up can be found. Of one that does, every call is as safe as of one that was never written.

use std::collections::BTreeSet;
use std::time::Duration;

use super::connection::Record;
use super::workers::Worker;
use super::{ClientHandle, Connection, Custody, Route, Settings, WorkerCell};

/// More than anybody waits, or a process lives, and far from where time ends.
const LONGEST: Duration = Duration::from_secs(1 << 40);

/// More events, or requests, than anybody has, and far from where numbers end.
const MOST_EVENTS: u64 = 1 << 62;
const MOST_REQUESTS: u32 = 1 << 30;

/// What was read is no custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was read is no custody: {0}")]
pub struct Unsound(&'static str);

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// Whether everything in it agrees with all else. To be asked of one that was read before anything
    /// else is done with it: only then no sequence of calls makes it panic.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&self) -> Result<(), Unsound> {
        let demand = |holds: bool, what| if holds { Ok(()) } else { Err(Unsound(what)) };
        demand(self.connections.is_sound(), "its table")?;
        demand(self.workers.is_sound(), "the order of its workers")?;
        demand(self.settings.is_sound() && self.now.0 <= LONGEST, "its times")?;
        demand(self.connections.iter().all(|(_, one)| one.is_sound()), "a connection")?;
        let is_sound = |worker: &Worker<W>| worker.is_sound(self.len());
        demand(self.workers.values().all(is_sound), "a worker")?;
        let queues =
            [&self.leaving, &self.seeking, &self.seeking_suspects, &self.woken, &self.unread];
        demand(queues.iter().all(|queue| queue.is_sound()), "a queue")?;
        demand(self.askers <= MOST_REQUESTS, "how many ask")?;
        let all = || self.connections.iter().map(|(id, one)| (id, one, one.standing()));
        // None of them is more than 2^48 by now.
        let kept: usize = all().map(|(_, _, standing)| standing.kept_bytes).sum();
        demand(self.kept_bytes == kept, "what it keeps")?;
        let moving = all().filter(|(_, _, standing)| standing.is_moving).count();
        demand(self.under_way as usize == moving, "its moves")?;
        let due = all().filter_map(|(id, one, standing)| {
            Some((standing.due?, Route { slot: id.slot, born: one.born }))
        });
        // One that was due and changed nothing is not among them any more.
        demand(self.deadlines.is_subset(&due.collect::<BTreeSet<_>>()), "its deadlines")
    }
}

impl Settings {
    fn is_sound(&self) -> bool {
        let Settings { handler_timeout, adopt_timeout, owner_wait, close_spread, sleep_after } =
            self;
        let all = [handler_timeout, adopt_timeout, owner_wait, close_spread];
        all.into_iter().chain(sleep_after).all(|time| *time <= LONGEST)
    }
}

impl<C, M, E: Default> Connection<C, M, E> {
    fn is_sound(&self) -> bool {
        let is_recorded = match &self.record {
            Record::Plain(window) => window.is_sound(),
            Record::Portable(portable) => portable.log.is_sound(),
        };
        is_recorded
            && self.acked <= MOST_EVENTS
            && self.committed <= self.acked
            && (self.acked..=self.read()).contains(&self.sent)
            && self.sent <= MOST_EVENTS
            && self.close.is_none_or(|close| close == self.read())
    }
}

impl<W> Worker<W> {
    fn is_sound(&self, connections: usize) -> bool {
        self.connections as usize <= connections
            && self.requests <= MOST_REQUESTS
            && self.suspects.is_sound()
            && self.others.is_sound()
    }
}
