//! What custody is told, and what it wants done.

use serde::{Deserialize, Serialize};
use shovel_protocol::control::AdoptCause;
use shovel_protocol::{Close, CloseCode, LeaseId, WorkerId};

use super::{Route, Slot};
use crate::fleet::{Death, DrainReason};

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// New work goes to these workers and no others.
    Offered {
        /// They are ready, and run the same program.
        workers: Vec<WorkerId>,
    },
    /// A worker is to give up what it has.
    DrainWanted {
        /// Which.
        worker: WorkerId,
        /// What its clients are told, if they are told.
        why: DrainReason,
    },
    /// A worker's link brings nothing more and takes nothing more. Tell this before its requests are
    /// ended: they count as company of what it died of.
    LinkEnded {
        /// Whose.
        worker: WorkerId,
    },
    /// A worker's process is gone, and its link read to the end.
    Died {
        /// Which.
        worker: WorkerId,
        /// How.
        death: Death,
    },
    /// A worker has not finished in time what it was to give up.
    TimeUp {
        /// Which.
        worker: WorkerId,
    },
    /// How much a worker has done by now. Told now and then, to find out who rests.
    ActivityTold {
        /// Whose.
        worker: WorkerId,
        /// All that it has done, as a number that grows with each thing.
        activity: u64,
    },
    /// The pool ends: nothing new comes. Workers may still, for what was read.
    EndBegan,
    /// No worker will come any more: who waits for one ends.
    WaitsEnded,
}

/// Something to do, in the order in which it was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command<E> {
    /// Hand the owner what [`super::Custody::next`] gives.
    HandOver {
        /// Of this connection.
        connection: LeaseId,
    },
    /// Send `ws:release`.
    Release {
        /// To its owner.
        worker: WorkerId,
        /// Which.
        connection: LeaseId,
    },
    /// Send `ws:revoke`.
    Revoke {
        /// To its owner.
        worker: WorkerId,
        /// Which.
        connection: LeaseId,
    },
    /// Send `ws:adopt`.
    Adopt {
        /// To its new owner.
        worker: WorkerId,
        /// Which.
        connection: LeaseId,
        /// Why.
        cause: AdoptCause,
    },
    /// Do what the release or adopt handler has done.
    Act {
        /// Whose handler.
        worker: WorkerId,
        /// Of which connection.
        slot: Slot,
        /// What it did, in order.
        acts: E,
    },
    /// Close the client's socket, once all that was read of it is handled.
    Finish {
        /// Whose.
        route: Route,
        /// What to tell the client.
        why: DrainReason,
    },
    /// Close the client's socket now: only the close event is left to handle. `was_closed`: it has
    /// closed before.
    GiveUp {
        /// Whose.
        route: Route,
        /// Why.
        cause: GiveUpCause,
        /// So many messages nobody will handle.
        given_up: u64,
        /// The worker that has its close, or that died.
        worker: Option<WorkerId>,
        /// The client had closed before.
        was_closed: bool,
    },
    /// Take the connection out, and close its client's socket. Its close event is not delivered.
    End {
        /// Which.
        route: Route,
        /// Why.
        loss: Loss,
        /// The worker that died with it.
        worker: Option<WorkerId>,
    },
    /// Close the client's socket, hand its close to the owner ([`super::Custody::cut_off`]), and take
    /// the connection out.
    CutOff {
        /// Which.
        route: Route,
        /// Why.
        loss: Loss,
    },
    /// Look again whether the reader of a client may go on.
    CheckReader {
        /// Whose.
        route: Route,
    },
    /// A worker has given a connection up, in the middle of a handler if it was `cut`.
    CountReleased {
        /// The handler was dropped.
        cut: bool,
    },
    /// A worker has taken a connection over.
    CountAdopted {
        /// Why.
        cause: AdoptCause,
    },
    /// Tell the fleet that nothing is left of a worker that drains. Told once.
    Drained {
        /// Which.
        worker: WorkerId,
    },
    /// Tell the fleet that nobody needs the worker for now. Told again while that lasts.
    Idle {
        /// Which.
        worker: WorkerId,
    },
    /// Tell the fleet that a worker is needed, or one more.
    WorkWanted,
    /// The pool ends: tell the fleet that nothing is left here that a worker would have to be started
    /// for. Told once.
    Emptied,
    /// Tell the fleet that a worker does not give a connection up. Told again while that lasts.
    Stuck {
        /// Which.
        worker: WorkerId,
        /// The connection.
        connection: LeaseId,
        /// It was not told of this one before.
        is_first: bool,
    },
}

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Loss {
    /// Its worker died, and it ends with its worker.
    WorkerDied,
    /// No worker took it over in time.
    NoWorker,
    /// The workers that serve cannot take connections over.
    Unable,
    /// A worker refused to take it over.
    Refused,
    /// An event of it has ended its workers.
    Poison,
    /// To take it over has ended its workers.
    PoisonAdopt,
    /// Its worker did not finish in time.
    TimeUp(DrainReason),
    /// The pool ends, and nobody needs it.
    End,
}

/// Why the messages of a connection are given up, though a worker still hears of its close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GiveUpCause {
    /// [`Loss::Refused`].
    Refused,
    /// [`Loss::Poison`].
    Poison,
}

impl GiveUpCause {
    /// The same, among all losses.
    pub fn loss(self) -> Loss {
        match self {
            GiveUpCause::Refused => Loss::Refused,
            GiveUpCause::Poison => Loss::Poison,
        }
    }
}

impl Loss {
    /// How the connection closes.
    pub fn close(self) -> Close {
        let (code, reason) = match self {
            Loss::WorkerDied | Loss::Poison | Loss::PoisonAdopt => {
                (CloseCode::INTERNAL_ERROR, "worker lost")
            }
            Loss::NoWorker => {
                (CloseCode::INTERNAL_ERROR, "no worker could take the connection over")
            }
            Loss::Unable | Loss::Refused => farewell(DrainReason::Reload),
            Loss::TimeUp(why) => farewell(why),
            Loss::End => farewell(DrainReason::Terminate),
        };
        Close { code, reason: reason.to_owned(), was_clean: false }
    }

    /// Why, in words for the log.
    pub fn why(self) -> &'static str {
        match self {
            Loss::WorkerDied => "its worker died",
            Loss::NoWorker => "no worker could adopt it in time",
            Loss::Unable => "the workers cannot adopt",
            Loss::End => "the pool ends, and no worker has it",
            Loss::Refused => "the app refused to adopt it",
            Loss::Poison => "one of its messages ended its workers",
            Loss::PoisonAdopt => "adopting it ended its workers",
            Loss::TimeUp(_) => "its worker did not finish in time",
        }
    }
}

/// What clients are told whose worker is drained.
pub fn farewell(why: DrainReason) -> (CloseCode, &'static str) {
    match why {
        DrainReason::Reload | DrainReason::Recycle | DrainReason::Sleep => {
            (CloseCode::RESTART, "server reloading")
        }
        DrainReason::Terminate => (CloseCode::GOING_AWAY, "server shutting down"),
    }
}
