//! What the edge needs of whoever stands behind it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use shovel_protocol::{Close, ConnectionUuid, MessageKind};

use crate::http1::body::{BrokenBody, RequestBody};
use crate::ws::Socket;

/// An error of a response's body: the client must not take what it has for whole.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Where requests and messages go. The router hands them to workers.
///
/// One backend serves one thread. Its methods are called within that thread's turns and must not
/// call back into the edge's reading side.
pub trait Backend: 'static {
    /// The body of a response.
    type Body: http_body::Body<Data = Bytes, Error = BodyError> + Unpin + 'static;

    /// How the backend finds an accepted connection again; cheap to copy.
    type Route: Copy + 'static;

    /// Answers a request. Dropping the future means that the client has gone.
    fn fetch(
        self: Rc<Self>,
        request: Box<Request<RequestBody>>,
        peer: Rc<Peer>,
        notes: Notes,
    ) -> impl Future<Output = Result<Response<Self::Body>, Failure>>;

    /// Answers a request that offers an upgrade: with a response, or by accepting it. What is sent
    /// on `socket` meanwhile goes out after the 101. Dropping the future means that the client has
    /// gone.
    fn upgrade(
        self: Rc<Self>,
        request: Box<Parts>,
        peer: Rc<Peer>,
        notes: Notes,
        socket: Socket,
    ) -> impl Future<Output = Result<Answer<Self>, Failure>>;

    /// Takes a message. It is always taken; whether more may come is said by [`Socket::pause`].
    fn message(self: &Rc<Self>, route: Self::Route, kind: MessageKind, data: &[u8]);

    /// Whether everything taken of this connection has been handled.
    fn is_idle(&self, route: Self::Route) -> bool;

    /// The outbox went over its limit (`true`) or well below it again.
    fn pressure(&self, route: Self::Route, over: bool);

    /// Nothing waits for the client any more, or did not for a moment: [`Socket::await_empty`] asked.
    fn emptied(&self, route: Self::Route);

    /// The socket has ended; called once per accepted connection.
    fn closed(self: &Rc<Self>, route: Self::Route, close: Close);

    /// A client has begun to ask for something (`true`), or has got all that it asked for by now. The
    /// next request may have been read by then, so that it is no moment to be without anybody who could
    /// answer.
    fn asks(self: &Rc<Self>, is_asking: bool);

    /// Somebody was turned away before this backend was asked.
    fn refused(&self, why: Refused);

    /// Something was done to a client since clients hold much memory.
    fn relieved(&self, how: Relief);

    /// A client is not read on for now, since it sends more messages than it may in a second.
    fn held_back(&self);
}

/// What is done to a client when clients hold much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relief {
    /// It is not read for now.
    NotRead,
    /// Its WebSocket is closed.
    ClosedConnection,
    /// Its request is broken off, or answered 503 if no answer had begun.
    ClosedRequest,
}

/// Why a client, or its request, was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many clients of its address: 429.
    OverAddressLimit,
    /// A page of an origin that may open no WebSocket: 403.
    ForeignOrigin,
    /// An upgrade that breaks the rules of WebSockets: 400 or 426.
    BadHandshake,
    /// What is no head of a request, too long a one, or one of what is not done here: 400, 405, 413, 414,
    /// 417, 431, 501 or 505.
    BadHead,
    /// No whole head of a request in time: 408.
    SlowHead,
    /// Clients hold all the memory that they may: 503 with `Retry-After`.
    OverMemory,
}

/// A response, or an upgrade.
pub type Answer<B> = Upgrade<<B as Backend>::Body, <B as Backend>::Route>;

/// What becomes of an offered upgrade.
#[derive(Debug)]
pub enum Upgrade<Body, Route> {
    /// The app answers something else; passed on unchanged.
    Declined(Response<Body>),
    /// The connection is accepted, and already known under `route`.
    Accepted(Accepted<Route>),
}

/// What goes into the 101.
#[derive(Debug)]
pub struct Accepted<Route> {
    /// Where its messages go.
    pub route: Route,
    /// One of those that were offered.
    pub protocol: Option<HeaderValue>,
    /// More headers, such as cookies.
    pub headers: HeaderMap,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody can take the request now: 503 with `Retry-After`.
    #[error("no worker is ready")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// So many wait for somebody to take their request that one more may not: 503 with
    /// `Retry-After`.
    #[error("too many requests wait already")]
    Crowded {
        /// When to try again.
        retry_after: Duration,
    },
    /// Whoever had the request broke off or answered nonsense: 502.
    #[error("{0}")]
    BadGateway(&'static str),
    /// The body of the request does not become whole: 400, 408 or 413.
    #[error(transparent)]
    Body(#[from] BrokenBody),
    /// No answer within the timeout: 504.
    #[error("the answer did not come in time")]
    TimedOut,
}

/// Who a client is: the other end of its socket, or whom the trusted proxy there names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `None` for a client on a Unix socket.
    pub address: Option<SocketAddr>,
    /// `address` as text; empty without one.
    pub text: String,
}

impl Peer {
    /// A client with this address.
    pub fn new(address: Option<SocketAddr>) -> Self {
        let text = address.map(|address| address.to_string()).unwrap_or_default();
        Peer { address, text }
    }

    /// Its IP address as text, without a port, brackets or the scope of a link-local one.
    pub(crate) fn ip(&self) -> Option<&str> {
        let (ip, _port) = self.text.rsplit_once(':')?;
        let Some(ip) = ip.strip_prefix('[') else { return Some(ip) };
        ip.split([']', '%']).next()
    }
}

/// What a backend notes of a request, for the access log. Where none is kept, nothing is noted.
#[derive(Clone, Debug, Default)]
pub struct Notes(Option<Rc<Cell<Note>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Note {
    worker: Option<u32>,
    connection: Option<ConnectionUuid>,
}

impl Notes {
    /// Notes that are read.
    pub(crate) fn kept() -> Self {
        Notes(Some(Rc::default()))
    }

    /// Who answers it (in the pool, which worker), and the connection that it may become.
    pub fn served_by(&self, worker: u32, connection: Option<ConnectionUuid>) {
        if let Some(note) = &self.0 {
            note.set(Note { worker: Some(worker), connection });
        }
    }

    pub(crate) fn worker(&self) -> Option<u32> {
        self.note().worker
    }

    pub(crate) fn connection(&self) -> Option<ConnectionUuid> {
        self.note().connection
    }

    fn note(&self) -> Note {
        self.0.as_ref().map(|note| note.get()).unwrap_or_default()
    }
}
