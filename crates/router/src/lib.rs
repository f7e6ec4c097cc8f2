//! Between client sockets and workers: an I/O thread, its clients, its links, and the owner map.
//!
//! Whoever runs it (the supervisor's driver; an app without a supervisor) tells it what to do by
//! [`ToThread`] and hears of it by [`FromThread`], both by a [`mailbox`]; nothing else is shared. Messages, bodies and
//! publishes stay within the thread, but for publishes to subscribers of other threads
//! ([`crossing`]).
//!
//! Rooms: `router` is the table of everything and what the edge calls; `registry` the owner map;
//! `requests` those under way; `offer` who gets the next one; `reader` reads links, `frames` and
//! `responses` do what their frames ask for; `effects` what handlers do to their connections;
//! `publish` fan-out; `pressure` what owners know of slow clients; `drain` the ways in which a worker
//! loses what it has; `transfer` and `moves` how connections go from one worker to another;
//! `quarantine` what is done with one connection alone; `sleep` which
//! workers nobody needs; `counts` what is counted and `inspect` how others
//! learn of it; `units` how values of settings are written, and `variables` the settings of an app
//! without a supervisor; `scribe` writes the log, which must hold no thread up.

mod body;
mod closing;
pub mod counts;
pub mod crossing;
mod drain;
mod effects;
mod frames;
pub mod inspect;
mod kept;
mod link;
mod mailbox;
mod moves;
mod offer;
mod pressure;
mod publish;
mod quarantine;
mod reader;
mod registry;
mod reports;
mod requests;
mod responses;
mod router;
pub mod scribe;
mod sleep;
mod slots;
#[cfg(test)]
mod testing;
mod transfer;
pub mod units;
mod upload;
pub mod variables;

use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use shovel_core::fleet::{Death, DrainReason};
use shovel_edge::connection::Server;
use shovel_edge::listener::{Bound, Listener};
use shovel_edge::ws::{self, Deadlines};
use shovel_edge::{Crowd, Turn, http};
use shovel_protocol::WorkerId;
use shovel_protocol::control::Welcome;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use self::crossing::Crossings;
use self::inspect::{Inspect, Inspector};
pub use self::link::Counters;
use self::mailbox::Sender;
use self::reports::Commands;
pub use self::reports::{Report, Reported, Reports, reports};
use self::router::Router;

/// Credit that each body starts with.
pub const BODY_WINDOW_BYTES: u32 = 256 * 1024;

/// What the driver tells an I/O thread.
#[derive(Debug)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum ToThread {
    /// A worker has a link to this thread.
    Join { worker: WorkerId, stream: UnixStream, welcome: Welcome, counters: Arc<Counters> },
    /// New work goes to these workers and no others.
    Offer { workers: Vec<WorkerId> },
    /// Ask whether the worker is alive.
    Ping { worker: WorkerId },
    /// Close its connections, let its requests finish.
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
    Configure { settings: Settings, http: http::Settings },
    /// Close the listeners; no more workers will come.
    StopAccepting,
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
    /// The worker answered a ping.
    Ponged { worker: WorkerId },
    /// The worker's link ended; `why` if that is its fault.
    LinkEnded { worker: WorkerId, why: Option<String> },
    /// This thread has nothing of the worker any more, and its link is read to the end.
    Gone { worker: WorkerId },
    /// This thread has nothing of a draining worker any more. While the pool ends: nor anything that
    /// an offered worker would have to take over.
    Drained { worker: WorkerId },
    /// This thread has said that the worker is drained, and has given it something since. Only while
    /// the pool ends, and told before whatever it was taken from is told to be gone or drained.
    Occupied { worker: WorkerId },
    /// The worker has done everything and exits.
    ShutdownCompleted { worker: WorkerId },
    /// The worker has nothing on any thread but connections that can do without it, and has had
    /// nothing to do for as long as `sleep_after` says. Told again while that lasts.
    Idle { worker: WorkerId },
    /// There is work that no worker is there for, or those that are there have much.
    WorkWanted,
    /// The worker was told to give a connection up, and does not answer. Told again while that lasts.
    /// `has_requests`: on whichever thread, so that its end would fail them.
    Stuck { worker: WorkerId, has_requests: bool },
    /// The worker has had as many requests as it may.
    HadItsRequests { worker: WorkerId },
}

/// What an operator can set about an I/O thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// About connections.
    pub ws: ws::Settings,
    /// From the hand-over of a request until the head of its response.
    pub request_timeout: Duration,
    /// The same for an upgrade.
    pub upgrade_timeout: Duration,
    /// How long a request waits for a ready worker.
    pub queue_timeout: Duration,
    /// Over how long a time connections are closed on reload.
    pub close_spread: Duration,
    /// How long a running handler may hold up the move of its connection.
    pub handler_timeout: Duration,
    /// How long a worker may take to adopt a connection.
    pub adopt_timeout: Duration,
    /// How long a connection with something to handle may wait for a worker.
    pub owner_wait: Duration,
    /// A worker that has had nothing to do for so long is not needed, if its connections can do
    /// without it.
    pub sleep_after: Option<Duration>,
    /// A worker is replaced after so many requests.
    pub max_requests: Option<u64>,
    /// Clients beyond this wait to be accepted: links and new workers need descriptors too.
    pub client_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            ws: ws::Settings {
                max_message_bytes: 16 * 1024 * 1024,
                outbox_limit_bytes: 1024 * 1024,
                ping_interval: Duration::from_secs(30),
                pong_timeout: Duration::from_secs(10),
            },
            request_timeout: Duration::from_secs(30),
            upgrade_timeout: Duration::from_secs(10),
            queue_timeout: Duration::from_secs(10),
            close_spread: Duration::from_secs(3),
            handler_timeout: Duration::from_secs(5),
            adopt_timeout: Duration::from_secs(5),
            owner_wait: Duration::from_secs(30),
            sleep_after: None,
            max_requests: None,
            client_limit: usize::MAX,
        }
    }
}

