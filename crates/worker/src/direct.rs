//! Direct mode: the app serves by itself, without a supervisor.
//!
//! It is the pool in one process: the same I/O thread that a supervisor has, and the app at the
//! other end of a link to it. So there is no second implementation of anything, and what holds for
//! the pool holds here, but for what a supervisor is for: reloads and crashes.
//!
//! What a supervisor can be told about clients and their requests, this can be told by the same
//! variables (`shovel_router::variables`).
//!
//! The walk: variables -> bind -> I/O thread -> link -> the app's start handler -> ready -> offered …
//! SIGTERM -> drained (1001) -> `shutdown` -> shutdown handler -> the last bytes to clients -> end.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use shovel_core::fleet::{Death, DrainReason};
use shovel_edge::http::AllowedOrigin;
use shovel_edge::listener::{Bound, addresses_of_environment};
use shovel_protocol::WorkerId;
use shovel_protocol::control::Welcome;
use shovel_router::crossing::Crossings;
use shovel_router::variables::Chosen;
use shovel_router::{
    BODY_WINDOW_BYTES, FromThread, IoThread, NewsReceiver, NewsSender, SharedCell, Start, ToThread,
    news,
};
use shovel_scribe::{ACCESS, Cause, Entry, Pen, REFUSALS, Scribe};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::EitherWriter;

use crate::work::Work;
use crate::{App, RunError, run, supervised};

/// How long clients may take to read what was sent to them last.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// The app itself, where a supervisor would count its workers from 1.
const SELF: WorkerId = WorkerId(0);

/// Serves on `HOST` and `PORT` until SIGTERM or SIGINT.
pub(crate) async fn serve<S>(app: App<S>) -> Result<(), RunError>
where
    S: Send + Sync + 'static,
{
    let chosen = Chosen::of_variables(std::env::vars_os());
    let chosen = chosen.map_err(|wrong| RunError::Settings(wrong.join("; ")))?;
    // Dropped last, when all has been said.
    let scribe = chosen.http.access_log.then(|| Scribe::start(io::stderr())).transpose();
    let scribe = scribe.map_err(RunError::Runtime)?;
    run::log_to(Lines(scribe.as_ref().map(Scribe::pen)));
    let addresses = addresses_of_environment().map_err(RunError::Listen)?;
    let listen = |address: &SocketAddr| {
        Bound::tcp(*address).map_err(|error| RunError::Listen(format!("{address}: {error}")))
    };
    let bound: Vec<_> = addresses.iter().map(listen).collect::<Result<_, _>>()?;
    remark(&chosen);
    let signals = Signals::new().map_err(RunError::Runtime)?;
    let addresses: Vec<_> = bound.iter().map(Bound::describe).collect();
    let address = addresses.join(" and ");
    let (sender, news) = news();
    let (thread, link) = start(bound, &chosen, sender).map_err(RunError::Runtime)?;
    let patience = chosen.shutdown_timeout;
    let mut conductor = Conductor { thread: &thread, news, signals, address, patience };
    // Neither branch is taken up again, so neither need be cancel-safe.
    let result = tokio::select! {
        result = supervised::serve(app, vec![link], Work::default()) => result,
        hurried = conductor.conduct() => Err(hurried),
    };
    let within = match result {
        // Responses and close frames may still be on their way to clients.
        Ok(()) => LAST_MOMENTS,
        Err(_) => Duration::ZERO,
    };
    thread.tell(ToThread::Reaped { worker: SELF, death: Death::Ours });
    thread.tell(ToThread::Finish { within });
    let joined = tokio::task::spawn_blocking(|| thread.join());
    // The thread does not panic; if it did, it has said so.
    let _ = joined.await;
    result
}

/// The access log is written by a thread of its own, since it is the I/O thread that tells it.
struct Lines(Option<Pen>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = EitherWriter<Entry<'a>, io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        EitherWriter::B(io::stderr())
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        match &self.0 {
            Some(pen) if matches!(event.target(), ACCESS | REFUSALS) => {
                EitherWriter::A(pen.line(Cause::Others))
            }
            _ => self.make_writer(),
        }
    }
}

/// Tells what is open to everybody, and which variables mean nothing here.
fn remark(chosen: &Chosen) {
    if chosen.http.allowed_origins.contains(&AllowedOrigin::Any) {
        let origins = "web pages of every origin may open WebSockets";
        tracing::info!("{origins}, as SHOVEL_ALLOW_ORIGIN says");
    }
    if !chosen.unused.is_empty() {
        let names = chosen.unused.join(", ");
        tracing::info!("these variables mean nothing without a supervisor: {names}");
    }
}

fn start(
    bound: Vec<Bound>,
    chosen: &Chosen,
    news: NewsSender,
) -> io::Result<(IoThread, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let settings = chosen.settings;
    let max_message_bytes = settings.ws.max_message_bytes as u64;
    let crossings = Crossings::alone();
    let start = Start {
        listeners: bound,
        tcp: chosen.tcp,
        settings,
        http: chosen.http.clone(),
        crowd: Default::default(),
        news,
        crossings,
    };
    let thread = IoThread::start(0, start)?;
    let welcome = Welcome {
        worker: SELF.0,
        index: 0,
        generation: 0,
        link: 0,
        links: 1,
        max_message_bytes,
        body_window_bytes: BODY_WINDOW_BYTES,
        dev: chosen.dev,
    };
    let cell = std::sync::Arc::<SharedCell>::default();
    thread.tell(ToThread::Join { worker: SELF, stream: ours, welcome, cell });
    Ok((thread, theirs))
}

/// Does what a supervisor would do for one worker.
struct Conductor<'a> {
    thread: &'a IoThread,
    news: NewsReceiver,
    signals: Signals,
    address: String,
    /// How long handlers and clients may take in the end.
    patience: Duration,
}

impl Conductor<'_> {
    /// Ends only in a hurry: else the app ends first.
    async fn conduct(&mut self) -> RunError {
        self.until_told_to_end().await;
        let deadline = Instant::now() + self.patience;
        tracing::info!(within = ?self.patience, "terminating");
        self.thread.tell(ToThread::StopAccepting);
        self.thread.tell(ToThread::Drain { worker: SELF, why: DrainReason::Terminate });
        // Either is the end of all patience.
        let _ = timeout_at(deadline, self.until_told_again()).await;
        RunError::CutShort
    }

    async fn until_told_to_end(&mut self) {
        loop {
            // Cancel-safe: a queue keeps what was not taken, a signal stays pending.
            tokio::select! {
                () = self.signals.next() => return,
                Some(news) = self.news.recv() => {
                    if let FromThread::Ready { .. } = news.what {
                        self.thread.tell(ToThread::Offer { workers: vec![SELF], late: Vec::new() });
                        tracing::info!("listening on {}", self.address);
                    }
                }
            }
        }
    }

    async fn until_told_again(&mut self) {
        loop {
            // Cancel-safe as above.
            tokio::select! {
                () = self.signals.next() => return,
                Some(news) = self.news.recv() => {
                    if let FromThread::Drained { .. } = news.what {
                        self.thread.tell(ToThread::Shutdown { worker: SELF });
                    }
                }
            }
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Signals { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        // Cancel-safe: a signal stays pending until its branch is taken.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
