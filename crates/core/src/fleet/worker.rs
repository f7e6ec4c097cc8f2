//! One worker: its states, and the way from its process being asked for to its serving.

use std::time::{Duration, Instant};

use shovel_protocol::id::{Generation, WorkerId, WorkerIndex};

use super::command::Command;
use super::event::RecycleReason;
use super::health::Heartbeat;
use super::report::Report;
use super::{Config, Fleet};

/// A worker as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Its id.
    pub id: WorkerId,
    /// Its place in the generation.
    pub index: WorkerIndex,
    /// Whose image it runs.
    pub generation: Generation,
    /// Its process id, once there is a process.
    pub pid: Option<u32>,
    /// What it is doing.
    pub state: WorkerState,
    /// How many restarts its place had seen when it was started.
    pub restarts: u32,
    /// When it was started.
    pub started: Instant,
    /// When it came into this state.
    pub since: Instant,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// Not ready yet.
    Starting,
    /// Takes new work, unless its generation is not the one that serves.
    Ready,
    /// Takes no new work and finishes what it has.
    Draining,
    /// Is leaving, by itself or by force.
    Stopping,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) index: WorkerIndex,
    pub(super) generation: Generation,
    pub(super) pid: Option<u32>,
    pub(super) state: State,
    pub(super) restarts: u32,
    pub(super) started: Instant,
    pub(super) since: Instant,
    /// It has reached this limit and waits for its turn to be replaced.
    pub(super) recycle: Option<RecycleReason>,
}

#[derive(Debug)]
pub(super) enum State {
    /// The link may be there before the process is known, so each is noted by itself.
    Starting {
        deadline: Instant,
        linked: bool,
        said_ready: bool,
    },
    Ready {
        heartbeat: Heartbeat,
    },
    /// `cut_at` is `None` once it has been cut, or if it is not to be: while it is only sleepy.
    /// `is_empty`: it owns nothing, but the pool ends and others may still need it.
    Draining {
        heartbeat: Heartbeat,
        cut_at: Option<Instant>,
        sleepy: bool,
        is_empty: bool,
    },
    Stopping {
        deadline: Instant,
    },
    /// Waits to be reaped. Without a fault, it was killed because nobody needs it.
    Killed {
        fault: Option<Fault>,
    },
}

/// Why a worker was killed that had not been told to leave.
#[derive(Debug)]
pub(super) struct Fault {
    /// `None`: its exit will tell.
    pub(super) why: Option<String>,
    /// It had been ready long enough for its earlier failures to be forgotten.
    pub(super) was_healthy: bool,
    /// Its place is to be taken again. Not so if it was leaving anyway.
    pub(super) holds_place: bool,
}

impl Worker {
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(self.state, State::Ready { .. } | State::Draining { .. })
    }

    /// Whether it is, or its end will bring, the worker of its place.
    pub(super) fn holds_place(&self) -> bool {
        match &self.state {
            State::Starting { .. } | State::Ready { .. } => true,
            State::Draining { .. } | State::Stopping { .. } => false,
            State::Killed { fault } => fault.as_ref().is_some_and(|fault| fault.holds_place),
        }
    }

    pub(super) fn ready_for(&self, now: Instant) -> Duration {
        if self.is_ready() { now.saturating_duration_since(self.since) } else { Duration::ZERO }
    }

    pub(super) fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    /// When this worker needs looking at even if nothing happens.
    pub(super) fn deadline(&self, config: &Config) -> Option<Instant> {
        match &self.state {
            State::Starting { deadline, .. } | State::Stopping { deadline } => Some(*deadline),
            State::Ready { heartbeat } => {
                let expiry = self.expiry(config).filter(|_| self.recycle.is_none());
                expiry.into_iter().chain([heartbeat.deadline()]).min()
            }
            State::Draining { heartbeat, cut_at, is_empty, .. } => {
                let cut_at = cut_at.filter(|_| !is_empty);
                cut_at.iter().copied().chain([heartbeat.deadline()]).min()
            }
            State::Killed { .. } => None,
        }
    }

    /// When a ready worker has reached the age at which it is replaced.
    pub(super) fn expiry(&self, config: &Config) -> Option<Instant> {
        config.max_age.filter(|_| self.is_ready()).map(|age| self.since + age)
    }

    pub(super) fn view(&self) -> WorkerView {
        WorkerView {
            id: self.id,
            index: self.index,
            generation: self.generation,
            pid: self.pid,
            state: match self.state {
                State::Starting { .. } => WorkerState::Starting,
                State::Ready { .. } => WorkerState::Ready,
                State::Draining { .. } => WorkerState::Draining,
                State::Stopping { .. } | State::Killed { .. } => WorkerState::Stopping,
            },
            restarts: self.restarts,
            started: self.started,
            since: self.since,
        }
    }
}

