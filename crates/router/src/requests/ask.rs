//! Gives requests to workers, and waits for what comes of them.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant as Clock};

use http::Method;
use http::header::EXPECT;
use http::request::Parts;
use shovel_core::custody::{LateUpgrade, Route};
use shovel_edge::ws::{Socket, handshake};
use shovel_edge::{Failure, Notes, Peer, RequestBody, stall};
use shovel_protocol::control::OfferedConnection;
use shovel_protocol::{RequestId, ToWorker};
use tokio::sync::oneshot;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::body::Cancel;
use super::head::{request_head, target};
use super::table::{Outcome, Request};
use super::upload::Upload;
use crate::BODY_WINDOW_BYTES;
use crate::clients::client::{Client, Opening};
use crate::counts::{OfThread, OfWorker};
use crate::driver::FromThread;
use crate::links::link::Link;
use crate::router::Router;

/// What a client asks for.
pub struct ClientRequest {
    pub parts: Box<Parts>,
    pub peer: Rc<Peer>,
    /// Where to note who has it.
    pub notes: Notes,
    /// `None` if there is none, or it is known to be empty.
    pub body: Option<RequestBody>,
    /// Set if it offers an upgrade.
    pub socket: Option<Socket>,
}

impl Router {
    /// Asks a worker, and notes what came of it and how long that took.
    pub(crate) async fn measure(
        self: &Rc<Self>,
        request: ClientRequest,
    ) -> Result<Outcome, Failure> {
        let began = Clock::now();
        let outcome = self.ask(request).await;
        let took = began.elapsed();
        let measures = &self.measures;
        let status = match &outcome {
            Ok(Outcome::Response(response)) => {
                note_answer(response.body().link(), took);
                response.status().as_u16()
            }
            Ok(Outcome::Accepted(accepted)) => {
                let custody = self.custody.borrow();
                let accepted = custody.on_route(accepted.route);
                let owner = accepted.and_then(|(_, connection)| connection.owner());
                if let Some(link) = owner.and_then(|owner| custody.worker(owner)) {
                    note_answer(link, took);
                }
                101
            }
            Ok(Outcome::WorkerGone | Outcome::WorkerLate | Outcome::Failed(_)) => 502,
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

    /// Asks a worker. A request that changes nothing when it is repeated, and of which no body was
    /// sent, is asked again if its worker dies, or asked of another while its worker is late. Once in
    /// all: it may be the reason.
    async fn ask(self: &Rc<Self>, mut request: ClientRequest) -> Result<Outcome, Failure> {
        let (timeout, queue_timeout) = {
            let settings = self.settings.get();
            let is_upgrade = request.socket.is_some();
            let timeout =
                if is_upgrade { settings.upgrade_timeout } else { settings.request_timeout };
            (timeout, settings.queue_timeout)
        };
        let mut may_ask_again = request.parts.method.is_idempotent() && request.body.is_none();
        let mut deadline = None;
        loop {
            let link = self.pick(queue_timeout).await?;
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout);
            // The handler of an upgrade would run in both workers, and one of its connections be withdrawn.
            let may_ask_another = may_ask_again && request.socket.is_none();
            let (mut pending, answer) = Pending::begin(self, &link, &mut request, may_ask_another);
            match pending.answered(answer, deadline, timeout).await {
                Err(_elapsed) => {
                    pending.time_out();
                    return Err(Failure::TimedOut);
                }
                Ok(Ok(Outcome::WorkerGone | Outcome::WorkerLate)) if may_ask_again => {
                    may_ask_again = false;
                }
                Ok(Ok(Outcome::WorkerGone | Outcome::WorkerLate)) => {
                    return Err(Failure::BadGateway("worker lost"));
                }
                Ok(Ok(Outcome::Failed(failure))) => return Err(failure),
                Ok(Ok(Outcome::Response(response))) => {
                    pending.done();
                    return response.body().check().map(|()| Outcome::Response(response));
                }
                Ok(Ok(outcome)) => {
                    pending.done();
                    return Ok(outcome);
                }
                Ok(Err(_dropped)) => return Err(Failure::BadGateway("request broken off")),
            }
        }
    }

    /// The least busy worker; asks for one as long as there is none.
    async fn pick(self: &Rc<Self>, timeout: Duration) -> Result<Rc<Link>, Failure> {
        let pick = || {
            let mut custody = self.custody.borrow_mut();
            let picked = custody.pick(self.now());
            if picked.is_none() {
                custody.want_work(self.now());
            }
            let link = picked.and_then(|worker| custody.worker(worker)).map(|its| its.0.clone());
            drop(custody);
            self.go_on_if_needed();
            link
        };
        self.queue.pick(timeout, pick).await
    }

    fn count_request(&self, link: &Link) {
        link.tally.add(OfWorker::Requests, 1);
        let before = link.cell.requests.fetch_add(1, Ordering::Relaxed);
        // At each multiple, so that a limit which was lowered meanwhile is noticed too.
        let max_requests = self.settings.get().max_requests;
        if max_requests.is_some_and(|max| (before + 1).is_multiple_of(max)) {
            self.news.send(FromThread::HadItsRequests { worker: link.worker });
        }
    }
}

/// A request without a response yet. Dropping it means that its client has gone.
struct Pending<'a> {
    router: &'a Rc<Router>,
    request: RequestId,
    route: Option<Route>,
    done: bool,
}

