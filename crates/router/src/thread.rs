//! An I/O thread: how it is started, and what it does with what it is told.

use std::io;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use shovel_edge::connection::Server;
use shovel_edge::listener::{Bound, Listener, TcpTimeouts};
use shovel_edge::ws::Deadlines;
use shovel_edge::{Crowd, Turn, http};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::custody;
use crate::driver::mailbox::{Sender, mailbox};
use crate::driver::news::{Commands, NewsSender};
use crate::driver::{FromThread, ToThread};
use crate::fanout::crossing::Crossings;
use crate::fanout::publish;
use crate::inspect::{Inspector, answer};
use crate::links::link::Link;
use crate::links::reader::LinkReader;
use crate::requests;
use crate::router::Router;
use crate::settings::Settings;

/// After so many polls of tasks a thread looks who has sent something, however many tasks are ready.
/// With tokio's own number, 61, and ten clients that send pings without a pause, one in a hundred
/// echoes of others took over 6.7 ms; with this one, 2.2 ms.
const EVENT_INTERVAL: u32 = 16;

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
    /// When their clients are given up that are not there any more.
    pub tcp: TcpTimeouts,
    /// See there.
    pub settings: Settings,
    /// See there.
    pub http: http::Settings,
    /// All clients by address, the same for every thread.
    pub crowd: Crowd,
    /// The way to the driver.
    pub news: NewsSender,
    /// The way to the other I/O threads.
    pub crossings: Crossings,
}

impl IoThread {
    /// Starts a thread with a runtime of its own.
    ///
    /// # Errors
    /// Those of starting a thread or a runtime.
    pub fn start(index: usize, start: Start) -> io::Result<Self> {
        let (commands, receiver) = mailbox();
        // A local runtime is built where it runs; its errors are wanted here.
        let (built, outcome) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("io-{index}")).spawn(move || {
            // Dropped last, also if the thread panics.
            let _end: oneshot::Sender<()> = end;
            let mut builder = Builder::new_current_thread();
            builder.event_interval(EVENT_INTERVAL);
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
    let Start { listeners, tcp, settings, http, crowd, news, crossings } = start;
    let (turn, deadlines) = (Turn::default(), Deadlines::new(&settings.ws));
    spawn_local(turn.clone().run());
    spawn_local(turn.ledger().clone().run());
    spawn_local(deadlines.clone().run());
    let (sender, crossed) = crossings.into_parts();
    let router = Router::new(turn.clone(), settings, news, sender);
    spawn_local(publish::receive(router.clone(), crossed));
    spawn_local(custody::drive::run(router.clone()));
    spawn_local(custody::events::look_for_rest(router.clone()));
    spawn_local(requests::late::tell_awaited(router.clone()));
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
        if let Err(error) = bound.set_timeouts(&tcp) {
            tracing::warn!(%error, "the system does not look after clients as it should");
        }
        match Listener::open(&bound) {
            Ok(listener) => drop(spawn_local(server.clone().serve(listener))),
            Err(error) => tracing::error!(%error, "cannot open a listener"),
        }
    }
    while let Some(command) = commands.recv().await {
        match command {
            ToThread::StopAccepting => {
                server.stop();
                router.begin_end();
            }
            ToThread::Inspect(question) => answer::answer(&router, &server, question),
            ToThread::Configure { settings, http } => {
                let settings = *settings;
                router.access_log.set(http.access_log);
                server.configure(settings.ws, *http);
                server.limit_clients(settings.client_limit);
                router.configure(settings);
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
        ToThread::Join { worker, stream, welcome, cell } => {
            let is_first = welcome.link == 0;
            if let Some(link) = router.join(worker, stream, welcome, cell) {
                spawn_local(LinkReader::new(router.clone(), link, is_first).run());
            }
        }
        ToThread::Offer { workers, late } => router.set_offer(workers, late),
        ToThread::Ping { worker } => {
            router.on_link_of(worker, Link::ping);
        }
        ToThread::Drain { worker, why } => router.drain(worker, why),
        ToThread::Cut { worker } => router.cut(worker),
        ToThread::Shutdown { worker } => router.on_link_of(worker, Link::shut_down),
        ToThread::Reaped { worker, death } => router.reaped(worker, death),
        ToThread::EndWaits => router.end_waits(),
        ToThread::Probe => router.news.send(FromThread::Alive),
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
            ToThread::Inspect(question) => answer::answer(router, server, question),
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
