//! Two threads that have their workers in common: two [`Custody`] values and the cells between them.
//! Each thread has one portable connection.
//!
//! Links are not modelled here: a worker has at once what it is handed. What matters is that workers
//! come and die, and that each thread learns of that in its own time. `company` judges.

mod cells;
mod company;
mod steps;

use std::time::Duration;

use shovel_core::custody::{Custody, Death, LoneCell, Route, Settings, WorkerCell};
use shovel_protocol::WorkerId;

use crate::search::Searched;
use crate::witness::{Step, Violation, demand};
use crate::world::{Kept, id_of};
use cells::{CELLS, Cell};
pub use company::Seen;
use company::{Holder, Truth};

pub const THREADS: usize = 2;
/// Workers at one moment, those among them of whose death not every thread has learnt.
pub const PLACES: usize = 2;

/// One world, before anything has happened.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub name: &'static str,
    /// Alive at one moment.
    pub workers: usize,
    /// Of each client.
    pub messages: u8,
    /// How often a worker may die by itself, and how it does.
    pub deaths: u8,
    pub death: Death,
    /// How often what is due comes though other things could happen before.
    pub times: u8,
    /// The first message of the first thread kills each worker that has it.
    pub poison: bool,
    /// Programs have shown that they can adopt.
    pub is_proven: bool,
    /// What must have been seen at least once.
    pub demands: &'static [Seen],
}

