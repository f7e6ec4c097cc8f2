//! A world of a few clients and workers around one [`Custody`], which is what ships.
//!
//! The supervisor's thread around it is in `thread`, what the fleet does with workers in `fleet`,
//! the workers' side in `sdk`, what may happen next in `steps` and `nemesis`. `witness` knows what
//! truly happened and judges by that alone.

use std::time::Duration;

use shovel_core::custody::{self, Custody, Death, LoneCell, Moment, Route, Settings};
use shovel_core::fleet::DrainReason;
use shovel_protocol::WorkerId;

use crate::frames::{Effect, ToSupervisor, ToWorker};
use crate::sdk::Object;
use crate::witness::{Seen, Witness};

/// The present, always: what was told of other moments is told anew when time has passed, so that
/// equal situations are equal states.
pub const NOW: Moment = Moment(Duration::from_secs(3600));

/// What there is and what may go wrong, each so many times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Of a worker, by itself.
    pub crashes: u8,
    /// By the supervisor: nobody is to blame.
    pub kills: u8,
    /// By somebody else.
    pub outside: u8,
    /// A handler blocks its worker for ever.
    pub hangs: u8,
    pub reloads: u8,
    /// A worker is replaced by others of its generation.
    pub recycles: u8,
    pub sleeps: u8,
    /// SIGTERM.
    pub ends: u8,
    /// A worker that drains has not finished in time.
    pub time_ups: u8,
    pub client_closes: u8,
    pub late_upgrades: u8,
    pub refusals: u8,
    /// Attachments by a task beside the handlers.
    pub ticks: u8,
    pub panics: u8,
    /// Clients that read too slowly, for a while.
    pub presses: u8,
    /// The time that something is due comes though other things could happen before.
    pub times: u8,
}

/// One world, before anything has happened.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: &'static str,
    pub connections: u8,
    /// Ready at first.
    pub workers: usize,
    /// At one moment: new ones take the places of those that have gone.
    pub places: usize,
    /// Of each client.
    pub messages: u8,
    /// How many messages fill the window.
    pub window: u8,
    /// Moves that are under way at once.
    pub moves: u32,
    pub faults: Faults,
    /// Workers can adopt.
    pub adopts: bool,
    /// Those can that come with a reload.
    pub newer_adopts: bool,
    /// The message whose handler attaches first; 0 for the fetch handler.
    pub attach_from: u8,
    /// The message whose handler closes; 0 for none.
    pub app_closes: u8,
    /// Handlers flush.
    pub flushes: bool,
    /// Commits are the flag LAST on the answer.
    pub echoes: bool,
    /// Adopt handlers and release hooks change the attachment.
    pub hooks: bool,
    /// The SDK gives a connection up on a revoke though it has nothing to answer.
    pub hasty: bool,
    /// The connection and the message that kill each worker.
    pub poison: Option<(u8, u8)>,
    /// How the poison kills.
    pub poison_death: Death,
    /// The connection that kills each worker that adopts it.
    pub poison_adopt: Option<u8>,
    /// The program kills itself whatever it adopts: that of the reload.
    pub poison_program: bool,
    /// The handler of the first ends only when that of the second has: a connection and a message.
    pub waits_for: Option<((u8, u8), (u8, u8))>,
    /// No worker comes any more once the first ones are gone; or it may not when the pool ends.
    pub barren: bool,
    /// How long a connection may wait for a worker.
    pub owner_wait: Duration,
    /// Over which farewells are spread.
    pub close_spread: Duration,
    /// What must have been seen at least once.
    pub demands: &'static [Seen],
    /// What must never be seen.
    pub forbids: &'static [Seen],
}

pub const PLAIN: Config = Config {
    name: "",
    connections: 1,
    workers: 1,
    places: 3,
    messages: 3,
    window: 2,
    moves: custody::UNDER_WAY,
    faults: NONE,
    adopts: true,
    newer_adopts: true,
    attach_from: 0,
    app_closes: 0,
    flushes: false,
    echoes: false,
    hooks: false,
    hasty: false,
    poison: None,
    poison_death: Death::Fault,
    poison_adopt: None,
    poison_program: false,
    waits_for: None,
    barren: false,
    owner_wait: Duration::from_secs(30),
    close_spread: Duration::ZERO,
    demands: &[],
    forbids: &[],
};

/// Two connections, whose workers may die of one of them.
pub const TWO: Config = Config { connections: 2, messages: 2, window: 1, ..PLAIN };

pub const NONE: Faults = Faults {
    crashes: 0,
    kills: 0,
    outside: 0,
    hangs: 0,
    reloads: 0,
    recycles: 0,
    sleeps: 0,
    ends: 0,
    time_ups: 0,
    client_closes: 0,
    late_upgrades: 0,
    refusals: 0,
    ticks: 0,
    panics: 0,
    presses: 0,
    times: 0,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub faults: Faults,
    pub custody: Custody<LoneCell, Kept, u8, Vec<Effect>>,
    pub clients: Vec<Client>,
    pub workers: Vec<Worker>,
    pub fleet: Fleet,
}

