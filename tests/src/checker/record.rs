//! What is known of a run when it is over: what each client saw, what workers noted, what was done
//! to them.

use std::fmt;

use super::words::{Order, Progress, Task, Trace, Word};

/// A run.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// One for each connection, or attempt at one.
    pub conversations: Vec<Conversation>,
    /// By time.
    pub traces: Vec<Trace>,
    /// By the time of their beginning.
    pub deeds: Vec<Deed>,
    /// By an operator, whose key is 0.
    pub published: Vec<Published>,
    /// How many requests were answered that were asked once.
    pub answered: usize,
    /// And those that were not.
    pub failed: Vec<Failed>,
    /// When the pool was told to end, if it was under load then.
    pub terminated: Option<u64>,
}

/// A request without a good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// When it was asked.
    pub from: u64,
    /// When it had failed.
    pub to: u64,
    /// How.
    pub why: String,
}

/// Something that an operator published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// To which room.
    pub room: u32,
    /// Its number.
    pub n: u64,
    /// When the operator began.
    pub from: u64,
    /// When it was done.
    pub to: u64,
}

/// What a client wants of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Portable, from the first moment to the last.
    Resident,
    /// As a resident, but it orders long answers, and does not read them for a while.
    Slow,
    /// Portable, and ends by itself some time.
    Visitor,
    /// Ends with its worker.
    Plain,
}

/// What one client saw of one connection.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Its number, from 1; the worker program knows it too.
    pub key: u32,
    /// What the client wants.
    pub role: Role,
    /// The room that it is subscribed to, and publishes to.
    pub room: Option<u32>,
    /// In order, each with its time; see [`now`](super::now).
    pub notes: Vec<(u64, Note)>,
}

/// What a client notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The upgrade was accepted.
    Opened,
    /// The upgrade was not accepted, and why.
    Refused(String),
    /// Noted before it is sent.
    Sent(Order),
    /// Noted when it has come.
    Heard(Word),
    /// It was none of a worker's words.
    Garbled(String),
    /// The client sends a close frame.
    Closing(u16),
    /// A close frame came, with this code.
    Closed(u16),
    /// The client ends its socket, without or with a reset.
    Cut {
        /// By a reset.
        reset: bool,
    },
    /// The socket ended without a close frame.
    Broken(String),
    /// Nothing came for too long.
    Stuck,
}

/// Something that the nemesis did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// When it began.
    pub from: u64,
    /// When it was over.
    pub to: u64,
    /// Workers die, or may be taken for dead.
    pub harms: bool,
    /// How many, if it is known.
    pub workers: usize,
    /// Workers stand still, and may be told to give up what they have.
    pub stalls: bool,
    /// Workers are replaced.
    pub reloads: bool,
    /// In words.
    pub what: String,
}

impl Role {
    /// Whether its connections outlive workers.
    pub fn is_portable(self) -> bool {
        !matches!(self, Role::Plain)
    }

    /// Whether it stays to the end.
    pub fn stays(self) -> bool {
        matches!(self, Role::Resident | Role::Slow)
    }
}

impl Conversation {
    /// When the upgrade was accepted, if it was.
    pub fn opened(&self) -> Option<u64> {
        self.time_of(|note| *note == Note::Opened)
    }

    /// When the client began to end the connection, or it was ended; the end of its log else.
    pub fn ended(&self) -> u64 {
        let is_end = |note: &Note| {
            let ends = matches!(note, Note::Closing(_) | Note::Closed(_) | Note::Cut { .. });
            ends || matches!(note, Note::Broken(_) | Note::Stuck)
        };
        let last = self.notes.last().map_or(0, |(at, _)| *at);
        self.time_of(is_end).unwrap_or(last)
    }

    /// What was ordered, each with its time.
    pub fn orders(&self) -> impl Iterator<Item = (u64, Order)> {
        self.notes.iter().filter_map(|(at, note)| match note {
            Note::Sent(order) => Some((*at, *order)),
            _ => None,
        })
    }

    /// What was heard, each with its time.
    pub fn words(&self) -> impl Iterator<Item = (u64, Word)> {
        self.notes.iter().filter_map(|(at, note)| match note {
            Note::Heard(word) => Some((*at, *word)),
            _ => None,
        })
    }

    /// Whether nothing is left of an order once it is handled, neither an answer nor progress: its
    /// handler panics, on a portable connection.
    pub fn is_undone(&self, order: Order) -> bool {
        self.role.is_portable() && order.task == Task::Panic
    }

    /// What was ordered and is to be answered, each with its time.
    pub fn questions(&self) -> impl Iterator<Item = (u64, Order)> {
        self.orders().filter(|(_, order)| !self.is_undone(*order))
    }

    /// The progress that so many finished orders make, from none to all.
    pub fn progress(&self) -> Vec<Progress> {
        let mut all = vec![Progress::NONE];
        for (_, order) in self.orders() {
            let before = all[all.len() - 1];
            all.push(match self.is_undone(order) {
                true => before,
                false => before.with(&order.to_string()),
            });
        }
        all
    }

    fn time_of(&self, is_it: impl Fn(&Note) -> bool) -> Option<u64> {
        self.notes.iter().find(|(_, note)| is_it(note)).map(|(at, _)| *at)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Opened => write!(f, "opened"),
            Note::Refused(why) => write!(f, "refused: {why}"),
            Note::Sent(order) => {
                write!(f, "-> {}", Order { padding: order.padding.min(3), ..*order })
            }
            Note::Heard(word) => write!(f, "<- {word}"),
            Note::Garbled(text) => write!(f, "<- {text:?}"),
            Note::Closing(code) => write!(f, "-> close {code}"),
            Note::Closed(code) => write!(f, "<- close {code}"),
            Note::Cut { reset: true } => write!(f, "reset"),
            Note::Cut { reset: false } => write!(f, "cut"),
            Note::Broken(why) => write!(f, "broken: {why}"),
            Note::Stuck => write!(f, "nothing came"),
        }
    }
}
