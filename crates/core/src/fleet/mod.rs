//! The life of workers: starting workers, restarting them, reloading, recycling, scaling, ending.
//!
//! A state machine without IO. It decides; its only caller, the supervisor's driver, does. It
//! never sees a request, a connection or a message: those go to workers by the snapshot that
//! [`Command::Offer`] publishes and by [`Rotation`].
//!
//! The walk: [`Event`] -> state of the worker -> what has become possible by it (switch of a
//! reload, next recycle, new offer, exit) -> [`Command`]s. One mutation, then drain every command,
//! then the next.

mod command;
mod death;
mod event;
mod health;
mod pick;
mod recycle;
mod reload;
mod report;
mod restart;
mod scale;
mod shutdown;
mod sleep;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use shovel_protocol::id::{Generation, WorkerId, WorkerIndex};

pub use command::{Command, DrainReason, Outcome};
pub use death::{Death, Told};
pub use event::{Event, Exit, RecycleReason};
pub use pick::Rotation;
pub use reload::ReloadState;
pub use report::{Report, Severity};
pub use restart::START_FAILURES_ALLOWED;
pub use worker::{WorkerState, WorkerView};

use recycle::Recycle;
use reload::Reload;
use restart::{Load, Random};
use shutdown::End;
use worker::{State, Worker};

/// What the operator chose. Timeouts beyond ten years count as ten years.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Workers of one generation, from 1; [`Event::ScaleRequested`] changes it.
    pub workers: u32,
    /// So many workers stay awake though they have nothing to do. May be 0.
    pub min_workers: u32,
    /// From the start of a process until it must be ready.
    pub ready_timeout: Duration,
    /// How long a worker may be silent, from its last answer on. Pings are sent at a sixth of it,
    /// though not more often than every 100 ms.
    pub hang_timeout: Duration,
    /// How long a draining worker may take to finish what it has.
    pub drain_timeout: Duration,
    /// How long the whole pool may take to end.
    pub shutdown_timeout: Duration,
    /// How long a worker may be ready before it is replaced; `None` for ever.
    pub max_age: Option<Duration>,
    /// A program that cannot start does not end the pool: somebody is about to mend it, and will
    /// ask for a reload.
    pub waits_for_a_better_program: bool,
    /// Decides the jitter of restarts. Equal seeds and equal events give equal commands.
    pub seed: u64,
}

/// The workers of a pool. See the module for how to use it.
///
/// No sequence of events makes it panic: those that do not fit are ignored.
#[derive(Debug)]
pub struct Fleet {
    config: Config,
    phase: Phase,
    serving: Load,
    reload: Reload,
    /// One more reload is to follow the one that runs.
    reload_wanted: bool,
    recycle: Recycle,
    workers: BTreeMap<WorkerId, Worker>,
    offered: Vec<WorkerId>,
    /// Serving, and not offered since they answer late.
    late: Vec<WorkerId>,
    ever_ready: bool,
    next_worker: u32,
    next_generation: u32,
    random: Random,
    commands: VecDeque<Command>,
}

#[derive(Debug)]
enum Phase {
    Running,
    /// Workers finish what they have.
    Terminating(End),
    /// All workers were killed.
    Leaving {
        outcome: Outcome,
        deadline: Instant,
    },
    Exited,
}

impl Fleet {
    /// A fleet whose first command is to load the program.
    pub fn new(config: Config, now: Instant) -> Self {
        let config = config.clamped();
        let first = Generation(1);
        let mut fleet = Fleet {
            phase: Phase::Running,
            serving: Load::new(first, config.workers),
            reload: Reload::Idle,
            reload_wanted: false,
            recycle: Recycle::Idle,
            workers: BTreeMap::new(),
            offered: Vec::new(),
            late: Vec::new(),
            ever_ready: false,
            next_worker: 1,
            next_generation: first.0 + 1,
            random: Random(config.seed),
            commands: VecDeque::from([Command::LoadImage { generation: first }]),
            config,
        };
        fleet.settle(now);
        fleet
    }

