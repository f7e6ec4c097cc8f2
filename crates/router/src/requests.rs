//! Requests under way: from the head on the link to the end of the response.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use hyper::body::Incoming;
use shovel_edge::ws::Socket;
use shovel_edge::{Accepted, Client, Failure, Notes};
use shovel_protocol::control::{Headers, OfferedConnection, RequestHead, ResponseHead};
use shovel_protocol::{LeaseId, RequestId, ToWorker};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::body::{Download, Length, ResponseBody};
use super::counts::OfWorker;
use super::inspect::Origin;
use super::link::{Counters, Holding, Link};
use super::quarantine::Doing;
use super::registry::{Late, Route};
use super::router::Router;
use super::upload::Upload;
use crate::BODY_WINDOW_BYTES;

/// A request that a worker has.
pub struct Request {
    pub holding: Holding,
    /// Until the head of the response has come.
    doing: Option<Doing>,
    /// Whoever waits for the head of the response; gone once it has come.
    pub waiting: Option<oneshot::Sender<Outcome>>,
    /// The body of the response, once it has begun.
    pub download: Option<Rc<Download>>,
    /// The body of the request, while it is being passed on.
    pub upload: Option<Upload>,
    /// The connection that was reserved, if it offers an upgrade.
    pub connection: Option<LeaseId>,
    pub is_head: bool,
    _asked: Asked,
}

/// That a worker has a request, for all threads to see.
struct Asked(Arc<Counters>);

