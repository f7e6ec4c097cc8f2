//! Workers that answer, die, drain and sleep at random, on two threads; clients that write and
//! close. Whatever happens, what is counted of a worker is what it has, and nobody waits for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use shovel_core::custody::{
    Command, Death, Event, LateUpgrade, Loss, Moment, Phase, Proof, Route, Settings, WorkerCell,
};
use shovel_core::fleet::DrainReason;
use shovel_protocol::WorkerId;

use crate::cell::SharedCell;
use crate::house::{House, OWNER_WAIT, request, settings};

const CONNECTIONS: usize = 30;

struct Storm {
    threads: Vec<House<SharedCell>>,
    random: Rng,
    /// Those that live, with what is known of each.
    workers: BTreeMap<WorkerId, SharedCell>,
    offered: Vec<WorkerId>,
    draining: BTreeSet<WorkerId>,
    last: u32,
    /// Requests without an answer, each with its thread.
    requests: Vec<(usize, WorkerId)>,
    /// Since when a connection without an owner has had something to handle.
    waiting: BTreeMap<(usize, Route), Moment>,
    calm_since: Option<Moment>,
    /// Threads and workers that were told of as having nothing left.
    drained: BTreeSet<(usize, WorkerId)>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut storm = Storm {
            threads: (0..2).map(House::new).collect(),
            random: Rng::with_seed(seed),
            workers: BTreeMap::new(),
            offered: Vec::new(),
            draining: BTreeSet::new(),
            last: 0,
            requests: Vec::new(),
            waiting: BTreeMap::new(),
            calm_since: None,
            drained: BTreeSet::new(),
        };
        let sleep_after = storm.random.bool().then_some(Duration::from_secs(2));
        let close_spread = Duration::from_millis(storm.random.u64(0..2) * 500);
        for house in &mut storm.threads {
            house.custody.configure(Settings { sleep_after, close_spread, ..settings() });
        }
        storm.replace_all();
        storm
    }

    /// The workers of the next program are offered, and those of the one before drain.
    fn replace_all(&mut self) {
        let old = std::mem::take(&mut self.offered);
        let program = SharedCell::able();
        for _ in 0..self.random.u32(1..4) {
            self.spawn(program.sibling());
        }
        self.offer();
        old.into_iter().for_each(|worker| self.drain(worker, DrainReason::Reload));
    }

    fn spawn(&mut self, cell: SharedCell) {
        self.last += 1;
        let worker = WorkerId(self.last);
        self.threads.iter_mut().for_each(|house| house.join(worker, cell.clone()));
        self.workers.insert(worker, cell);
        self.offered.push(worker);
    }

    fn offer(&mut self) {
        let offered = self.offered.clone();
        self.threads.iter_mut().for_each(|house| house.offer(&offered));
    }

    fn drain(&mut self, worker: WorkerId, why: DrainReason) {
        self.offered.retain(|offered| *offered != worker);
        self.draining.insert(worker);
        self.threads.iter_mut().for_each(|house| house.drain(worker, why));
    }

    fn die(&mut self, worker: WorkerId, death: Death) {
        self.offered.retain(|offered| *offered != worker);
        self.draining.remove(&worker);
        self.workers.remove(&worker);
        self.offer();
        let first = self.random.usize(0..2);
        for thread in [first, 1 - first] {
            let house = &mut self.threads[thread];
            house.happens(Event::LinkEnded { worker });
            let its = |request: &&(usize, WorkerId)| **request == (thread, worker);
            for _ in 0..self.requests.iter().filter(its).count() {
                house.custody.answer_request(worker);
                house.custody.end_request(worker);
            }
            house.happens(Event::Died { worker, death });
        }
        self.requests.retain(|(_, whose)| *whose != worker);
    }

    /// Another worker for one that died, of the same program.
    fn mend(&mut self) {
        match self.offered.first().map(|worker| self.workers[worker].sibling()) {
            Some(cell) => self.spawn(cell),
            None => self.spawn(SharedCell::able()),
        }
        self.offer();
    }

    fn routes(&self, thread: usize) -> Vec<Route> {
        let all = self.threads[thread].custody.starting_at(0);
        all.filter_map(|(slot, _)| self.threads[thread].custody.route_at(slot)).collect()
    }

    fn some_route(&mut self, thread: usize) -> Option<Route> {
        let routes = self.routes(thread);
        (!routes.is_empty()).then(|| routes[self.random.usize(..routes.len())])
    }

    fn some_worker(&mut self) -> Option<WorkerId> {
        let workers: Vec<_> = self.workers.keys().copied().collect();
        (!workers.is_empty()).then(|| workers[self.random.usize(..workers.len())])
    }

    fn step(&mut self) {
        let thread = self.random.usize(0..2);
        match self.random.u32(0..100) {
            0..15 => self.connect(thread),
            15..45 => {
                if let Some(route) = self.some_route(thread) {
                    self.threads[thread].message(route);
                }
            }
            45..80 => {
                if let Some(route) = self.some_route(thread) {
                    self.answer(thread, route);
                }
            }
            80..84 => {
                if let Some(route) = self.some_route(thread) {
                    self.threads[thread].close(route);
                }
            }
            84..88 => self.ask(thread),
            88..90 => self.strike(),
            90 => self.replace_all(),
            91 => {
                if let Some(worker) = self.some_worker() {
                    self.drain(worker, DrainReason::Sleep);
                    self.offer();
                }
            }
            92 => self.look_at_workers(),
            _ => {
                let time = Duration::from_millis(self.random.u64(0..6).pow(5));
                self.pass(time);
            }
        }
        self.see_to_drained();
        if self.workers.len() < 2 || self.offered.is_empty() {
            self.mend();
        }
        self.check();
    }

    fn connect(&mut self, thread: usize) {
        let house = &mut self.threads[thread];
        if house.custody.len() >= CONNECTIONS {
            return;
        }
        let Some(worker) = house.custody.pick(house.now) else { return };
        match self.random.u32(0..8) {
            0 => {
                house.reserve(worker);
            }
            1 => {
                house.plain(worker);
            }
            _ => {
                house.portable(worker);
            }
        }
    }

    /// A worker does with a connection what it is to do next.
    fn answer(&mut self, thread: usize, route: Route) {
        let is_cut = self.random.u32(0..4) == 0;
        let is_refused = self.random.u32(0..20) == 0;
        let house = &mut self.threads[thread];
        let id = house.id(route);
        let connection = house.get(route);
        let next = connection.acked() + 1;
        let (committed, is_handling) = (connection.committed(), connection.is_handling());
        match connection.phase() {
            Phase::Offered if is_cut => {
                house.custody.withdraw(id, LateUpgrade::ClientGone);
                house.obey();
            }
            Phase::Offered => {
                let owner = house.owner(route).expect("it is offered to someone");
                house.custody.accept(id, owner, request(1), true).expect("it is offered");
                house.obey();
            }
            Phase::Owned if is_handling => {
                house.commit(route, next);
            }
            Phase::Releasing if is_handling && !is_cut => {
                house.commit(route, next);
            }
            Phase::Releasing => {
                let started = committed + u64::from(is_cut && is_handling);
                house.try_release(route, committed, started).expect("it was asked");
            }
            Phase::Adopting => {
                house.try_adopt(route, !is_refused).expect("it was asked");
            }
            Phase::Owned | Phase::Unowned | Phase::Over => {}
        }
    }

    fn ask(&mut self, thread: usize) {
        let house = &mut self.threads[thread];
        if !self.requests.is_empty() && self.random.bool() {
            let place = self.random.usize(..self.requests.len());
            let (thread, worker) = self.requests.swap_remove(place);
            let house = &mut self.threads[thread];
            house.custody.answer_request(worker);
            house.custody.end_request(worker);
            house.obey();
        } else if let Some(worker) = house.custody.pick(house.now) {
            house.custody.begin_request(worker);
            self.requests.push((thread, worker));
        }
    }

    fn strike(&mut self) {
        let deaths = [Death::Fault, Death::Fault, Death::Hang, Death::Killed];
        let death = deaths[self.random.usize(0..4)];
        if let Some(worker) = self.some_worker() {
            self.die(worker, death);
        }
    }

    fn look_at_workers(&mut self) {
        let workers: Vec<_> = self.workers.keys().copied().collect();
        for house in &mut self.threads {
            for worker in &workers {
                house.happens(Event::ActivityTold { worker: *worker, activity: 0 });
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.threads[0].now + time;
        while self.threads[0].now < end {
            let step = Duration::from_millis(5).min(end - self.threads[0].now);
            self.threads.iter_mut().for_each(|house| house.pass(step));
            self.see_to_drained();
        }
    }

    /// Workers that have nothing left on any thread end.
    fn see_to_drained(&mut self) {
        for thread in 0..2 {
            for told in self.threads[thread].told() {
                if let Command::End { route, loss: Loss::NoWorker, .. } = told
                    && let Some(calm_since) = self.calm_since
                {
                    let since = self.waiting.get(&(thread, route)).copied().unwrap_or(calm_since);
                    assert!(calm_since - since > OWNER_WAIT / 2, "it was lost in a calm");
                }
                if let Command::Drained { worker } = told {
                    assert!(self.drained.insert((thread, worker)), "it was told of twice");
                    assert_eq!(self.threads[thread].custody.holdings(worker), (0, 0));
                }
            }
            self.threads[thread].given.clear();
        }
        let draining: Vec<_> = self.draining.iter().copied().collect();
        for worker in draining {
            if (0..2).all(|thread| self.drained.contains(&(thread, worker))) {
                self.die(worker, Death::Ours);
            }
        }
    }

    /// What is counted of each worker is what it has, and nobody has waited for too long.
    fn check(&mut self) {
        for (worker, cell) in &self.workers {
            let (mut connections, mut under_way) = (0, 0);
            for house in &self.threads {
                let all = house.custody.starting_at(0);
                for (_, its) in all.filter(|(_, its)| its.owner() == Some(*worker)) {
                    connections += 1;
                    let is_adopting = its.phase() == Phase::Adopting;
                    let is_under_way = its.is_portable() && (its.is_handling() || is_adopting);
                    under_way += u32::from(is_under_way);
                }
            }
            let requests = self.requests.iter().filter(|(_, whose)| whose == worker).count() as u32;
            assert_eq!(cell.load(), connections + requests, "load of {worker}");
            assert_eq!(cell.company(), under_way + requests, "company of {worker}");
        }
        for thread in 0..2 {
            let house = &self.threads[thread];
            let is_waiting = |route: &Route| {
                house.phase(*route) == Phase::Unowned && !house.get(*route).is_idle()
            };
            let waiting: BTreeSet<_> = self.routes(thread).into_iter().filter(is_waiting).collect();
            self.waiting.retain(|(of, route), _| *of != thread || waiting.contains(route));
            for route in waiting {
                let since = *self.waiting.entry((thread, route)).or_insert(house.now);
                // A trial of the worker that could take it may last longer.
                assert!(house.now - since <= 4 * OWNER_WAIT, "it waits for ever");
            }
        }
    }

    /// Nothing more goes wrong, and every worker answers at once: whoever has not waited for long
    /// gets one.
    fn calm(&mut self) {
        self.calm_since = Some(self.threads[0].now);
        let pauses = std::iter::repeat_n(20, 500).chain(std::iter::repeat_n(1000, 100));
        for pause in pauses {
            self.answer_all();
            self.pass(Duration::from_millis(pause));
            self.check();
        }
        self.calm_since = None;
    }

    fn answer_all(&mut self) {
        for thread in 0..2 {
            for route in self.routes(thread) {
                for _ in 0..20 {
                    if self.threads[thread].is_there(route) {
                        self.answer(thread, route);
                    }
                }
            }
        }
        while let Some((thread, worker)) = self.requests.pop() {
            self.threads[thread].custody.answer_request(worker);
            self.threads[thread].custody.end_request(worker);
            self.threads[thread].obey();
        }
    }

    fn check_calm(&self) {
        for thread in 0..2 {
            let house = &self.threads[thread];
            for route in self.routes(thread) {
                assert!(
                    house.get(route).is_idle(),
                    "{:?} {:?}",
                    house.phase(route),
                    house.get(route)
                );
            }
            assert_eq!(house.custody.kept_bytes(), 0);
        }
        for (worker, cell) in &self.workers {
            assert_eq!(cell.company(), 0, "company of {worker}");
            assert!(!cell.has_trial() && cell.proof() != Proof::Awaited);
        }
    }
}

#[test]
fn what_is_counted_of_a_worker_is_what_it_has_and_nobody_waits_for_ever() {
    for seed in 0..30 {
        println!("seed {seed}");
        let mut storm = Storm::new(seed);
        (0..600).for_each(|_| storm.step());
        storm.calm();
        storm.check_calm();
        for thread in 0..2 {
            for route in storm.routes(thread) {
                storm.threads[thread].close(route);
            }
        }
        storm.calm();
        assert!(storm.threads.iter().all(|house| house.custody.is_empty()));
        assert!(storm.workers.values().all(|cell| cell.load() == 0 && cell.company() == 0));
    }
}

#[test]
fn a_pool_that_ends_in_a_storm_ends_with_nothing_left() {
    for seed in 100..130 {
        println!("seed {seed}");
        let mut storm = Storm::new(seed);
        (0..400).for_each(|_| storm.step());
        let workers: Vec<_> = storm.workers.keys().copied().collect();
        let offered = storm.offered.clone();
        storm.threads.iter_mut().for_each(|house| house.happens(Event::EndBegan));
        for worker in &workers {
            storm.drain(*worker, DrainReason::Terminate);
        }
        // Whoever served is there to take over what moves, until nothing is left.
        storm.offered = offered;
        for _ in 0..400 {
            for thread in 0..2 {
                for route in storm.routes(thread) {
                    if !storm.threads[thread].get(route).client.is_open {
                        storm.threads[thread].close(route);
                    }
                }
            }
            storm.answer_all();
            storm.pass(Duration::from_millis(200));
        }
        assert!(storm.threads.iter().all(|house| house.custody.is_empty()));
        for worker in workers {
            let is_told = (0..2).all(|thread| storm.drained.contains(&(thread, worker)));
            assert!(is_told || !storm.workers.contains_key(&worker), "{worker} is not told of");
        }
    }
}