    /// Takes in what has happened. Drain [`poll_command`](Self::poll_command) after it.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        if matches!(self.phase, Phase::Exited) {
            return;
        }
        match event {
            Event::ImageLoaded { generation } => self.on_image_loaded(generation, now),
            Event::ImageFailed { generation, why } => self.on_image_failed(generation, why, now),
            Event::Spawned { worker, pid } => self.on_spawned(worker, pid, now),
            Event::SpawnFailed { worker, why } => self.on_spawn_failed(worker, &why, now),
            Event::LinkObtained { worker } => self.on_link_obtained(worker, now),
            Event::Ready { worker } => self.on_ready(worker, now),
            Event::Refused { worker, why } => self.on_link_ended(worker, Some(why), now),
            Event::Awaited { worker } => self.on_awaited(worker, now),
            Event::Ponged { worker } => self.on_ponged(worker, now),
            Event::LinkEnded { worker, why } => self.on_link_ended(worker, why, now),
            Event::Gone { worker, exit } => self.on_gone(worker, exit, now),
            Event::Drained { worker } => self.on_drained(worker, now),
            Event::Stuck { worker, has_requests } => self.on_stuck(worker, has_requests, now),
            Event::ShutdownCompleted { worker } => self.expect_exit(worker, now),
            Event::RecycleWanted { worker, why } => self.on_recycle_wanted(worker, why),
            Event::ReloadRequested => self.on_reload_requested(),
            Event::ReloadRefused { why } => self.report(Report::ReloadRefused { why }),
            Event::Reconfigured { config } => self.config = config.clamped(),
            Event::Idle { worker } => self.on_idle(worker, now),
            Event::WorkWanted => self.on_work_wanted(now),
            Event::Emptied => self.on_emptied(now),
            Event::ScaleRequested { workers } => self.on_scale_requested(workers, now),
            Event::TerminateRequested => self.on_terminate_requested(now),
        }
        self.settle(now);
    }

    /// Does what is due by the clock. Call it once `now` has reached
    /// [`poll_timeout`](Self::poll_timeout); earlier it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Exited) {
            return;
        }
        self.on_phase_timeout(now);
        self.on_restarts_due(now);
        for id in self.ids_where(|_| true) {
            self.on_worker_timeout(id, now);
        }
        self.settle(now);
    }

    /// The next thing to do; `None` when it waits for an event or a timeout.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. It changes with each event.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Running => None,
            Phase::Terminating(End { deadline, .. }) => Some(deadline),
            Phase::Leaving { deadline, .. } => Some(deadline),
            Phase::Exited => return None,
        };
        let incoming_restart = match &self.reload {
            Reload::Starting { load, .. } => load.next_restart(),
            Reload::Idle | Reload::Draining { .. } | Reload::Abandoned { .. } => None,
        };
        let recycle = match self.recycle {
            Recycle::Waiting { until } => Some(until),
            Recycle::Idle | Recycle::Starting { .. } | Recycle::Draining { .. } => None,
        };
        let workers = self.workers.values().filter_map(|worker| worker.deadline(&self.config));
        [phase, self.serving.next_restart(), incoming_restart, recycle]
            .into_iter()
            .flatten()
            .chain(workers)
            .min()
    }

    /// Every worker that is not gone, in the order of ids.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView> {
        self.workers.values().map(Worker::view)
    }

    /// The generation that serves, or at first the one that will.
    pub fn generation(&self) -> Generation {
        self.serving.generation
    }

    /// How many workers a generation is to have.
    pub fn wanted(&self) -> u32 {
        self.config.workers
    }

    /// Places of the serving generation that are empty until their pause is over, and when that
    /// is.
    pub fn pauses(&self) -> impl Iterator<Item = (WorkerIndex, Instant)> {
        self.serving.pauses()
    }

    /// Whether the pool is ending, or has ended.
    pub fn is_ending(&self) -> bool {
        !matches!(self.phase, Phase::Running)
    }

    /// How far the reload is that is under way, if one is.
    pub fn reload_state(&self) -> ReloadState {
        self.reload.state()
    }

    /// Whether a reload is under way: also while its old workers, or those of an abandoned new
    /// generation, are leaving.
    pub fn is_reloading(&self) -> bool {
        !matches!(self.reload, Reload::Idle)
    }

    fn on_worker_timeout(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.state {
            State::Starting { deadline, .. } if deadline <= now => self.on_ready_timeout(id, now),
            State::Stopping { deadline } if deadline <= now => self.on_stop_timeout(id, now),
            State::Ready { .. } => {
                self.check_age(id, now);
                self.check_heartbeat(id, now);
            }
            State::Draining { .. } => {
                self.check_drain(id, now);
                self.check_heartbeat(id, now);
            }
            State::Starting { .. } | State::Stopping { .. } | State::Killed { .. } => {}
        }
    }

    /// Takes every step that has become possible. A recycle waits for the end of a reload, and
    /// the offer is settled after both, since they may change it.
    fn settle(&mut self, now: Instant) {
        self.settle_reload(now);
        self.settle_recycle(now);
        self.settle_end(now);
        self.settle_offer();
        self.settle_phase(now);
    }

    /// Publishes whom to give new work to, if that has changed. Called before whatever takes a
    /// worker out of service, so that nothing new is on its way to it by then.
    fn settle_offer(&mut self) {
        let serving = self.serving.generation;
        let able = match self.phase {
            Phase::Running => {
                self.ids_where(|worker| worker.generation == serving && worker.is_ready())
            }
            // Clients that are connected already are served until their worker stops.
            Phase::Terminating(_) => self.ids_where(|worker| {
                let is_new = worker.generation == serving && worker.is_ready();
                let was_offered = self.offered.binary_search(&worker.id).is_ok()
                    || self.late.binary_search(&worker.id).is_ok();
                is_new || (worker.is_serving() && was_offered)
            }),
            Phase::Leaving { .. } | Phase::Exited => Vec::new(),
        };
        let (on_time, late): (Vec<_>, _) =
            able.into_iter().partition(|id| !self.workers[id].is_late());
        let (offer, late) = match on_time.is_empty() {
            // Nobody is better.
            true => (late, Vec::new()),
            // Of one that is on its way out, too, others take over what it has not answered.
            false => (on_time, self.ids_where(|worker| worker.is_serving() && worker.is_late())),
        };
        if offer != self.offered || late != self.late {
            self.report_late(&offer, &late);
            self.offered.clone_from(&offer);
            self.late.clone_from(&late);
            self.commands.push_back(Command::Offer { workers: offer, late });
        }
    }

    fn ids_where(&self, is_wanted: impl Fn(&Worker) -> bool) -> Vec<WorkerId> {
        self.workers.values().filter(|worker| is_wanted(worker)).map(|worker| worker.id).collect()
    }

    fn report(&mut self, report: Report) {
        self.commands.push_back(Command::Report(report));
    }
}

impl Config {
    /// So that no sum of a time and a timeout overflows.
    fn clamped(mut self) -> Self {
        const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
        for timeout in [
            &mut self.ready_timeout,
            &mut self.hang_timeout,
            &mut self.drain_timeout,
            &mut self.shutdown_timeout,
        ] {
            *timeout = (*timeout).min(LONGEST);
        }
        self.max_age = self.max_age.map(|age| age.min(LONGEST));
        self
    }
}