/// An I/O thread that runs.
#[derive(Debug)]
pub struct IoThread {
    commands: Sender<ToThread>,
    thread: thread::JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

/// What a new I/O thread is given.
pub struct Start {
    /// Twins of the listeners.
    pub listeners: Vec<Bound>,
    /// See there.
    pub settings: Settings,
    /// See there.
    pub http: http::Settings,
    /// All clients by address, the same for every thread.
    pub crowd: Crowd,
    /// The way to the driver.
    pub reports: Reports,
    /// The way to the other I/O threads.
    pub crossings: Crossings,
}

impl IoThread {
    /// Starts a thread with a runtime of its own.
    ///
    /// # Errors
    /// Those of starting a thread or a runtime.
    pub fn start(index: usize, start: Start) -> io::Result<Self> {
        let (commands, receiver) = mailbox::mailbox();
        // A local runtime is built where it runs; its errors are wanted here.
        let (built, outcome) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("io-{index}")).spawn(move || {
            // Dropped last, also if the thread panics.
            let _end: oneshot::Sender<()> = end;
            let mut builder = Builder::new_current_thread();
            match builder.enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    let _ = built.send(Ok(()));
                    runtime.block_on(run(start, receiver));
                }
                Err(error) => {
                    let _ = built.send(Err(error));
                }
            }
        })?;
        outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended at once")))?;
        Ok(IoThread { commands, thread, ended })
    }

    /// Tells the thread something; one that has ended hears nothing.
    pub fn tell(&self, command: ToThread) {
        self.commands.send(command);
    }

    /// The way to ask it, for others than the driver.
    pub fn inspector(&self) -> Inspector {
        Inspector(self.commands.clone())
    }

    /// Waits until the thread has nothing more to do, so that [`IoThread::join`] is quick.
    pub async fn ended(&mut self) {
        // Nothing is ever sent: the other end is dropped.
        let _ = (&mut self.ended).await;
    }

    /// Waits until the thread has ended.
    pub fn join(self) {
        drop(self.commands);
        if self.thread.join().is_err() {
            tracing::error!("an I/O thread has panicked");
        }
    }
}

async fn run(start: Start, mut commands: Commands) {
    let Start { listeners, settings, http, crowd, reports, crossings } = start;
    let (turn, deadlines) = (Turn::default(), Deadlines::new(&settings.ws));
    spawn_local(turn.clone().run());
    spawn_local(deadlines.clone().run());
    let (sender, crossed) = crossings.into_parts();
    let router = Router::new(turn.clone(), settings, reports, sender);
    spawn_local(publish::receive(router.clone(), crossed));
    spawn_local(moves::run(router.clone()));
    spawn_local(sleep::run(router.clone()));
    router.access_log.set(http.access_log);
    let server = Server::new(
        router.clone(),
        turn,
        deadlines,
        settings.ws,
        http,
        settings.client_limit,
        crowd,
    );
    for bound in listeners {
        match Listener::open(&bound) {
            Ok(listener) => drop(spawn_local(server.clone().serve(listener))),
            Err(error) => tracing::error!(%error, "cannot open a listener"),
        }
    }
    while let Some(command) = commands.recv().await {
        match command {
            ToThread::StopAccepting => {
                server.stop();
                router.offer.end();
                router.end_unowned();
            }
            ToThread::Inspect(question) => inspect::answer(&router, &server, question),
            ToThread::Configure { settings, http } => {
                router.access_log.set(http.access_log);
                server.configure(settings.ws, http);
                server.limit_clients(settings.client_limit);
                router.settings.set(settings);
            }
            ToThread::Finish { within } => {
                // Cancel-safe: questions only matter as long as the thread runs.
                return tokio::select! {
                    () = finish(&server, within) => {}
                    () = answer_questions(&mut commands, &router, &server) => {}
                };
            }
            command => obey(&router, command),
        }
    }
}

fn obey(router: &Rc<Router>, command: ToThread) {
    match command {
        ToThread::Join { worker, stream, welcome, counters } => {
            router.clone().join(worker, stream, welcome, counters);
        }
        ToThread::Offer { workers } => router.set_offer(&workers),
        ToThread::Ping { worker } => router.ping(worker),
        ToThread::Drain { worker, why } => router.drain(worker, why),
        ToThread::Cut { worker } => router.cut(worker),
        ToThread::Shutdown { worker } => router.shutdown(worker),
        ToThread::Reaped { worker, death } => router.reaped(worker, death),
        ToThread::Probe => router.reports.send(FromThread::Alive),
        // Those are about the server, and are obeyed where it is.
        ToThread::Inspect(_)
        | ToThread::Configure { .. }
        | ToThread::StopAccepting
        | ToThread::Finish { .. } => {}
    }
}

/// All that a thread is still told in the end; never returns.
async fn answer_questions(commands: &mut Commands, router: &Rc<Router>, server: &Server<Router>) {
    while let Some(command) = commands.recv().await {
        match command {
            ToThread::Inspect(question) => inspect::answer(router, server, question),
            command => obey(router, command),
        }
    }
    std::future::pending().await
}

/// Responses may still be on their way to clients, and clients may still answer close frames.
async fn finish(server: &Server<Router>, within: Duration) {
    server.stop();
    if tokio::time::timeout(within, server.emptied()).await.is_err() {
        tracing::debug!("clients are left that do not read");
    }
}
