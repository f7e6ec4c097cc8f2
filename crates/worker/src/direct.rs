//! Direct mode: the app serves by itself, without a supervisor.
//!
//! It is the pool in one process: the same I/O thread that a supervisor has, and the app at the
//! other end of a link to it. So there is no second implementation of anything, and what holds for
//! the pool holds here, but for what a supervisor is for: reloads and crashes.
//!
//! The walk: bind -> I/O thread -> link -> the app's start handler -> ready -> offered … SIGTERM ->
//! drained (1001) -> `shutdown` -> shutdown handler -> the last bytes to clients -> end.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use shovel_core::pool::DrainReason;
use shovel_edge::listener::{Bound, address_of_environment};
use shovel_protocol::WorkerId;
use shovel_protocol::control::Welcome;
use shovel_router::crossing::Crossings;
use shovel_router::{
    BODY_WINDOW_BYTES, Counters, FromThread, IoThread, Reports, Settings, Start, ToThread,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::work::Work;
use crate::{App, RunError, pool};

/// How long handlers and clients may take in the end; the supervisor's default.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// How long clients may take to read what was sent to them last.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// The app itself, where a supervisor would count its workers from 1.
const SELF: WorkerId = WorkerId(0);

/// Serves on `HOST` and `PORT` until SIGTERM or SIGINT.
pub(crate) async fn serve<S>(app: App<S>) -> Result<(), RunError>
where
    S: Send + Sync + 'static,
{
    let address = address_of_environment().map_err(RunError::Listen)?;
    let listener = TcpListener::bind(address)
        .map_err(|error| RunError::Listen(format!("{address}: {error}")))?;
    let signals = Signals::new().map_err(RunError::Runtime)?;
    let bound = Bound::Tcp(listener);
    let address = bound.describe();
    let (sender, reports) = mpsc::unbounded_channel();
    let (thread, link) = start(bound, Reports::new(sender)).map_err(RunError::Runtime)?;
    let mut conductor = Conductor { thread: &thread, reports, signals, address };
    // Neither branch is taken up again, so neither need be cancel-safe.
    let result = tokio::select! {
        result = pool::serve(app, vec![link], Work::default()) => result,
        hurried = conductor.conduct() => Err(hurried),
    };
    let within = match result {
        // Responses and close frames may still be on their way to clients.
        Ok(()) => LAST_MOMENTS,
        Err(_) => Duration::ZERO,
    };
    thread.tell(ToThread::Reaped { worker: SELF, at_fault: false });
    thread.tell(ToThread::Finish { within });
    let joined = tokio::task::spawn_blocking(|| thread.join());
    // The thread does not panic; if it did, it has said so.
    let _ = joined.await;
    result
}

fn start(bound: Bound, reports: Reports) -> std::io::Result<(IoThread, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let settings = Settings::default();
    let max_message_bytes = settings.ws.max_message_bytes as u64;
    let crossings = Crossings::alone();
    let start = Start {
        listeners: vec![bound],
        settings,
        http: Default::default(),
        crowd: Default::default(),
        reports,
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
        dev: false,
    };
    let counters = std::sync::Arc::<Counters>::default();
    thread.tell(ToThread::Join { worker: SELF, stream: ours, welcome, counters });
    Ok((thread, theirs))
}

/// Does what a supervisor would do for one worker.
struct Conductor<'a> {
    thread: &'a IoThread,
    reports: mpsc::UnboundedReceiver<FromThread>,
    signals: Signals,
    address: String,
}

impl Conductor<'_> {
    /// Ends only in a hurry: else the app ends first.
    async fn conduct(&mut self) -> RunError {
        self.until_told_to_end().await;
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        tracing::info!(within = ?SHUTDOWN_TIMEOUT, "terminating");
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
                Some(report) = self.reports.recv() => {
                    if let FromThread::Ready { .. } = report {
                        self.thread.tell(ToThread::Offer { workers: vec![SELF] });
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
                Some(report) = self.reports.recv() => {
                    if let FromThread::Drained { .. } = report {
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
    fn new() -> std::io::Result<Self> {
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
