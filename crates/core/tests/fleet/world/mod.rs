//! A world that obeys commands badly: processes that fail to start, hang, crash and linger, and
//! an operator who cannot wait. Checked after every step ([`check`]) is what must hold whatever
//! happens.

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use shovel_core::fleet::{
    Command, Config, DrainReason, Event, Exit, Fleet, Outcome, RecycleReason, Report,
};
use shovel_protocol::id::{Generation, WorkerId, WorkerIndex};

use crate::harness::{config, epoch, seconds};

/// A process that is not gone, as the world sees it.
#[derive(Debug)]
struct Process {
    index: WorkerIndex,
    generation: Generation,
    facts: BTreeSet<Fact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    // What the fleet has been told.
    Spawned,
    Linked,
    Ready,
    Drained,
    // What the fleet has commanded.
    ToldToDrain,
    /// And it has no deadline.
    Sleepy,
    Cut,
    Killed,
    /// It is drained a second time.
    ToldOfTheEnd,
    ToldToLeave,
    // What only the world knows.
    Hung,
    Dying,
}

impl Process {
    fn is(&self, fact: Fact) -> bool {
        self.facts.contains(&fact)
    }

    fn can_serve(&self) -> bool {
        self.was_serving() && !self.is(Fact::ToldToDrain)
    }

    fn was_serving(&self) -> bool {
        let is_up = [Fact::Spawned, Fact::Linked, Fact::Ready].iter().all(|fact| self.is(*fact));
        is_up && !self.is(Fact::Killed)
    }

    /// Whether it was falling asleep until now.
    fn hurry(&mut self) -> bool {
        self.facts.remove(&Fact::Sleepy)
    }
}

