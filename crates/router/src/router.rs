//! Everything that an I/O thread has, and what the edge calls.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use shovel_core::channels::Channels;
use shovel_edge::ws::Socket;
use shovel_edge::{Answer, Backend, Client, Failure, Notes, Turn, Upgrade};
use shovel_link as link_io;
use shovel_protocol::control::Welcome;
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::{
    Close, CloseCode, ConnectionId, MessageKind, ToWorker, WorkerId, WorkerIndex,
};
use tokio::task::spawn_local;

use super::body::ResponseBody;
use super::counts::{Measures, OfThread, OfWorker};
use super::crossing::Sender;
use super::link::{Counters, Link};
use super::offer::Offer;
use super::publish::Publisher;
use super::reader::LinkReader;
use super::registry::{Pressure, Registry};
use super::requests::{Outcome, Question};
use super::slots::Slots;
use super::{FromThread, Reports, Settings, requests};

/// What a worker may still send after it was told of pressure, beside one message: what its own
/// bound and both socket buffers hold.
const PRESSURE_GRACE_BYTES: usize = 4 * 1024 * 1024;

/// The state of an I/O thread. Its parts are borrowed one at a time and never across an `await`.
pub struct Router {
    pub(super) settings: Cell<Settings>,
    /// Whether each end of a connection is told, not only to those who look for faults.
    pub(super) access_log: Cell<bool>,
    pub(super) turn: Turn,
    pub(super) reports: Reports,
    pub(super) links: RefCell<BTreeMap<WorkerId, Rc<Link>>>,
    pub(super) offer: Offer,
    pub(super) registry: RefCell<Registry>,
    pub(super) requests: RefCell<Slots<requests::Request>>,
    pub(super) channels: RefCell<Channels>,
    pub(super) publisher: Publisher,
    pub(super) measures: Measures,
}

impl Router {
    pub fn new(turn: Turn, settings: Settings, reports: Reports, crossing: Sender) -> Rc<Self> {
        Rc::new_cyclic(|me| Router {
            settings: Cell::new(settings),
            access_log: Cell::new(false),
            turn: turn.clone(),
            reports,
            links: RefCell::default(),
            offer: Offer::default(),
            registry: RefCell::default(),
            requests: RefCell::default(),
            channels: RefCell::default(),
            publisher: Publisher::new(me.clone(), turn, crossing),
            measures: Measures::default(),
        })
    }

    /// A new worker's link.
    pub fn join(
        self: Rc<Self>,
        worker: WorkerId,
        stream: UnixStream,
        welcome: Welcome,
        counters: Arc<Counters>,
    ) {
        let socket = match link_io::Socket::new(stream) {
            Ok(socket) => socket,
            Err(error) => {
                let why = Some(format!("has a link that cannot be used: {error}"));
                return self.reports.send(FromThread::LinkEnded { worker, why });
            }
        };
        let weak = Rc::downgrade(&self);
        let on_room = Box::new(move |held: HashSet<ConnectionId>| {
            if let Some(router) = weak.upgrade() {
                held.into_iter().for_each(|connection| router.look_at_hold(connection));
            }
        });
        let (turn, reports) = (self.turn.clone(), self.reports.clone());
        let is_first = welcome.link == 0;
        let place = (worker, WorkerIndex(welcome.index));
        let link = Link::new(place, counters, socket, turn, reports, on_room);
        link.send(&ToWorker::hello(Capabilities::default(), welcome));
        self.links.borrow_mut().insert(worker, link.clone());
        spawn_local(LinkReader::new(self, link, is_first).run());
    }

    /// Replaces the snapshot of workers that take new work.
    pub fn set_offer(&self, workers: &[WorkerId]) {
        let links = self.links.borrow();
        self.offer.set(workers.iter().filter_map(|worker| links.get(worker).cloned()).collect());
    }

    /// Asks a worker whether it is alive.
    pub fn ping(&self, worker: WorkerId) {
        self.tell(worker, &ToWorker::Ping { nonce: worker.0.into() });
    }

    /// Lets a worker finish and leave.
    pub fn shutdown(&self, worker: WorkerId) {
        self.tell(worker, &ToWorker::Shutdown);
    }

    pub(super) fn link(&self, worker: WorkerId) -> Option<Rc<Link>> {
        self.links.borrow().get(&worker).cloned()
    }

    /// Lets the reader of a connection go on if nothing speaks against it.
    pub(super) fn look_at_hold(&self, id: ConnectionId) {
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = registry.get_mut(id) else { return };
        let held = connection.must_hold();
        if std::mem::replace(&mut connection.held, held) != held {
            connection.socket.hold(held);
        }
        if held && connection.holding.link().is_over() {
            connection.holding.link().hold(id);
        }
    }