impl<'a> Pending<'a> {
    fn begin(
        router: &'a Rc<Router>,
        link: &Rc<Link>,
        request: &mut ClientRequest,
        may_ask_another: bool,
    ) -> (Self, oneshot::Receiver<Outcome>) {
        router.count_request(link);
        let (waiting, answer) = oneshot::channel();
        let is_head = request.parts.method == Method::HEAD;
        let id = RequestId(router.requests.borrow_mut().insert_with(|_| Request {
            link: link.clone(),
            waiting: Some(waiting),
            download: None,
            upload: None,
            connection: None,
            is_head,
            may_ask_another,
            protocols: match request.socket {
                Some(_) => handshake::protocols(&request.parts.headers),
                None => Vec::new(),
            },
        }));
        let mut custody = router.custody.borrow_mut();
        custody.begin_request(link.worker);
        link.cell.requests_under_way.fetch_add(1, Ordering::Relaxed);
        let offer = request.socket.as_ref().map(|socket| {
            let opening = Opening::new(&request.peer, target(&request.parts));
            let client = Client::new(socket.clone(), opening);
            let uuid = client.uuid;
            (custody.reserve(client, link.worker, id), uuid)
        });
        let connection = offer.map(|(connection, _)| connection);
        let route = connection.and_then(|connection| custody.route(connection));
        request.notes.served_by(link.worker.0, offer.map(|(_, uuid)| uuid));
        let offer = offer.map(|(connection, uuid)| {
            let (connection, uuid) = (connection.to_wire(), *uuid.0.as_bytes());
            OfferedConnection { connection, uuid }
        });
        let body = request.body.take();
        let is_awaited = link.cell.continues.load(Ordering::Relaxed)
            && request.parts.headers.contains_key(EXPECT);
        let head = request_head(&request.parts, &request.peer, offer);
        let adopts = link.cell.adopts.load(Ordering::Relaxed);
        let client = connection.filter(|_| adopts).and_then(|its| custody.client_mut(its));
        if let Some(client) = client {
            client.note_handshake(&head);
        }
        drop(custody);
        link.send(&ToWorker::Request { request: id, head, end: body.is_none() });
        let upload = body.map(|body| {
            let asked = router.clone();
            let break_off = move |broken| asked.fail(id, Failure::Body(broken));
            Upload::start(link.clone(), id, (body, is_awaited), BODY_WINDOW_BYTES, break_off)
        });
        if let Some(request) = router.requests.borrow_mut().get_mut(id.0) {
            request.connection = connection;
            request.upload = upload;
        }
        (Pending { router, request: id, route, done: false }, answer)
    }

    /// What comes of it, in time. The time is the worker's: while its client has it wait for the body, it
    /// does not run, and then begins anew. How long a client may do that, its connection decides.
    async fn answered(
        &self,
        mut answer: oneshot::Receiver<Outcome>,
        mut deadline: Instant,
        timeout: Duration,
    ) -> Result<Result<Outcome, oneshot::error::RecvError>, Elapsed> {
        let mut had_respite = false;
        loop {
            match timeout_at(deadline, &mut answer).await {
                Ok(outcome) => return Ok(outcome),
                Err(late) => {
                    let until = self.client_until().filter(|until| *until + timeout > deadline);
                    let respite = stall::respite(deadline).filter(|_| !had_respite);
                    had_respite = respite.is_some();
                    deadline = until.map(|until| until + timeout).or(respite).ok_or(late)?;
                }
            }
        }
    }

    /// Until when the client has had its worker wait. A request that has no body has not.
    fn client_until(&self) -> Option<Instant> {
        let requests = self.router.requests.borrow();
        let upload = requests.get(self.request.0)?.upload.as_ref();
        upload.map(Upload::client_until)
    }

    /// The response has begun; it cancels for itself from here on.
    fn done(&mut self) {
        self.done = true;
    }

    /// No answer in time. A worker that may still upgrade is not told: it gets its answer when it
    /// does.
    fn time_out(&mut self) {
        // Without a request it was answered in this very turn, and dropping this drops that answer.
        let Some(taken) = self.router.take_request(self.request, LateUpgrade::TimedOut) else {
            return;
        };
        self.done = true;
        if taken.connection.is_none() {
            taken.link.cancel(self.request);
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.router.clone().cancel(self.request);
        if let Some(route) = self.route {
            // Accepted in this very turn, and its client has gone before it could be told.
            self.router.abandon(route);
        }
    }
}

fn note_answer(link: &Link, took: Duration) {
    link.tally.add(OfWorker::Answers, 1);
    link.tally.add(OfWorker::AnswerMicros, took.as_micros() as u64);
}
