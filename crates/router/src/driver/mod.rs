//! What an I/O thread is told by whoever runs it, and what it tells: [`mailbox`] is a queue that
//! neither waits for, [`news`] which news replace which.

pub(crate) mod mailbox;
pub(crate) mod news;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use shovel_core::fleet::{Death, DrainReason};
use shovel_edge::http;
use shovel_protocol::WorkerId;
use shovel_protocol::control::Welcome;

use crate::inspect::Inspect;
use crate::links::cell::SharedCell;
use crate::settings::Settings;

/// What the driver tells an I/O thread.
#[derive(Debug)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum ToThread {
    /// A worker has a link to this thread.
    Join { worker: WorkerId, stream: UnixStream, welcome: Welcome, cell: Arc<SharedCell> },
    /// New work goes to these workers and no others. They are asked what those that are late have not
    /// answered, as far as it may be done again.
    Offer { workers: Vec<WorkerId>, late: Vec<WorkerId> },
    /// Ask whether the worker is alive.
    Ping { worker: WorkerId },
    /// Move or close its connections, let its requests finish.
    Drain { worker: WorkerId, why: DrainReason },
    /// End what it still has.
    Cut { worker: WorkerId },
    /// Let it finish and leave.
    Shutdown { worker: WorkerId },
    /// Its process is gone: read the link to its end, then give up what it had.
    Reaped { worker: WorkerId, death: Death },
    /// Answer an operator.
    Inspect(Inspect),
    /// Show that this thread is not stuck.
    Probe,
    /// Other settings, for what begins from now on. The longest message stays as it was: links and
    /// workers have been told of it.
    Configure { settings: Box<Settings>, http: Box<http::Settings> },
    /// Close the listeners: the pool ends.
    StopAccepting,
    /// No worker will come any more: end what waits for one.
    EndWaits,
    /// End once no client is left, or the time is over.
    Finish { within: Duration },
}

/// What an I/O thread tells the driver.
#[derive(Debug)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum FromThread {
    /// The thread answers a probe.
    Alive,
    /// The worker takes work.
    Ready { worker: WorkerId },
    /// The worker does not speak the link protocol as we do.
    Refused { worker: WorkerId, why: String },
    /// The answer of the worker to a request is waited for. Told again while that lasts.
    Awaited { worker: WorkerId },
    /// The worker answered a ping.
    Ponged { worker: WorkerId },
    /// The worker's link ended; `why` if that is its fault.
    LinkEnded { worker: WorkerId, why: Option<String> },
    /// This thread has nothing of the worker any more, and its link is read to the end.
    Gone { worker: WorkerId },
    /// This thread has nothing of a draining worker any more. While the pool ends: nor anything that
    /// an offered worker would have to take over.
    Drained { worker: WorkerId },
    /// The worker has done everything and exits.
    ShutdownCompleted { worker: WorkerId },
    /// The worker has nothing on any thread but connections that can do without it, and has had
    /// nothing to do for as long as `sleep_after` says. Told again while that lasts.
    Idle { worker: WorkerId },
    /// There is work and no worker for it, or the workers have much to do.
    WorkWanted,
    /// The pool ends, and nothing is left here that a worker would have to be started for.
    Emptied,
    /// The worker was told to give a connection up, and does not answer. Told again while that lasts.
    /// `has_requests`: on whichever thread, so that its end would fail them.
    Stuck { worker: WorkerId, has_requests: bool },
    /// The worker has had as many requests as it may.
    HadItsRequests { worker: WorkerId },
}