impl Fleet {
    pub(super) fn spawn(
        &mut self,
        index: WorkerIndex,
        generation: Generation,
        restarts: u32,
        now: Instant,
    ) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        let deadline = now + self.config.ready_timeout;
        self.workers.insert(
            id,
            Worker {
                id,
                index,
                generation,
                pid: None,
                state: State::Starting { deadline, linked: false, said_ready: false },
                restarts,
                started: now,
                since: now,
                recycle: None,
            },
        );
        self.commands.push_back(Command::Spawn { worker: id, index, generation });
        id
    }

    pub(super) fn on_spawned(&mut self, id: WorkerId, pid: u32, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.pid = Some(pid);
        let (index, generation) = (worker.index, worker.generation);
        if let State::Killed { fault } = &worker.state {
            // The first kill may have found no process to end.
            let at_fault = fault.is_some();
            self.commands.push_back(Command::Kill { worker: id, at_fault });
        }
        self.report(Report::WorkerStarted { worker: id, index, generation, pid });
        self.finish_start(id, now);
    }

    pub(super) fn on_link_obtained(&mut self, id: WorkerId, now: Instant) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let State::Starting { linked, .. } = &mut worker.state
        {
            *linked = true;
            self.finish_start(id, now);
        }
    }

    pub(super) fn on_ready(&mut self, id: WorkerId, now: Instant) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let State::Starting { said_ready, .. } = &mut worker.state
        {
            *said_ready = true;
            self.finish_start(id, now);
        }
    }

    fn finish_start(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let State::Starting { linked: true, said_ready: true, .. } = worker.state else { return };
        if worker.pid.is_none() {
            return;
        }
        let took = now.saturating_duration_since(worker.since);
        worker.enter(State::Ready { heartbeat: Heartbeat::resting(&self.config, now) }, now);
        self.ever_ready = true;
        self.report(Report::WorkerReady { worker: id, took });
    }

    /// Ends a worker that the fleet has no more use for. Does nothing if it is ending already.
    pub(super) fn dismiss(&mut self, id: WorkerId, now: Instant) {
        self.kill(id, None, now);
    }

    /// Ends a worker that has gone wrong. `why` is `None` if its exit will tell. Does nothing if
    /// it is ending already.
    pub(super) fn fail(&mut self, id: WorkerId, why: Option<String>, now: Instant) {
        let Some(worker) = self.workers.get(&id) else { return };
        let fault = Fault {
            why,
            was_healthy: worker.ready_for(now) >= super::restart::HEALTHY_AFTER,
            holds_place: worker.holds_place(),
        };
        self.kill(id, Some(fault), now);
    }

    fn kill(&mut self, id: WorkerId, fault: Option<Fault>, now: Instant) {
        if let Some(worker) = self.workers.get_mut(&id)
            && !matches!(worker.state, State::Killed { .. })
        {
            let at_fault = fault.is_some();
            worker.enter(State::Killed { fault }, now);
            self.settle_offer();
            self.commands.push_back(Command::Kill { worker: id, at_fault });
        }
    }
}
