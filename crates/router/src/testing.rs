//! Threads as the tests have them: a router each, on one runtime and a clock that stands, and workers
//! that say nothing.

use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shovel_core::custody::{self, Attachment, Event, Route};
use shovel_edge::Turn;
use shovel_edge::ws::{self, Deadlines, Socket};
use shovel_protocol::control::Welcome;
use shovel_protocol::id::Leased;
use shovel_protocol::{LeaseId, RequestId, WorkerId};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

use crate::clients::client::{Client, Opening};
use crate::crossing::Crossings;
use crate::custody::state::Staged;
use crate::links::cell::SharedCell;
use crate::links::link::Link;
use crate::router::Router;
use crate::{BODY_WINDOW_BYTES, NewsReceiver, Settings, news};

/// A connection as the tests look at it.
pub type Connection = custody::Connection<Client, crate::custody::state::KeptMessage, Staged>;

pub const WORKER: WorkerId = WorkerId(1);

const WS: ws::Settings = ws::Settings {
    max_message_bytes: 1024 * 1024,
    max_messages_per_second: None,
    outbox_limit_bytes: 1024 * 1024,
    slow_consumer: ws::SlowConsumer::Close,
    ping_interval: Duration::from_secs(30),
    pong_timeout: Duration::from_secs(10),
    read_timeout: Duration::from_secs(60),
    write_timeout: Duration::from_secs(60),
    close_timeout: Duration::from_secs(20),
};

pub struct Thread {
    pub router: Rc<Router>,
    /// Kept, so that news have somewhere to go.
    _news: NewsReceiver,
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

    fn several(threads: usize) -> Vec<Self> {
        let new = |crossings: Crossings| {
            let (news, received) = news();
            let settings = Settings { ws: WS, close_spread: Duration::ZERO, ..Settings::default() };
            let (crossing, _) = crossings.into_parts();
            let router = Router::new(Turn::default(), settings, news, crossing);
            spawn_local(crate::custody::drive::run(router.clone()));
            Thread { router, _news: received, workers: RefCell::default() }
        };
        Crossings::between(threads).into_iter().map(new).collect()
    }

    /// A worker's link to this thread.
    pub fn join(&self, worker: WorkerId, cell: &Arc<SharedCell>) -> Rc<Link> {
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
        self.router.join(worker, ours, welcome, cell.clone()).expect("a link that can be used")
    }

    /// A connection that the worker has accepted, and that is portable.
    pub fn portable(&self, link: &Rc<Link>) -> Route {
        let route = self.accept(link, true);
        self.with(route, |_, connection| {
            connection.attach(Attachment { version: 1, data: Box::from([]) });
        });
        route
    }

    pub fn subscribe(&self, route: Route, channel: &str) {
        let mut custody = self.router.custody.borrow_mut();
        let (_, connection) = custody.on_route_mut(route).expect("the connection");
        let places = &mut connection.client.subscriptions;
        let subscribed = self.router.channels.borrow_mut().subscribe(channel, route.slot, places);
        subscribed.expect("room for one more");
    }

    /// A connection that the worker has accepted.
    fn accept(&self, link: &Rc<Link>, is_portable: bool) -> Route {
        let socket = Socket::new(&self.router.turn, &Deadlines::new(&WS), &WS);
        let request = RequestId(Leased { slot: 0, lease: 0 });
        let client = Client::new(socket, Opening::new(&shovel_edge::Peer::new(None), "/"));
        let mut custody = self.router.custody.borrow_mut();
        let id = custody.reserve(client, link.worker, request);
        custody.accept(id, link.worker, request, is_portable).expect("it was offered")
    }

    /// Does something with a connection.
    pub fn with<T>(&self, route: Route, what: impl FnOnce(LeaseId, &mut Connection) -> T) -> T {
        let mut custody = self.router.custody.borrow_mut();
        let (id, connection) = custody.on_route_mut(route).expect("the connection");
        what(id, connection)
    }

    /// New work goes to these workers.
    pub fn offer(&self, workers: Vec<WorkerId>) {
        self.router.tell_custody(Event::Offered { workers });
    }
}