impl Asked {
    fn new(link: &Link) -> Self {
        link.counters.asked.fetch_add(1, Ordering::Relaxed);
        Asked(link.counters.clone())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What came of a request.
pub enum Outcome {
    /// The worker answered.
    Response(Response<ResponseBody>),
    /// The worker accepted the upgrade.
    Accepted(Accepted<Route>),
    /// The worker died before it answered.
    WorkerGone,
    /// There will be no answer that can be passed on.
    Failed(Failure),
}

/// What a client asks for.
pub struct Question {
    pub parts: Parts,
    pub client: Rc<Client>,
    /// Where to note who has it.
    pub notes: Notes,
    /// `None` if there is none, or it is known to be empty.
    pub body: Option<Incoming>,
    /// Set if it offers an upgrade.
    pub socket: Option<Socket>,
}

impl Router {
    /// Asks a worker. A request that changes nothing when it is repeated, and of which no body was
    /// sent, is asked once more if its worker dies.
    pub async fn ask(self: &Rc<Self>, mut question: Question) -> Result<Outcome, Failure> {
        let settings = self.settings.get();
        let timeout = match question.socket {
            Some(_) => settings.upgrade_timeout,
            None => settings.request_timeout,
        };
        let mut may_retry = question.parts.method.is_idempotent() && question.body.is_none();
        let mut deadline = None;
        loop {
            if self.offer.is_empty() {
                self.want_work();
            }
            let link = self.offer.pick(settings.queue_timeout).await?;
            self.want_help(&link);
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout);
            let (mut pending, answer) = Pending::begin(self, &link, &mut question);
            match timeout_at(deadline, answer).await {
                Err(_elapsed) => {
                    pending.time_out();
                    return Err(Failure::TimedOut);
                }
                Ok(Ok(Outcome::WorkerGone)) if may_retry => may_retry = false,
                Ok(Ok(Outcome::WorkerGone)) => return Err(Failure::BadGateway("worker lost")),
                Ok(Ok(Outcome::Failed(failure))) => return Err(failure),
                Ok(Ok(outcome)) => {
                    pending.done();
                    return Ok(outcome);
                }
                Ok(Err(_dropped)) => return Err(Failure::BadGateway("request given up")),
            }
        }
    }

    /// The client of a request has gone, or has had enough: the worker need not go on.
    pub fn cancel(&self, id: RequestId) {
        if let Some(request) = self.take_request(id, Late::ClientGone) {
            request.holding.link().send(&ToWorker::Cancel { request: id });
        }
    }

    /// Nobody can go on with a request, neither its client nor its worker.
    pub fn fail(&self, id: RequestId, failure: Failure) {
        if let Some(mut request) = self.take_request(id, Late::ClientGone) {
            request.holding.link().send(&ToWorker::Cancel { request: id });
            if let Some(download) = &request.download {
                download.abort("the request was given up");
            }
            request.answer(Outcome::Failed(failure));
        }
    }

    /// Forgets a request, and the connection that was reserved with it.
    pub fn take_request(&self, id: RequestId, late: Late) -> Option<Request> {
        let request = self.requests.borrow_mut().remove(id.0)?;
        if let Some(connection) = request.connection {
            self.registry.borrow_mut().give_up(connection, late);
        }
        Some(request)
    }

    fn count_request(&self, link: &Link) {
        use std::sync::atomic::Ordering;
        link.tally.add(OfWorker::Requests, 1);
        let before = link.counters.requests.fetch_add(1, Ordering::Relaxed);
        // At each multiple, so that a limit that was lowered is met too.
        let max_requests = self.settings.get().max_requests;
        if max_requests.is_some_and(|max| (before + 1).is_multiple_of(max)) {
            self.reports.send(super::FromThread::HadItsRequests { worker: link.worker });
        }
    }
}

impl Request {
    /// Tells whoever waits for the head.
    pub fn answer(&mut self, outcome: Outcome) {
        self.doing = None;
        if let Some(waiting) = self.waiting.take() {
            // Whoever does not wait any more has cancelled.
            let _ = waiting.send(outcome);
        }
    }
}

/// A request without a response yet. Dropped as it is, its client has gone.
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
        question: &mut Question,
    ) -> (Self, oneshot::Receiver<Outcome>) {
        router.count_request(link);
        let (waiting, answer) = oneshot::channel();
        let is_head = question.parts.method == Method::HEAD;
        let id = RequestId(router.requests.borrow_mut().insert_with(|_| Request {
            holding: Holding::new(link),
            doing: Some(Doing::new(link)),
            waiting: Some(waiting),
            download: None,
            upload: None,
            connection: None,
            is_head,
            _asked: Asked::new(link),
        }));
        let connection = question.socket.as_ref().map(|socket| {
            let origin = Origin::new(&question.client, target(&question.parts));
            let mut registry = router.registry.borrow_mut();
            registry.reserve(Holding::new(link), socket.clone(), id, origin)
        });
        let route = connection.and_then(|id| router.registry.borrow().route(id));
        let offer = connection.and_then(|connection| {
            Some((connection, router.registry.borrow().get(connection)?.uuid))
        });
        question.notes.served_by(link.worker.0, offer.map(|(_, uuid)| uuid));
        let offer = offer.map(|(connection, uuid)| {
            let (connection, uuid) = (connection.to_wire(), *uuid.0.as_bytes());
            OfferedConnection { connection, uuid }
        });
        let body = question.body.take();
        let head = request_head(&question.parts, &question.client, offer);
        if let Some(connection) = connection.filter(|_| link.adopts()) {
            router.registry.borrow_mut().note_handshake(connection, &head);
        }
        link.send(&ToWorker::Request { request: id, head, end: body.is_none() });
        let upload = body
            .map(|body| Upload::start(router.clone(), link.clone(), id, body, BODY_WINDOW_BYTES));
        if let Some(request) = router.requests.borrow_mut().get_mut(id.0) {
            request.connection = connection;
            request.upload = upload;
        }
        (Pending { router, request: id, route, done: false }, answer)
    }

    /// The response has begun; it cancels for itself from here on.
    fn done(&mut self) {
        self.done = true;
    }

    /// No answer in time. A worker that may still upgrade is not told: it gets its answer when it
    /// does.
    fn time_out(&mut self) {
        // Without a request it was answered in this very turn, and dropping gives that answer up.
        let Some(taken) = self.router.take_request(self.request, Late::TimedOut) else { return };
        self.done = true;
        if taken.connection.is_none() {
            taken.holding.link().send(&ToWorker::Cancel { request: self.request });
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.router.cancel(self.request);
        if let Some(route) = self.route {
            // Accepted in this very turn, and its client has gone before it could be told.
            self.router.abandon(route);
        }
    }
}

