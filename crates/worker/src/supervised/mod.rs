//! Supervised mode: the app behind a supervisor.
//!
//! Speaks the link protocol and calls the handlers; owns no client's socket. For each link there
//! is one task that reads ([`reader`]), and writes what came of it, and one that writes all else
//! ([`link::Writer`]); handlers run in the reader's turn ([`in_place`]) or in tasks of their own
//! ([`dispatch`]).
//!
//! The walk: `hello` on every link -> start handler -> `ready` … `shutdown` -> all work ends ->
//! shutdown handler -> `shutdown-complete`.

mod caught;
mod connections;
pub(crate) mod descriptors;
mod dispatch;
pub(crate) mod exchange;
mod in_place;
pub(crate) mod link;
mod reader;
pub(crate) mod respond;
pub(crate) mod switchboard;
mod table;
pub(crate) mod tenure;
mod upload;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use shovel_link::Socket;
use shovel_protocol::ToSupervisor;
use shovel_protocol::control::Welcome;
use shovel_protocol::handshake::Capabilities;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use self::caught::Caught;
use self::dispatch::Dispatch;
use self::link::{Link, Writer};
use self::reader::{FrameHandler, Greeted, Reader};
use self::switchboard::Switchboard;
use crate::app::{App, Once};
use crate::event::Context;
use crate::work::Work;
use crate::{Channels, RunError, ShutdownEvent, StartEvent, WorkerInfo};

/// How long an upgrade that came too late may wait for its answer when the worker is to leave.
const LATE_ANSWER: Duration = Duration::from_secs(1);

/// Runs an app on its links until the supervisor tells it to stop. Handlers and what they leave
/// behind are begun as `work`.
pub(crate) async fn serve<S>(
    app: App<S>,
    streams: Vec<UnixStream>,
    work: Work,
) -> Result<(), RunError>
where
    S: Send + Sync + 'static,
{
    let mut greeted = Vec::with_capacity(streams.len());
    for stream in streams {
        greeted.push(Greeted::by(Socket::new(stream).map_err(RunError::Runtime)?).await?);
    }
    let links: Vec<_> = greeted
        .iter()
        .map(|greeted| Arc::new(Link::new(&greeted.welcome, greeted.capabilities)))
        .collect();
    let (Some(first), Some(link)) = (greeted.first(), links.first()) else {
        return Err(RunError::NoSupervisor);
    };
    let switchboard = Arc::new(Switchboard::new(link.clone()));
    let capabilities = app.capabilities().in_common(first.capabilities);
    let context = Arc::new(Context {
        state: Arc::new(app.state),
        worker: worker_info(&first.welcome),
        channels: Channels::new(switchboard.clone()),
        work,
        portable: app.portable,
    });
    let shutdown = Arc::new(Notify::new());
    let dev = first.welcome.dev;
    let dispatch = Arc::new(Dispatch { handlers: app.handlers, context: context.clone(), dev });

    let _cleared = Cleared { links: links.clone(), switchboard: switchboard.clone() };
    let mut tasks = JoinSet::new();
    for (greeted, link) in greeted.into_iter().zip(links.iter().cloned()) {
        tasks.spawn(Writer { link: link.clone(), socket: greeted.socket.clone() }.run());
        let (dispatch, switchboard) = (dispatch.clone(), switchboard.clone());
        let frames = FrameHandler::new(link, dispatch, switchboard, shutdown.clone());
        tasks.spawn(Reader::new(greeted, frames).run());
    }
    let life = Life { context, links, shutdown, capabilities };
    // Neither branch is taken up again, so neither need be cancel-safe. The life comes first: the
    // supervisor may close the links as soon as it has read `shutdown-complete`.
    let result = tokio::select! {
        biased;
        ended = life.run(app.start, app.shutdown) => ended,
        Some(ended) = tasks.join_next() => Err(ended.unwrap_or_else(internal)),
    };
    tasks.shutdown().await;
    result
}

/// Dropped when nothing reads the links any more. Then nobody waits for them any longer.
struct Cleared {
    links: Vec<Arc<Link>>,
    switchboard: Arc<Switchboard>,
}

impl Drop for Cleared {
    fn drop(&mut self) {
        self.links.iter().for_each(|link| link.end());
        self.switchboard.end();
    }
}

/// A worker's life, beside its links.
struct Life<S> {
    context: Arc<Context<S>>,
    links: Vec<Arc<Link>>,
    shutdown: Arc<Notify>,
    capabilities: Capabilities,
}

impl<S> Life<S> {
    async fn run(
        &self,
        start: Option<Once<StartEvent<S>>>,
        shutdown: Option<Once<ShutdownEvent<S>>>,
    ) -> Result<(), RunError> {
        if let Some(start) = start {
            let event = StartEvent::new(self.context.clone());
            let started = Caught::call(|| start(event)).await;
            started.map_err(|failure| RunError::Start(failure.to_string()))?;
        }
        self.tell(&ToSupervisor::ready(self.capabilities));
        self.shutdown.notified().await;
        self.context.work.idle().await;
        // An upgrade that came too late is answered yet, and its close handler runs.
        let emptied = async {
            for link in &self.links {
                link.emptied().await;
            }
        };
        // An error says that no answer came, which would be the supervisor's fault.
        let _ = timeout(LATE_ANSWER, emptied).await;
        self.context.work.idle().await;
        if let Some(shutdown) = shutdown {
            let event = ShutdownEvent::new(self.context.clone());
            if let Err(failure) = Caught::call(|| shutdown(event)).await {
                let worker = self.context.worker.id;
                tracing::error!(worker, "shutdown handler failed: {failure}");
            }
        }
        // What is on other links is to arrive before the worker counts as finished.
        self.written().await;
        self.tell(&ToSupervisor::ShutdownComplete);
        self.written().await;
        Ok(())
    }

    /// Tells the supervisor something about the worker as a whole.
    fn tell(&self, frame: &ToSupervisor<'_>) {
        if let Some(first) = self.links.first() {
            first.put(u64::MAX, frame);
        }
    }

    async fn written(&self) {
        for link in &self.links {
            link.written().await;
        }
    }
}

fn worker_info(welcome: &Welcome) -> WorkerInfo {
    WorkerInfo {
        pid: std::process::id(),
        index: welcome.index,
        generation: welcome.generation,
        id: welcome.worker,
    }
}

fn internal(error: JoinError) -> RunError {
    RunError::Internal(error.to_string())
}