/// What custody keeps of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    pub connection: u8,
    pub is_open: bool,
}

impl custody::ClientHandle for Kept {
    fn is_open(&self) -> bool {
        self.is_open
    }
}

/// A client and its connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// While it is in the table.
    pub route: Option<Route>,
    pub socket: Socket,
    /// Nobody reads it before somebody looks.
    pub is_paused: bool,
    /// It reads too slowly.
    pub pressure: Pressure,
    /// How many messages it has had read.
    pub read: u8,
    pub witness: Witness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Socket {
    /// The client has not asked yet.
    Idle,
    Open,
    /// It is closed once what was read of it is handled.
    Leaving,
    /// We have said that we close.
    Closing,
    Closed,
}

/// As the router keeps it: what is sent by an owner that knows closes the client's socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pressure {
    pub is_on: bool,
    /// How often its owner was told and has not answered.
    pub unanswered: u8,
    /// It was on already when its owner took it over.
    pub was_found: bool,
}

/// The life of workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fleet {
    pub offered: Vec<WorkerId>,
    /// A reload was asked for during another.
    pub reload_again: bool,
    /// A worker is needed.
    pub is_wanted: bool,
    pub is_ending: bool,
    /// The pool ends, and a worker is started if somebody asks for one.
    pub is_needed: bool,
    /// It was told that nobody comes any more.
    pub has_ended_waits: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    pub life: Life,
    /// Of the generation that replaces the present one.
    pub is_newer: bool,
    pub adopts: bool,
    /// What it does when it adopts ends it.
    pub is_poisonous: bool,
    /// It has answered an adoption.
    pub is_proven: bool,
    /// A handler blocks it.
    pub is_blocked: bool,
    /// It does not give a connection up.
    pub is_stuck: bool,
    /// Nobody needs it for now.
    pub is_sleepy: bool,
    /// It has nothing left, and waits for others to have nothing left.
    pub is_empty: bool,
    /// A request of it has ended behind its link: it may be what it died of.
    pub had_company: bool,
    /// The link to the supervisor.
    pub up: Vec<ToSupervisor>,
    /// The link from the supervisor.
    pub down: Vec<ToWorker>,
    pub objects: Vec<Object>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    Absent,
    Starting,
    Ready,
    Draining(DrainReason),
    /// It was told to leave.
    Stopping,
    /// Its link is still to be read to its end.
    Dead(Death),
    /// It has been.
    LinkEnded(Death),
}

impl World {
    pub fn new(config: &Config) -> Self {
        let client = Client {
            route: None,
            socket: Socket::Idle,
            is_paused: false,
            pressure: Pressure::default(),
            read: 0,
            witness: Witness::default(),
        };
        let settings = Settings {
            handler_timeout: Duration::from_secs(10),
            adopt_timeout: Duration::from_secs(10),
            owner_wait: config.owner_wait,
            close_spread: config.close_spread,
            sleep_after: (config.faults.sleeps > 0).then_some(Duration::ZERO),
        };
        let mut custody = Custody::new(0, settings);
        custody.allow_moves(config.moves);
        let mut world = World {
            faults: config.faults,
            custody,
            clients: vec![client; usize::from(config.connections)],
            workers: vec![Worker::absent(); config.places],
            fleet: Fleet::default(),
        };
        for place in 0..config.workers {
            world.workers[place].life = Life::Starting;
            world.become_ready(config, place);
        }
        world
    }

    pub fn client(&self, connection: u8) -> &Client {
        &self.clients[usize::from(connection)]
    }

    pub fn client_mut(&mut self, connection: u8) -> &mut Client {
        &mut self.clients[usize::from(connection)]
    }

    pub fn witness(&mut self, connection: u8) -> &mut Witness {
        &mut self.client_mut(connection).witness
    }

    pub fn worker(&mut self, worker: WorkerId) -> &mut Worker {
        &mut self.workers[place_of(worker)]
    }
}

/// New workers have the ids of those that are gone: nothing refers to these any more.
pub fn id_of(place: usize) -> WorkerId {
    WorkerId(place as u32 + 1)
}

pub fn place_of(worker: WorkerId) -> usize {
    worker.0 as usize - 1
}

impl Worker {
    pub fn absent() -> Self {
        Worker {
            life: Life::Absent,
            is_newer: false,
            adopts: false,
            is_poisonous: false,
            is_proven: false,
            is_blocked: false,
            is_stuck: false,
            is_sleepy: false,
            is_empty: false,
            had_company: false,
            up: Vec::new(),
            down: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// Its process is there.
    pub fn is_alive(&self) -> bool {
        match self.life {
            Life::Starting | Life::Ready | Life::Draining(_) | Life::Stopping => true,
            Life::Absent | Life::Dead(_) | Life::LinkEnded(_) => false,
        }
    }

    /// It could still take connections over.
    pub fn is_serving(&self) -> bool {
        matches!(self.life, Life::Ready | Life::Draining(_))
    }
}