fn request_head<'a>(
    parts: &'a Parts,
    client: &'a Client,
    offer: Option<OfferedConnection>,
) -> RequestHead<'a> {
    let version = match parts.version {
        Version::HTTP_09 | Version::HTTP_10 => 10,
        Version::HTTP_2 => 20,
        _ => 11,
    };
    RequestHead {
        method: parts.method.as_str(),
        target: target(parts),
        version,
        headers: headers(&parts.headers),
        client: &client.text,
        offer,
    }
}

/// Path and query; for other forms of the target what there is of it (RFC 9112 §3.2).
fn target(parts: &Parts) -> &str {
    match parts.uri.path_and_query() {
        Some(target) => target.as_str(),
        None => parts.uri.authority().map_or("*", |authority| authority.as_str()),
    }
}

/// As they stand in a frame.
pub fn headers(headers: &HeaderMap) -> Headers<'_> {
    Headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect())
}

/// As a worker sent them; `None` if a name or value may not stand in a header, or if there are more
/// than a map takes (which panics if it is not asked first).
pub fn header_map(headers: &Headers<'_>) -> Option<HeaderMap> {
    let mut map = HeaderMap::try_with_capacity(headers.0.len()).ok()?;
    for (name, value) in &headers.0 {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        map.try_append(name, HeaderValue::from_bytes(value).ok()?).ok()?;
    }
    Some(map)
}

/// The head of a response as hyper takes it, and how long its body must be.
///
/// # Errors
/// Why it cannot be passed on.
pub fn response_head(
    head: &ResponseHead<'_>,
    is_head: bool,
) -> Result<(Response<()>, Length), &'static str> {
    let status = StatusCode::from_u16(head.status).ok();
    let status = status.filter(|status| !status.is_informational()).ok_or("impossible status")?;
    let mut headers = header_map(&head.headers).ok_or("header that is none")?;
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => Length::Unknown,
        (Some(one), None) => {
            // `parse` alone would take "+5" (RFC 9110 §8.6).
            let digits = one.to_str().ok().filter(|text| text.bytes().all(|c| c.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse().ok());
            Length::Bytes(length.ok_or("Content-Length that is none")?)
        }
        (Some(_), Some(_)) => return Err("several Content-Lengths"),
    };
    let length = match (length, status) {
        (Length::Bytes(_), StatusCode::NO_CONTENT) => {
            // RFC 9110 §8.6 does not allow it there.
            headers.remove(CONTENT_LENGTH);
            Length::Unknown
        }
        (Length::Bytes(_), StatusCode::NOT_MODIFIED) => Length::OfAnother,
        (Length::Bytes(_), _) if is_head => Length::OfAnother,
        (length, _) => length,
    };
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok((response, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, lines: &[(&str, &str)]) -> Result<(Response<()>, Length), &'static str> {
        let headers = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        response_head(&ResponseHead { status, headers: Headers(headers) }, false)
    }

    #[test]
    fn more_headers_than_a_map_takes_are_refused() {
        assert!(read(200, &[("a", "b"); 10]).is_ok());
        assert!(read(200, &[("a", "b"); 50_000]).is_err());
    }

    #[test]
    fn only_digits_are_a_length() {
        assert_eq!(read(200, &[("content-length", "5")]).unwrap().1, Length::Bytes(5));
        for text in ["+5", "-5", "5 ", "5,5", "", "0x5", "99999999999999999999"] {
            assert!(read(200, &[("content-length", text)]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_length_stands_only_where_it_may() {
        let (response, length) = read(204, &[("content-length", "5")]).unwrap();
        assert!(!response.headers().contains_key(CONTENT_LENGTH));
        assert_eq!(length, Length::Unknown);
        assert_eq!(read(304, &[("content-length", "5")]).unwrap().1, Length::OfAnother);
    }
}