    /// An accepted connection whose client has gone before it knew.
    pub(super) fn abandon(&self, id: ConnectionId) {
        let (code, reason) = (CloseCode::ABNORMAL, String::new());
        self.closed(id, Close { code, reason, was_clean: false });
    }

    /// Asks a worker, and notes what came of it and how long that took.
    async fn measure(self: &Rc<Self>, question: Question) -> Result<Outcome, Failure> {
        let began = Instant::now();
        let outcome = self.ask(question).await;
        let took = began.elapsed();
        let measures = &self.measures;
        let status = match &outcome {
            Ok(Outcome::Response(response)) => {
                note_answer(response.body().link(), took);
                response.status().as_u16()
            }
            Ok(Outcome::Accepted(accepted)) => {
                if let Some(connection) = self.registry.borrow().get(accepted.route) {
                    note_answer(connection.holding.link(), took);
                }
                101
            }
            Ok(Outcome::WorkerGone | Outcome::Failed(_)) => 502,
            Err(failure) => {
                let (why, status) = OfThread::of_failure(failure);
                measures.tally.add(why, 1);
                status
            }
        };
        measures.tally.add(OfThread::of_status(status), 1);
        measures.latencies.note(took);
        outcome
    }

    fn tell(&self, worker: WorkerId, frame: &ToWorker<'_>) {
        if let Some(link) = self.link(worker) {
            link.send(frame);
        }
    }
}

fn note_answer(link: &Link, took: Duration) {
    link.tally.add(OfWorker::Answers, 1);
    link.tally.add(OfWorker::AnswerMicros, took.as_micros() as u64);
}

impl Backend for Router {
    type Body = ResponseBody;
    type Route = ConnectionId;

    async fn fetch(
        self: Rc<Self>,
        request: Request<Incoming>,
        client: Rc<Client>,
        notes: Notes,
    ) -> Result<Response<ResponseBody>, Failure> {
        let (parts, body) = request.into_parts();
        let body = (!body.is_end_stream()).then_some(body);
        match self.measure(Question { parts, client, notes, body, socket: None }).await? {
            Outcome::Response(response) => Ok(response),
            Outcome::Accepted(_) | Outcome::WorkerGone | Outcome::Failed(_) => {
                Err(Failure::BadGateway("an upgrade that was not offered"))
            }
        }
    }

    async fn upgrade(
        self: Rc<Self>,
        parts: Parts,
        client: Rc<Client>,
        notes: Notes,
        socket: Socket,
    ) -> Result<Answer<Self>, Failure> {
        let question = Question { parts, client, notes, body: None, socket: Some(socket) };
        match self.measure(question).await? {
            Outcome::Response(response) => Ok(Upgrade::Declined(response)),
            Outcome::Accepted(accepted) => Ok(Upgrade::Accepted(accepted)),
            Outcome::WorkerGone | Outcome::Failed(_) => Err(Failure::BadGateway("worker lost")),
        }
    }

    fn message(&self, route: ConnectionId, kind: MessageKind, data: &[u8]) {
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = registry.get_mut(route) else { return };
        let Some((seq, open)) = connection.state.hand_over(data.len()) else { return };
        let link = connection.holding.link();
        link.send(&ToWorker::Message { connection: route, seq, kind, data });
        link.tally.add_sized(
            OfWorker::MessagesReceived,
            OfWorker::MessageBytesReceived,
            data.len(),
        );
        let over = link.is_over();
        if over {
            link.hold(route);
        }
        if !open || over {
            connection.held = true;
            connection.socket.hold(true);
        }
    }

    fn is_idle(&self, route: ConnectionId) -> bool {
        self.registry.borrow().get(route).is_none_or(|connection| connection.state.is_idle())
    }

    fn pressure(&self, route: ConnectionId, over: bool) {
        {
            let mut registry = self.registry.borrow_mut();
            let Some(connection) = registry.get_mut(route) else { return };
            let grace_bytes = self.settings.get().ws.max_message_bytes + PRESSURE_GRACE_BYTES;
            connection.pressure =
                if over { Pressure::Told { grace_bytes } } else { Pressure::None };
            let frame = ToWorker::Pressure { connection: route, over };
            connection.holding.link().send(&frame);
        }
        self.look_at_hold(route);
    }

    fn closed(&self, route: ConnectionId, close: Close) {
        self.share_channels_of(route);
        let mut registry = self.registry.borrow_mut();
        // A socket outlives its entry when its worker has died: by now the slot, by which
        // subscriptions are kept, may be another's.
        if registry.get(route).is_none() {
            return;
        }
        self.channels.borrow_mut().unsubscribe_all(route.0.slot, &mut *registry);
        let Some(connection) = registry.get_mut(route) else { return };
        if let Some(seq) = connection.state.close() {
            self.tell_closed(connection, &close);
            let frame = ToWorker::Closed { connection: route, seq, close };
            connection.holding.link().send(&frame);
        }
    }
}