struct World {
    fleet: Fleet,
    config: Config,
    random: Rng,
    now: Instant,
    is_faulty: bool,
    queue: BTreeMap<(Instant, u64), Event>,
    queued: u64,
    processes: BTreeMap<WorkerId, Process>,
    /// Taken or being taken, and not let go.
    images: BTreeSet<Generation>,
    loaded: BTreeSet<Generation>,
    newest: Generation,
    newest_worker: WorkerId,
    offer: Vec<WorkerId>,
    late: Vec<WorkerId>,
    was_ever_ready: bool,
    terminating_since: Option<Instant>,
    outcome: Option<Outcome>,
    /// The pool ends, and something that was read may have no worker.
    is_needed: bool,
    slept: u32,
    woken: u32,
    started_last: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let max_age = random.bool().then(|| seconds(random.u64(20..600)));
        let min_workers = random.u32(0..3);
        let config = Config { max_age, min_workers, seed, ..config(random.u32(1..5)) };
        let now = epoch();
        let mut world = World {
            fleet: Fleet::new(config.clone(), now),
            config,
            random,
            now,
            is_faulty: true,
            queue: BTreeMap::new(),
            queued: 0,
            processes: BTreeMap::new(),
            images: BTreeSet::new(),
            loaded: BTreeSet::new(),
            newest: Generation(0),
            newest_worker: WorkerId(0),
            offer: Vec::new(),
            late: Vec::new(),
            was_ever_ready: false,
            terminating_since: None,
            outcome: None,
            is_needed: false,
            slept: 0,
            woken: 0,
            started_last: 0,
        };
        world.obey_all();
        world
    }

    fn later(&mut self, longest_ms: u64, event: Event) {
        let at = self.now + Duration::from_millis(self.random.u64(0..=longest_ms));
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    fn fault(&mut self, percent: u32) -> bool {
        self.is_faulty && self.random.u32(0..100) < percent
    }

    /// The next event or timeout, whichever comes first; `false` if nothing can happen any more.
    fn step(&mut self) -> bool {
        let event_at = self.queue.keys().next().copied();
        match (event_at, self.fleet.poll_timeout()) {
            (Some(key), timeout) if timeout.is_none_or(|at| key.0 <= at) => {
                self.now = self.now.max(key.0);
                if let Some(event) = self.queue.remove(&key) {
                    self.deliver(event);
                }
            }
            (_, Some(at)) => {
                self.now = self.now.max(at);
                self.fleet.handle_timeout(self.now);
                self.obey_all();
                let next = self.fleet.poll_timeout();
                assert!(next.is_none_or(|next| next > self.now), "no progress");
            }
            (_, None) => return false,
        }
        true
    }

    fn deliver(&mut self, event: Event) {
        self.note(&event);
        self.fleet.handle_event(event, self.now);
        self.obey_all();
    }

    fn note(&mut self, event: &Event) {
        let fact = match event {
            Event::ImageLoaded { generation } => {
                self.loaded.insert(*generation);
                None
            }
            Event::ImageFailed { generation, .. } => {
                self.images.remove(generation);
                None
            }
            Event::Emptied => {
                self.is_needed = false;
                None
            }
            Event::TerminateRequested => {
                self.terminating_since.get_or_insert(self.now);
                None
            }
            Event::Spawned { worker, .. } => Some((worker, Fact::Spawned)),
            Event::LinkObtained { worker } => Some((worker, Fact::Linked)),
            Event::Ready { worker } => Some((worker, Fact::Ready)),
            Event::Drained { worker } => Some((worker, Fact::Drained)),
            Event::Gone { worker, .. } | Event::SpawnFailed { worker, .. } => {
                self.processes.remove(worker);
                None
            }
            _ => None,
        };
        if let Some((worker, fact)) = fact {
            self.establish(*worker, fact);
        }
        self.was_ever_ready |= self.processes.values().any(Process::can_serve);
    }

    fn process(&self, id: WorkerId) -> &Process {
        self.processes.get(&id).expect("commands name workers that are not gone")
    }

    /// Whether this is news.
    fn establish(&mut self, id: WorkerId, fact: Fact) -> bool {
        self.processes.get_mut(&id).is_some_and(|process| process.facts.insert(fact))
    }

    fn obey_all(&mut self) {
        while let Some(command) = self.fleet.poll_command() {
            assert_eq!(self.outcome, None, "a command after the exit: {command:?}");
            self.obey(command);
        }
        self.check();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::LoadImage { generation } => self.load(generation),
            Command::DropImage { generation } => {
                assert!(self.images.remove(&generation), "{generation} has no image");
                assert!(!self.is_alive(generation), "the image of {generation} is in use");
                self.loaded.remove(&generation);
            }
            Command::Spawn { worker, index, generation } => self.spawn(worker, index, generation),
            Command::Ping { worker } => {
                if !self.process(worker).is(Fact::Hung) {
                    self.later(20, Event::Ponged { worker });
                }
            }
            Command::Offer { workers, late } => {
                let is_news = workers != self.offer || late != self.late;
                assert!(is_news, "an offer that changes nothing");
                (self.offer, self.late) = (workers, late);
            }
            Command::Drain { worker, why } => {
                if self.establish(worker, Fact::ToldToDrain) {
                    let process = self.process(worker);
                    assert!(process.was_serving(), "{worker} cannot be drained");
                    assert!(self.terminating_since.is_some() || !self.offer.contains(&worker));
                } else {
                    let was_sleepy = self.processes.get_mut(&worker).is_some_and(Process::hurry);
                    let is_end = why == DrainReason::Terminate;
                    let is_news = is_end && self.establish(worker, Fact::ToldOfTheEnd);
                    assert!(was_sleepy || is_news, "{worker} is drained twice");
                }
                if why == DrainReason::Sleep {
                    self.establish(worker, Fact::Sleepy);
                    let least = self.config.min_workers as usize;
                    assert!(self.offer.len() >= least, "too few are awake: {:?}", self.offer);
                    self.slept += 1;
                }
                let longest = if self.fault(10) { 200_000 } else { 5_000 };
                self.later(longest, Event::Drained { worker });
            }
            Command::Cut { worker } => {
                assert!(self.process(worker).is(Fact::ToldToDrain));
                assert!(!self.process(worker).is(Fact::Sleepy), "{worker} has no deadline");
                assert!(self.establish(worker, Fact::Cut), "{worker} is cut twice");
                self.later(100, Event::Drained { worker });
            }
            Command::Shutdown { worker } => self.shut_down(worker),
            Command::Kill { worker, .. } => {
                assert!(!self.offer.contains(&worker), "{worker} is offered");
                // Before its process is known there is nothing to kill; the fleet has to see to it.
                if self.process(worker).is(Fact::Spawned) {
                    self.end(worker, Exit::Signal(9));
                }
                self.establish(worker, Fact::Killed);
            }
            Command::StopAccepting => {
                assert!(self.terminating_since.is_some());
                self.is_needed = true;
                let longest = if self.fault(10) { 40_000 } else { 5_000 };
                self.later(longest, Event::Emptied);
            }
            Command::EndWaits => self.is_needed = false,
            Command::Report(report) => {
                self.woken += u32::from(matches!(report, Report::WorkerWakes { .. }));
                assert!(!report.to_string().is_empty());
            }
            Command::Exit(outcome) => self.outcome = Some(outcome),
        }
    }

    fn load(&mut self, generation: Generation) {
        assert!(generation > self.newest, "a generation comes twice");
        assert!(self.terminating_since.is_none());
        self.newest = generation;
        self.images.insert(generation);
        if generation.0 > 1 && self.fault(10) {
            self.later(50, Event::ImageFailed { generation, why: "denied".into() });
        } else {
            self.later(50, Event::ImageLoaded { generation });
        }
    }

    fn spawn(&mut self, worker: WorkerId, index: WorkerIndex, generation: Generation) {
        assert!(worker > self.newest_worker, "an id comes twice");
        assert!(self.loaded.contains(&generation), "{generation} has no image to run");
        assert!(index.0 < self.config.workers);
        let is_ending = self.terminating_since.is_some();
        assert!(!is_ending || (self.is_needed && self.offer.is_empty()), "nobody needs {worker}");
        self.started_last += u32::from(is_ending);
        let process = Process { index, generation, facts: BTreeSet::new() };
        self.processes.insert(worker, process);
        self.newest_worker = worker;
        if self.fault(2) {
            self.later(10, Event::SpawnFailed { worker, why: "no memory".into() });
            return;
        }
        self.later(0, Event::Spawned { worker, pid: worker.0 });
        self.later(10, Event::LinkObtained { worker });
        if self.fault(2) {
            self.later(1_000, Event::Refused { worker, why: "speaks in tongues".into() });
        } else if !self.fault(4) {
            self.later(2_000, Event::Ready { worker });
        }
    }

    fn shut_down(&mut self, worker: WorkerId) {
        assert!(self.process(worker).is(Fact::Drained), "{worker} still holds something");
        assert!(!self.offer.contains(&worker));
        self.establish(worker, Fact::ToldToLeave);
        if self.terminating_since.is_some() {
            let has_nothing = |process: &Process| process.is(Fact::Drained);
            let needed = self.processes.iter().find(|(_, process)| !has_nothing(process));
            assert!(needed.is_none(), "{worker} may leave, but {needed:?} may need it");
        }
        if !self.fault(10) {
            self.later(8_000, Event::ShutdownCompleted { worker });
            if !self.fault(10) {
                self.establish(worker, Fact::Dying);
                self.later(9_000, Event::Gone { worker, exit: Exit::Code(0) });
            }
        }
    }

    /// Ends the process, with its link ending before it now and then.
    fn end(&mut self, worker: WorkerId, exit: Exit) {
        if self.random.bool() {
            let why = self.random.bool().then(|| "sent nonsense".to_string());
            self.later(5, Event::LinkEnded { worker, why });
        }
        if self.establish(worker, Fact::Dying) {
            self.later(50, Event::Gone { worker, exit });
        }
    }

    /// Something that nobody asked for.
    fn disturb(&mut self) {
        let living: Vec<WorkerId> = self
            .processes
            .iter()
            .filter(|(_, process)| process.is(Fact::Spawned))
            .map(|(id, _)| *id)
            .collect();
        let worker = self.random.choice(&living).copied();
        match (self.random.u32(0..15), worker) {
            (13 | 14, Some(worker)) => self.deliver(Event::Awaited { worker }),
            (0 | 1, Some(worker)) => self.end(worker, Exit::Code(1)),
            (2, Some(worker)) => {
                self.establish(worker, Fact::Hung);
            }
            (3, Some(worker)) => {
                let why = Some("sent a bad frame".into());
                self.deliver(Event::LinkEnded { worker, why });
            }
            (4 | 5, Some(worker)) => {
                let why = RecycleReason::MaxRss;
                self.deliver(Event::RecycleWanted { worker, why });
            }
            (9 | 10, Some(worker)) => self.deliver(Event::Idle { worker }),
            (11 | 12, _) => self.deliver(Event::WorkWanted),
            (6, _) => {
                let workers = self.random.u32(1..5);
                self.config.workers = workers;
                self.deliver(Event::ScaleRequested { workers });
            }
            _ => self.deliver(Event::ReloadRequested),
        }
    }

    /// Now and then all of them die just before the end.
    fn lose_workers(&mut self) {
        if self.random.u32(0..3) == 0 {
            let spawned = |process: &Process| process.is(Fact::Spawned);
            let processes = self.processes.iter().filter(|(_, process)| spawned(process));
            let living: Vec<_> = processes.map(|(id, _)| *id).collect();
            living.into_iter().for_each(|id| self.end(id, Exit::Signal(9)));
        }
    }

    /// As a thread does at the end that has something without a worker.
    fn ask_for_workers(&mut self) {
        if self.is_needed && self.offer.is_empty() && self.random.bool() {
            self.deliver(Event::WorkWanted);
        }
    }

    fn is_alive(&self, generation: Generation) -> bool {
        self.processes.values().any(|process| process.generation == generation)
    }

    /// Without faults, until all of it is ready.
    fn recover(&mut self) {
        self.is_faulty = false;
        for process in self.processes.values_mut() {
            process.facts.remove(&Fact::Hung);
        }
        let end = self.now + seconds(600);
        let mut is_whole = false;
        while self.now < end && !is_whole && self.step() {
            let awake = self.config.workers as usize - self.fleet.asleep();
            is_whole = self.fleet.workers().count() == awake
                && self.offer.len() == awake
                && !self.fleet.is_reloading();
        }
        if self.outcome.is_none() {
            self.check_whole();
        }
    }
}

