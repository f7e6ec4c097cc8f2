//! What the fleet wants done.

use serde::{Deserialize, Serialize};
use shovel_protocol::id::{Generation, WorkerId, WorkerIndex};

use super::report::Report;

/// Something for the driver to do, in the order in which it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take a private copy of the program as it is now. Answered by `ImageLoaded` or
    /// `ImageFailed`.
    LoadImage {
        /// The generation that will run it.
        generation: Generation,
    },
    /// Let go of the copy: no worker runs it and none will.
    DropImage {
        /// The generation that ran it.
        generation: Generation,
    },
    /// Start a process. Answered by `Spawned`, then sooner or later `Gone`, or by `SpawnFailed`.
    Spawn {
        /// The id that it will have.
        worker: WorkerId,
        /// Its place in the generation.
        index: WorkerIndex,
        /// Whose image it runs.
        generation: Generation,
    },
    /// Ask whether it is alive. Answered by `Ponged`.
    Ping {
        /// Whom to ask.
        worker: WorkerId,
    },
    /// From now on give new work to these workers and no others. While the pool ends, those that were
    /// offered when that began, or were started since, stay offered until all leave, though they drain
    /// or are empty: they take over what others release and leave behind.
    Offer {
        /// In the order of their ids; empty if there is nobody.
        workers: Vec<WorkerId>,
        /// Ready, but not offered, since they do not answer pings while others do. Requests that wait
        /// for them, and may be done again, go to others.
        late: Vec<WorkerId>,
    },
    /// Move or close its connections and let its requests finish. Answered by `Drained`. Told a
    /// second time if the reason has changed; then that one holds, and one answer is enough.
    Drain {
        /// Who is to be emptied.
        worker: WorkerId,
        /// What to tell its clients.
        why: DrainReason,
    },
    /// The time for draining is over: end whatever it still has. `Drained` is still expected.
    Cut {
        /// Whose work to end.
        worker: WorkerId,
    },
    /// Tell it to finish close handlers and background work, and then to leave: it is drained, and
    /// nobody will need it. Answered by `ShutdownCompleted` and `Gone`.
    Shutdown {
        /// Who may leave.
        worker: WorkerId,
    },
    /// End its process by force. Answered by `Gone`. Repeated if the process came to be after the
    /// first one was given.
    Kill {
        /// Whose process.
        worker: WorkerId,
        /// It hangs or has broken off its link: what it was doing is to blame, as if it had died
        /// by itself.
        at_fault: bool,
    },
    /// Take no more clients: the pool ends. `Emptied` is expected.
    StopAccepting,
    /// No worker will come any more: end what waits for one.
    EndWaits,
    /// Tell the operator.
    Report(Report),
    /// End the supervisor. The last command of all.
    Exit(Outcome),
}

/// Why a worker is drained, which decides what its clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DrainReason {
    /// A new generation has taken over.
    Reload,
    /// Other workers of the same generation take over.
    Recycle,
    /// Nobody needs it for now: it keeps what cannot do without it.
    Sleep,
    /// The pool is ending.
    Terminate,
}

/// How the pool ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it was asked to.
    Success,
    /// By a failure.
    Failure {
        /// One line for the operator.
        why: String,
    },
}