/// One thing that happens: fields are a thread, or a place, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Read(usize),
    Commit(usize),
    Adopted(usize),
    Die(usize),
    Poisoned(usize),
    LinkEnds(usize, usize),
    IsGone(usize, usize),
    /// A new worker is there, and offered on both threads.
    Spawn(usize),
    /// Until something is due; of what is due at one moment, this thread's comes first.
    TimePasses(usize),
    TimeIsUp(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub deaths: u8,
    times: u8,
    threads: [Thread; THREADS],
    pub cells: [LoneCell; PLACES],
    pub is_alive: [bool; PLACES],
    /// As the threads were told last.
    is_offered: [bool; PLACES],
    pub truth: Truth,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Thread {
    custody: Custody<Cell, Kept, u8, ()>,
    /// While the connection is in the table.
    route: Option<Route>,
    links: [Link; PLACES],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Link {
    #[default]
    Absent,
    There,
    Ended,
}

fn settings() -> Settings {
    Settings {
        handler_timeout: Duration::from_secs(10),
        adopt_timeout: Duration::from_secs(10),
        owner_wait: Duration::from_secs(30),
        close_spread: Duration::ZERO,
        sleep_after: None,
    }
}

impl World {
    pub fn new(config: &Config) -> Result<Self, Violation> {
        let thread = |number: usize| Thread {
            custody: Custody::new(number as u32, settings()),
            route: None,
            links: Default::default(),
        };
        let mut world = World {
            deaths: config.deaths,
            times: config.times,
            threads: [thread(0), thread(1)],
            cells: Default::default(),
            is_alive: [false; PLACES],
            is_offered: [false; PLACES],
            truth: Truth::default(),
        };
        for place in 0..config.workers {
            world.judged(config, Action::Spawn(place), &mut Vec::new())?;
        }
        CELLS.set(world.cells.clone());
        for number in 0..THREADS {
            world.accept(number)?;
        }
        world.cells = CELLS.take();
        Ok(world)
    }

    /// Whether each thread has a worker. The next one comes sooner than anybody is late.
    fn have_workers(&self) -> bool {
        self.threads.iter().all(|thread| {
            (0..PLACES).any(|place| self.is_offered[place] && thread.links[place] == Link::There)
        })
    }

    fn is_free(&self, place: usize) -> bool {
        let is_unknown = |thread: &Thread| thread.links[place] == Link::Absent;
        !self.is_alive[place] && self.threads.iter().all(is_unknown)
    }

    fn offered(&self) -> Vec<WorkerId> {
        (0..PLACES).filter(|place| self.is_alive[*place]).map(id_of).collect()
    }
}

impl Searched for World {
    type Config = Config;
    type Action = Action;
    type Seen = Seen;

    const TIME_PASSES: &'static [Action] = &[Action::TimePasses(0), Action::TimePasses(1)];

    fn begin(config: &Config) -> Self {
        World::new(config).unwrap_or_else(|violation| panic!("{}: {}", config.name, violation.0))
    }

    fn name(config: &Config) -> &'static str {
        config.name
    }

    fn demands(config: &Config) -> &'static [Seen] {
        config.demands
    }

    fn forbids(_: &Config) -> &'static [Seen] {
        &[]
    }

    fn progress(&self, config: &Config, actions: &mut Vec<Action>) {
        for (number, thread) in self.threads.iter().enumerate() {
            let client = &self.truth.clients[number];
            if thread.route.is_some() && client.convictions == 0 && client.read < config.messages {
                actions.push(Action::Read(number));
            }
            match client.holder {
                Holder::Owner(place) if self.is_alive[place] && client.given > 0 => {
                    let is_first = number == 0 && client.done == 0 && client.convictions == 0;
                    let is_poison = config.poison && is_first;
                    let ends =
                        if is_poison { Action::Poisoned(place) } else { Action::Commit(number) };
                    actions.push(ends);
                }
                Holder::Adopter(place) if self.is_alive[place] => {
                    actions.push(Action::Adopted(number));
                }
                Holder::Nobody | Holder::Owner(_) | Holder::Adopter(_) => {}
            }
            for place in 0..PLACES {
                match (self.is_alive[place], thread.links[place]) {
                    (false, Link::There) => actions.push(Action::LinkEnds(number, place)),
                    (false, Link::Ended) => actions.push(Action::IsGone(number, place)),
                    (true, _) | (false, Link::Absent) => {}
                }
            }
        }
        let alive = self.is_alive.iter().filter(|is_alive| **is_alive).count();
        let free = (0..PLACES).find(|place| self.is_free(*place));
        actions.extend(free.filter(|_| alive < config.workers).map(Action::Spawn));
    }

    fn faults(&self, config: &Config, actions: &mut Vec<Action>) {
        if self.deaths > 0 {
            // A death that nobody notices is none. The first one strikes the first thread: the
            // other way round would be the same.
            let is_first = self.deaths == config.deaths && !config.poison;
            let is_struck = |place: usize| {
                let struck = self.truth.clients.iter().take(if is_first { 1 } else { THREADS });
                struck.into_iter().any(|client| client.is_under_way(place))
            };
            let may_die = |place: &usize| self.is_alive[*place] && is_struck(*place);
            let alive = (0..PLACES).filter(may_die);
            actions.extend(alive.map(Action::Die));
        }
        if self.times > 0 && self.is_waiting() && self.have_workers() {
            actions.extend((0..THREADS).map(Action::TimeIsUp));
        }
    }

    fn is_waiting(&self) -> bool {
        self.threads.iter().any(|thread| thread.custody.poll_timeout().is_some())
    }

    fn step(&mut self, config: &Config, action: Action, seen: &mut Vec<Seen>) -> Step {
        self.judged(config, action, seen)
    }

    fn is_settled(&self, config: &Config, seen: &mut Vec<Seen>) -> Step {
        for (client, thread) in self.truth.clients.iter().zip(&self.threads) {
            let is_served = client.done == config.messages && client.given == 0;
            let is_lost = client.convictions > 0 && thread.route.is_none();
            demand(is_served || is_lost, "something waits for ever")?;
            seen.extend(is_served.then_some(Seen::Served));
        }
        let is_innocent = config.poison && config.deaths == 0;
        let is_convicted = self.truth.clients[1].convictions > 0;
        demand(!(is_innocent && is_convicted), "an innocent is convicted")?;
        let is_tried = |place: usize| self.is_alive[place] && self.cells[place].has_trial();
        demand(!(0..PLACES).any(is_tried), "a trial does not end")
    }
}