#[test]
fn whatever_happens_the_invariants_hold_and_the_pool_recovers_and_ends() {
    let (mut recoveries, mut reloads) = (0, 0);
    let (mut slept, mut woken, mut started_last) = (0, 0, 0);
    for seed in 0..100 {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..1_500 {
            if world.random.u32(0..20) == 0 {
                world.disturb();
            }
            if !world.step() {
                break;
            }
        }
        world.recover();
        if world.outcome.is_some() {
            continue;
        }
        recoveries += 1;
        reloads += world.fleet.generation().0 - 1;
        (slept, woken) = (slept + world.slept, woken + world.woken);
        world.is_faulty = world.random.bool();
        for _ in 0..world.random.u32(0..200) {
            if world.random.u32(0..5) == 0 {
                world.disturb();
            }
            world.step();
        }
        let is_patient = world.random.u32(0..4) > 0;
        world.lose_workers();
        world.deliver(Event::TerminateRequested);
        if !is_patient {
            world.later(1_000, Event::TerminateRequested);
        }
        while world.outcome.is_none() && world.step() {
            world.ask_for_workers();
        }
        assert!(world.outcome.is_some(), "no exit");
        started_last += world.started_last;
    }
    assert!(recoveries > 75 && reloads > 500, "{recoveries} recoveries, {reloads} reloads");
    assert!(slept > 50 && woken > 50, "{slept} slept, {woken} woken");
    assert!(started_last > 20, "{started_last} were started for what was left");
}

#[test]
fn a_pool_without_faults_ends_in_success() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut world = World::new(seed);
        world.recover();
        world.deliver(Event::TerminateRequested);
        while world.outcome.is_none() && world.step() {}
        assert_eq!(world.outcome, Some(Outcome::Success));
    }
}
