//! Threads as the tests have them: a router each, on one runtime and a clock that stands, and workers
//! that say nothing.

use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shovel_core::transfer::Attachment;
use shovel_edge::ws::{self, Deadlines, Socket};
use shovel_edge::{Client, Turn};
use shovel_protocol::control::Welcome;
use shovel_protocol::id::Leased;
use shovel_protocol::{LeaseId, MessageKind, RequestId, ToSupervisor, WorkerId};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

use crate::crossing::Crossings;
use crate::inspect::Origin;
use crate::link::{Counters, Holding, Link};
use crate::registry::{Connection, Route};
use crate::router::Router;
use crate::{BODY_WINDOW_BYTES, Reported, Settings, moves, reports};

pub const WORKER: WorkerId = WorkerId(1);

const WS: ws::Settings = ws::Settings {
    max_message_bytes: 1024 * 1024,
    outbox_limit_bytes: 1024 * 1024,
    ping_interval: Duration::from_secs(30),
    pong_timeout: Duration::from_secs(10),
};

pub struct Thread {
    pub router: Rc<Router>,
    pub reports: Reported,
    /// The other ends of its links.
    pub workers: RefCell<Vec<UnixStream>>,
}

/// Runs a test. Nothing else runs before it waits, and then time passes at once.
pub fn run(test: impl AsyncFnOnce()) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(test());
}

impl Thread {
    pub fn alone() -> Self {
        Self::several(1).remove(0)
    }

    pub fn several(threads: usize) -> Vec<Self> {
        let new = |crossings: Crossings| {
            let (sender, reports) = reports();
            let settings = Settings { ws: WS, close_spread: Duration::ZERO, ..Settings::default() };
            let (crossing, _) = crossings.into_parts();
            let router = Router::new(Turn::default(), settings, sender, crossing);
            spawn_local(moves::run(router.clone()));
            Thread { router, reports, workers: RefCell::default() }
        };
        Crossings::between(threads).into_iter().map(new).collect()
    }

    /// A worker's link to this thread.
    pub fn join(&self, worker: WorkerId, counters: &Arc<Counters>) -> Rc<Link> {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let welcome = Welcome {
            worker: worker.0,
            index: 0,
            generation: 1,
            link: 0,
            links: 1,
            max_message_bytes: WS.max_message_bytes as u64,
            body_window_bytes: BODY_WINDOW_BYTES,
            dev: false,
        };
        self.workers.borrow_mut().push(theirs);
        self.router.clone().join(worker, ours, welcome, counters.clone());
        self.router.link(worker).expect("its link")
    }

    /// A connection that the worker has accepted and subscribed to a channel.
    pub fn subscriber(&self, link: &Rc<Link>, channel: &str) -> Route {
        let route = self.accept(link, false);
        self.subscribe(route, channel);
        route
    }

    /// A connection that the worker has accepted, and that may move.
    pub fn portable(&self, link: &Rc<Link>) -> Route {
        let route = self.accept(link, true);
        self.with(route, |_, connection| {
            connection.state.attach(Attachment { version: 1, data: Box::from([]) });
        });
        route
    }

    pub fn subscribe(&self, route: Route, channel: &str) {
        let mut registry = self.router.registry.borrow_mut();
        let (_, connection) = registry.on_route(route).expect("the connection");
        let places = &mut connection.subscriptions;
        self.router.channels.borrow_mut().subscribe(channel, route.slot, places);
    }

    /// A connection that the worker has accepted.
    fn accept(&self, link: &Rc<Link>, keep: bool) -> Route {
        let socket = Socket::new(&self.router.turn, &Deadlines::new(&WS), &WS);
        let request = RequestId(Leased { slot: 0, lease: 0 });
        let mut registry = self.router.registry.borrow_mut();
        let origin = Origin::new(&Client::new(None), "/");
        let id = registry.reserve(Holding::new(link), socket, request, origin);
        let connection = registry.get_mut(id).expect("it was reserved");
        connection.request = None;
        connection.state.accept(keep).expect("it was offered");
        registry.route(id).expect("it was accepted")
    }

    /// Does something with a connection.
    pub fn with<T>(&self, route: Route, what: impl FnOnce(LeaseId, &mut Connection) -> T) -> T {
        let mut registry = self.router.registry.borrow_mut();
        let (id, connection) = registry.on_route(route).expect("the connection");
        what(id, connection)
    }

    /// Takes in a message of a connection that may move.
    pub fn receive(&self, route: Route) {
        let message = self.router.keeper.keep(MessageKind::Text, b"message");
        let id = self.with(route, |id, connection| {
            assert!(connection.state.append(message, 7));
            id
        });
        self.router.pump(&mut self.router.registry.borrow_mut(), id);
    }

    /// The worker commits the event that it was given first.
    pub fn commit(&self, link: &Rc<Link>, route: Route) {
        let frame = |id, seq| ToSupervisor::Commit { connection: id, seq };
        let commit = self.with(route, |id, connection| frame(id, connection.state.committed() + 1));
        self.router.on_frame(link, commit).expect("a commit in its turn");
    }
}
