//! The small world: a client for each connection, a supervisor, some workers and their links.
//!
//! The supervisor's decisions are those of the real [`transfer::Connection`]; what is around it is
//! in `supervisor`, the workers' side in `sdk`, what may happen next in `steps`. `witness` knows
//! what truly happened and judges by that alone.

use shovel_core::transfer::{self, Attachment};

use crate::frames::{AppState, Effect, ToSupervisor, ToWorker};
use crate::sdk::Object;
use crate::trial::Trial;
use crate::witness::{Seen, Witness};

pub type Connection = transfer::Connection<usize, u8, Vec<Effect>>;

/// What there is and what may go wrong, each so many times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    pub crashes: u8,
    /// By the supervisor: nobody is to blame.
    pub kills: u8,
    pub reloads: u8,
    pub sleeps: u8,
    pub rebalances: u8,
    pub client_closes: u8,
    pub late_upgrades: u8,
    pub refusals: u8,
    /// Of a handler, or of an adopt handler.
    pub revokes: u8,
    /// Attachments by a task beside the handlers.
    pub ticks: u8,
    /// No worker could be had in time.
    pub waits: u8,
    /// Trials, or waits for them, that last as long as they may.
    pub lapses: u8,
}

/// One world, before anything has happened.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: &'static str,
    pub connections: usize,
    /// Ready at first.
    pub workers: usize,
    /// At one moment: new ones take the places of those that have gone.
    pub places: usize,
    /// Of each client.
    pub messages: u8,
    /// How many messages fill the window.
    pub window: u8,
    pub faults: Faults,
    /// Workers can adopt.
    pub adopts: bool,
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
    /// The SDK ignores a revoke when it has nothing to answer, rather than giving up.
    pub patient: bool,
    /// The connection and the message that kill each worker.
    pub poison: Option<(usize, u8)>,
    /// The connection that kills each worker that adopts it.
    pub poison_adopt: Option<usize>,
    /// What must have been seen at least once.
    pub demands: &'static [Seen],
}

pub const PLAIN: Config = Config {
    name: "",
    connections: 1,
    workers: 1,
    places: 3,
    messages: 3,
    window: 2,
    faults: Faults {
        crashes: 0,
        kills: 0,
        reloads: 0,
        sleeps: 0,
        rebalances: 0,
        client_closes: 0,
        late_upgrades: 0,
        refusals: 0,
        revokes: 0,
        ticks: 0,
        waits: 0,
        lapses: 0,
    },
    adopts: true,
    attach_from: 0,
    app_closes: 0,
    flushes: false,
    echoes: false,
    hooks: false,
    patient: false,
    poison: None,
    poison_adopt: None,
    demands: &[],
};

/// Two connections, whose workers may die of one of them.
pub const TWO: Config = Config { connections: 2, messages: 2, window: 1, ..PLAIN };

pub const NONE: Faults = PLAIN.faults;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub faults: Faults,
    pub slots: Vec<Slot>,
    pub workers: Vec<Worker>,
    /// A reload was asked for during another.
    pub again: bool,
}

/// A connection as the supervisor has it, and its client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    pub state: Option<Connection>,
    pub lease: u8,
    pub socket: Socket,
    /// Where a rebalance or a reload wants it to go.
    pub target: Option<usize>,
    /// How many messages the client has had read.
    pub read: u8,
    pub witness: Witness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Socket {
    /// The client has not asked yet.
    Idle,
    Open,
    /// We have said that we close.
    Closing,
    Closed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    pub life: Life,
    /// Of the generation that replaces the present one.
    pub newer: bool,
    pub trial: Option<Trial>,
    /// The link to the supervisor.
    pub up: Vec<ToSupervisor>,
    pub sides: Vec<Side>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    Absent,
    Starting,
    Ready,
    /// `asleep`: it was not needed; otherwise it is replaced.
    Draining {
        asleep: bool,
    },
    /// Its link is still to be read to its end.
    Dead {
        blamed: bool,
    },
}

/// One connection in a worker: the part of the link that is about it, and its mailbox, which are
/// one queue; and what the SDK knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Side {
    pub down: Vec<ToWorker>,
    pub object: Option<Object>,
}

impl World {
    pub fn new(config: &Config) -> Self {
        let slot = Slot {
            state: None,
            lease: 0,
            socket: Socket::Idle,
            target: None,
            read: 0,
            witness: Witness::default(),
        };
        let mut workers = vec![Worker::absent(config.connections); config.places];
        for worker in &mut workers[..config.workers] {
            worker.life = Life::Ready;
        }
        World {
            faults: config.faults,
            slots: vec![slot; config.connections],
            workers,
            again: false,
        }
    }

    pub fn owner(&self, connection: usize) -> Option<usize> {
        self.slots[connection].state.as_ref().and_then(|state| state.owner().copied())
    }

    pub fn is_ready(&self, worker: usize) -> bool {
        self.workers[worker].life == Life::Ready
    }

    /// Connections that a worker has, is offered, gives up or takes over.
    pub fn owned_by(&self, worker: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.slots.len()).filter(move |connection| self.owner(*connection) == Some(worker))
    }
}

impl Worker {
    pub fn absent(connections: usize) -> Self {
        Worker {
            life: Life::Absent,
            newer: false,
            trial: None,
            up: Vec::new(),
            sides: vec![Side::default(); connections],
        }
    }

    pub fn is_alive(&self) -> bool {
        matches!(self.life, Life::Starting | Life::Ready | Life::Draining { .. })
    }
}

impl AppState {
    pub fn to_attachment(self) -> Attachment {
        Attachment { version: 1, data: Box::new([self.handled, self.ticks]) }
    }

    pub fn of(attachment: &Attachment) -> Self {
        AppState { handled: attachment.data[0], ticks: attachment.data[1] }
    }
}
