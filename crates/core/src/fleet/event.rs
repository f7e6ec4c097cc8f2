//! What the fleet is told: facts that have already happened.

use std::fmt;

use shovel_protocol::id::{Generation, WorkerId};

use super::Config;

/// Something that has happened outside of the fleet.
///
/// Events may cross with commands. One that names a worker or a generation that is no longer of
/// any concern, or that does not fit the worker's state, is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The private copy of the program was taken.
    ImageLoaded {
        /// The generation that will run it.
        generation: Generation,
    },
    /// The private copy of the program could not be taken.
    ImageFailed {
        /// The generation that would have run it.
        generation: Generation,
        /// Which file, and why.
        why: String,
    },
    /// The process exists.
    Spawned {
        /// Whose process.
        worker: WorkerId,
        /// The process id.
        pid: u32,
    },
    /// No process came to be. Nothing more is heard of this worker.
    SpawnFailed {
        /// Whose process.
        worker: WorkerId,
        /// What the operating system said.
        why: String,
    },
    /// Its links are connected. Apart from `Spawned`, and in either order with it.
    LinkObtained {
        /// Whose links.
        worker: WorkerId,
    },
    /// It said that it can take requests.
    Ready {
        /// Who said it.
        worker: WorkerId,
    },
    /// It does not speak the link, or no version of it that we do.
    Refused {
        /// Who was refused.
        worker: WorkerId,
        /// What was wrong, as it goes on after "worker 3".
        why: String,
    },
    /// Its answer to a request is waited for. Told again while that lasts.
    Awaited {
        /// Whose answer.
        worker: WorkerId,
    },
    /// It answered a ping.
    Ponged {
        /// Who answered.
        worker: WorkerId,
    },
    /// A link ended or broke the protocol before the process was reaped.
    LinkEnded {
        /// Whose link.
        worker: WorkerId,
        /// What it did wrong, as it goes on after "worker 3"; `None` if the link merely ended.
        why: Option<String>,
    },
    /// The process was reaped and its links were read to their end. Nothing more is heard of it.
    Gone {
        /// Whose process.
        worker: WorkerId,
        /// How it ended.
        exit: Exit,
    },
    /// A draining worker owns nothing any more, and nothing is on its way to it.
    Drained {
        /// Who is empty.
        worker: WorkerId,
    },
    /// It has nothing but connections that do without it, and has had nothing to do for long.
    Idle {
        /// Who is idle.
        worker: WorkerId,
    },
    /// There is work and no worker for it, or the workers have much to do.
    WorkWanted,
    /// The pool ends, and nothing is left that a worker would have to be started for, nor will be.
    Emptied,
    /// A draining worker was told to give a connection up and does not answer. Told again while that
    /// lasts.
    Stuck {
        /// Who does not answer.
        worker: WorkerId,
        /// It has requests under way, which its end would fail.
        has_requests: bool,
    },
    /// It finished what it had to do after `Shutdown` and is about to exit.
    ShutdownCompleted {
        /// Who finished.
        worker: WorkerId,
    },
    /// It has reached a limit and should be replaced.
    RecycleWanted {
        /// Who should be replaced.
        worker: WorkerId,
        /// Which limit.
        why: RecycleReason,
    },
    /// The operator wants the program loaded anew.
    ReloadRequested,
    /// The operator wants the program loaded anew, but what was to be read with it cannot be used:
    /// nothing changes.
    ReloadRefused {
        /// What is wrong with it.
        why: String,
    },
    /// The operator has chosen anew. Timeouts hold for what begins from now on, the number of
    /// workers for generations that do.
    Reconfigured {
        /// In place of what the fleet began with; its seed is ignored.
        config: Config,
    },
    /// The operator wants another number of workers, from now on and after later reloads; 0 counts
    /// as 1.
    ScaleRequested {
        /// How many.
        workers: u32,
    },
    /// The operator wants the pool to end; told twice, at once.
    TerminateRequested,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// Why a worker is replaced within its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecycleReason {
    /// It has handled as many requests as one worker may.
    MaxRequests,
    /// It holds more memory than one worker may.
    MaxRss,
    /// It has been ready for as long as one worker may; the fleet itself sees to this.
    MaxAge,
}

impl fmt::Display for RecycleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecycleReason::MaxRequests => "it has handled its share of requests",
            RecycleReason::MaxRss => "it holds too much memory",
            RecycleReason::MaxAge => "it has reached its age",
        })
    }
}
