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
use shovel_core::transfer::Closing;
use shovel_edge::ws::Socket;
use shovel_edge::{Answer, Backend, Client, Failure, Notes, Refused, Turn, Upgrade};
use shovel_link as link_io;
use shovel_protocol::control::Welcome;
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::{
    Again, Close, CloseCode, LeaseId, MessageKind, ToWorker, WorkerId, WsMessage,
};
use tokio::task::spawn_local;

use super::body::ResponseBody;
use super::counts::{Measures, OfThread, OfWorker};
use super::crossing::Sender;
use super::kept::Keeper;
use super::link::{Counters, Link};
use super::moves::Moves;
use super::offer::Offer;
use super::publish::Publisher;
use super::reader::LinkReader;
use super::registry::{Registry, Route};
use super::requests::{Outcome, Question};
use super::slots::Slots;
use super::{FromThread, Reports, Settings, requests};

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
    pub(super) moves: Moves,
    pub(super) keeper: Keeper,
    /// When a worker was last asked for.
    pub(super) work_wanted: Cell<Option<tokio::time::Instant>>,
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
            moves: Moves::default(),
            keeper: Keeper::default(),
            work_wanted: Cell::default(),
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
        let on_room = Box::new(move |held: HashSet<LeaseId>| {
            if let Some(router) = weak.upgrade() {
                held.into_iter().for_each(|connection| router.look_at_hold(connection));
            }
        });
        let (turn, reports) = (self.turn.clone(), self.reports.clone());
        let is_first = welcome.link == 0;
        let link = Link::new((worker, &welcome), counters, socket, turn, reports, on_room);
        link.send(&ToWorker::hello(Capabilities::ADOPT, welcome));
        self.links.borrow_mut().insert(worker, link.clone());
        spawn_local(LinkReader::new(self, link, is_first).run());
    }

    /// Replaces the snapshot of workers that take new work.
    pub fn set_offer(&self, workers: &[WorkerId]) {
        let links = self.links.borrow();
        self.offer.set(workers.iter().filter_map(|worker| links.get(worker).cloned()).collect());
        self.moves.look_again();
    }

    /// Asks a worker whether it is alive.
    pub fn ping(&self, worker: WorkerId) {
        self.tell(worker, &ToWorker::Ping { nonce: worker.0.into() });
    }

    /// Lets a worker finish and leave.
    pub fn shutdown(&self, worker: WorkerId) {
        if let Some(link) = self.link(worker) {
            link.let_go();
        }
    }

    pub(super) fn link(&self, worker: WorkerId) -> Option<Rc<Link>> {
        self.links.borrow().get(&worker).cloned()
    }

    /// Lets the reader of a connection go on if nothing speaks against it.
    pub(super) fn look_at_hold(&self, id: LeaseId) {
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = registry.get_mut(id) else { return };
        let too_much = self.keeper.is_full() && connection.state.is_kept();
        let held = connection.must_hold() || (too_much && !connection.state.is_idle());
        if std::mem::replace(&mut connection.held, held) != held {
            connection.socket.hold(held);
        }
        if held && let Some(link) = connection.link().filter(|link| link.is_over()) {
            link.hold(id);
        }
        if too_much && let Some(route) = registry.route(id) {
            self.keeper.wait(route);
        }
    }

    /// As [`Router::look_at_hold`], whatever the lease.
    pub(super) fn look_at_route(&self, route: Route) {
        let id = self.registry.borrow_mut().on_route(route).map(|(id, _)| id);
        if let Some(id) = id {
            self.look_at_hold(id);
        }
    }

    /// An accepted connection whose client has gone before it knew.
    pub(super) fn abandon(&self, route: Route) {
        let (code, reason) = (CloseCode::ABNORMAL, String::new());
        self.closed(route, Close { code, reason, was_clean: false });
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
                let mut registry = self.registry.borrow_mut();
                let accepted = registry.on_route(accepted.route);
                if let Some(link) = accepted.and_then(|(_, connection)| connection.link()) {
                    note_answer(link, took);
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
    type Route = Route;

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

    fn message(&self, route: Route, kind: MessageKind, data: &[u8]) {
        let mut registry = self.registry.borrow_mut();
        let Some((id, connection)) = registry.on_route(route) else { return };
        if connection.state.is_kept() {
            drop(registry);
            return self.keep(route, kind, data);
        }
        let Some((seq, open)) = connection.state.hand_over(data.len()) else { return };
        let Some(link) = connection.link() else { return };
        let again = Again::default();
        link.send_message(WsMessage { connection: id, seq, again, kind, data });
        link.tally.add_sized(
            OfWorker::MessagesReceived,
            OfWorker::MessageBytesReceived,
            data.len(),
        );
        let over = link.is_over();
        if over {
            link.hold(id);
        }
        if !open || over {
            connection.held = true;
            connection.socket.hold(true);
        }
    }

    fn is_idle(&self, route: Route) -> bool {
        let mut registry = self.registry.borrow_mut();
        registry.on_route(route).is_none_or(|(_, connection)| connection.state.is_idle())
    }

    fn pressure(&self, route: Route, over: bool) {
        let id = self.registry.borrow_mut().on_route(route).map(|(id, _)| id);
        if let Some(id) = id {
            self.press(id, over);
            self.look_at_hold(id);
        }
    }

    fn closed(&self, route: Route, close: Close) {
        self.share_channels_of(route.slot);
        let mut registry = self.registry.borrow_mut();
        // A socket outlives its entry when its worker has died: by now the slot, by which
        // subscriptions are kept, may be another's.
        if registry.on_route(route).is_none() {
            return;
        }
        self.channels.borrow_mut().unsubscribe_all(route.slot, &mut *registry);
        let Some((id, connection)) = registry.on_route(route) else { return };
        match connection.state.append_close(close.clone()) {
            Closing::Nothing => {}
            Closing::HandOver(seq) => {
                self.tell_closed(connection, &close);
                if let Some(link) = connection.link() {
                    let again = Again::default();
                    link.send(&ToWorker::Closed { connection: id, seq, again, close });
                }
            }
            Closing::Kept => {
                self.tell_closed(connection, &close);
                self.pump(&mut registry, id);
                drop(registry);
                self.seek(route);
            }
        }
    }

    fn refused(&self, why: Refused) {
        self.measures.tally.add(OfThread::of_refusal(why), 1);
    }
}

impl Router {
    /// Takes in a message of a connection that may move, and hands it over if somebody owns it.
    fn keep(&self, route: Route, kind: MessageKind, data: &[u8]) {
        let mut registry = self.registry.borrow_mut();
        let Some((id, connection)) = registry.on_route(route) else { return };
        if !connection.state.append(self.keeper.keep(kind, data), data.len()) {
            return;
        }
        // Counted when it comes, for whoever has the connection.
        if let Some(link) = connection.link() {
            let (messages, bytes) = (OfWorker::MessagesReceived, OfWorker::MessageBytesReceived);
            link.tally.add_sized(messages, bytes, data.len());
        }
        self.pump(&mut registry, id);
        drop(registry);
        self.look_at_hold(id);
        self.seek(route);
    }
}
