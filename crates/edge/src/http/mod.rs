//! HTTP, however it is framed: from a request to the backend and back.
//!
//! The walk of a request: `answer` -> `identity::identify` -> `headers::clean_request` -> `Backend::fetch` ->
//! `headers::clean_response`; of an upgrade: `answer` -> [`handshake::examine`] ->
//! `Backend::upgrade` -> a `Switch`, of which the connection makes a WebSocket.

mod access;
pub(crate) mod body;
mod forwarded;
mod headers;
mod identity;
mod origins;
mod proxies;

use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use ::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_PROTOCOL, TE, UPGRADE,
};
use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;

use self::access::Access;
pub(crate) use self::access::log_refused;
use self::body::Body;
pub(crate) use self::headers::is_for_proxies;
use self::identity::Names;
pub use self::origins::{AllowedOrigin, Origin};
pub use self::proxies::Proxy;
pub(crate) use self::proxies::trusts;
use crate::backend::{Accepted, Backend, Failure, Notes, Peer, Refused, Upgrade};
use crate::connection::{Admitted, Server};
use crate::http1::body::{BrokenBody, RequestBody};
pub use crate::http1::head::Limits;
use crate::lists;
use crate::ws::Socket;
use crate::ws::handshake::{self, ClientHandshake, Handshake, Refusal};

/// What an operator can set about requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether each request has its line in the log, and each end of a connection.
    pub access_log: bool,
    /// Proxies whose word about their clients is taken.
    pub trusted_proxies: Vec<Proxy>,
    /// Whether these say whose connection it is before all else, by the PROXY protocol.
    pub proxy_protocol: bool,
    /// Pages that may open WebSockets. An empty list allows those of the same host.
    pub allowed_origins: Vec<AllowedOrigin>,
    /// So many clients of one address and no more; trusted proxies do not count.
    pub clients_per_address: Option<u32>,
    /// How large the head of a request may be.
    pub head: Limits,
    /// The longest body of a request.
    pub max_body_bytes: Option<u64>,
    /// How long a client may take for the head of a request.
    pub header_timeout: Duration,
    /// How long a client may be quiet between two requests.
    pub keep_alive_timeout: Duration,
    /// How long a client may send nothing of what it has begun.
    pub read_timeout: Duration,
    /// How long a client may read nothing of what waits for it.
    pub write_timeout: Duration,
    /// What it means that a client ends its side while its request is answered.
    pub half_close: HalfClose,
}

/// What it means that a client ends its side while its request is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HalfClose {
    /// It has gone, and nobody wants the answer. Closing a socket sends the same as ending one side.
    #[default]
    Cancel,
    /// It has said all and waits for the answer. That it has gone shows when it is written to.
    Answer,
}

impl FromStr for HalfClose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cancel" => Ok(HalfClose::Cancel),
            "answer" => Ok(HalfClose::Answer),
            _ => Err("expected cancel or answer".to_owned()),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            access_log: false,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            allowed_origins: Vec::new(),
            clients_per_address: None,
            head: Limits { max_bytes: 64 * 1024, max_fields: 100 },
            max_body_bytes: None,
            header_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            read_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            half_close: HalfClose::Cancel,
        }
    }
}

/// The answer to a request.
pub(crate) enum Reply<B: Backend> {
    /// A response.
    Response(Response<Body<B::Body>>),
    /// The connection becomes a WebSocket.
    Switch(Switch<B>),
}

/// What becomes a WebSocket.
pub(crate) struct Switch<B: Backend> {
    /// Where its messages go.
    pub(crate) route: B::Route,
    pub(crate) socket: Socket,
    /// Of the 101.
    pub(crate) headers: HeaderMap,
}

/// Answers one request. Never fails: what goes wrong has a status.
pub(crate) async fn answer<B: Backend>(
    server: Rc<Server<B>>,
    mut request: Box<Request<RequestBody>>,
    admitted: Rc<Admitted>,
) -> Reply<B> {
    let settings = server.http();
    let (names, peer) = introduce(request.headers_mut(), &admitted, &settings.trusted_proxies);
    if !settings.access_log {
        drop(names);
        return respond(&server, request, peer, Notes::default()).await;
    }
    let notes = Notes::kept();
    let mut access = Box::new(Access::begin(&request, names, &peer, &notes));
    match respond(&server, request, peer, notes).await {
        Reply::Response(response) => {
            access.answered(response.status());
            Reply::Response(response.map(|body| body.logged(access)))
        }
        Reply::Switch(switch) => {
            access.answered(StatusCode::SWITCHING_PROTOCOLS);
            Reply::Switch(switch)
        }
    }
}

/// Says in the headers what the request is called and who asks. That is whoever was admitted, or the
/// client that a trusted proxy names. The port of the latter is not known, and is 0.
fn introduce(headers: &mut HeaderMap, admitted: &Admitted, proxies: &[Proxy]) -> (Names, Rc<Peer>) {
    let is_trusted = trusts(proxies, &admitted.peer);
    let names = identity::identify(headers, is_trusted);
    let told = is_trusted.then(|| forwarded::told(proxies, headers));
    let peer = match told.as_ref().and_then(|told| told.client) {
        Some(address) => Rc::new(Peer::new(Some((address, 0).into()))),
        None => admitted.peer.clone(),
    };
    headers::set_forwarded(headers, &admitted.peer, told);
    (names, peer)
}

async fn respond<B: Backend>(
    server: &Rc<Server<B>>,
    request: Box<Request<RequestBody>>,
    peer: Rc<Peer>,
    notes: Notes,
) -> Reply<B> {
    let has_body = !request.body().is_end_stream();
    let handshake = handshake::examine(request.method(), request.version(), request.headers());
    let brings = has_body || matches!(handshake, Handshake::Valid(_));
    if brings && server.turn.ledger().refuses() {
        server.backend.refused(Refused::OverMemory);
        return Reply::Response(short_of_memory());
    }
    let reply = match handshake {
        Handshake::None => fetch(server, request, peer, notes).await.map(Reply::Response),
        // What follows such a request is no WebSocket's yet: its bytes would be read as frames.
        Handshake::Valid(_) | Handshake::Refused(_) if has_body => {
            server.backend.refused(Refused::BadHandshake);
            Ok(Reply::Response(plain(StatusCode::BAD_REQUEST, "an upgrade has no body")))
        }
        Handshake::Valid(_)
            if !origins::allows(&server.http().allowed_origins, request.headers()) =>
        {
            server.backend.refused(Refused::ForeignOrigin);
            origins::log_refused(request.headers());
            let why = "pages of this origin may open no WebSocket here";
            Ok(Reply::Response(plain(StatusCode::FORBIDDEN, why)))
        }
        Handshake::Valid(offer) => upgrade(server, request, peer, notes, offer).await,
        Handshake::Refused(refusal) => {
            server.backend.refused(Refused::BadHandshake);
            Ok(Reply::Response(refused(refusal)))
        }
    };
    reply.unwrap_or_else(|failure| Reply::Response(failed(&failure)))
}

async fn fetch<B: Backend>(
    server: &Rc<Server<B>>,
    mut request: Box<Request<RequestBody>>,
    peer: Rc<Peer>,
    notes: Notes,
) -> Result<Response<Body<B::Body>>, Failure> {
    headers::clean_request(request.headers_mut());
    let mut response = server.backend.clone().fetch(request, peer, notes).await?;
    headers::clean_response(&mut response);
    Ok(response.map(Body::of_backend))
}

async fn upgrade<B: Backend>(
    server: &Rc<Server<B>>,
    mut request: Box<Request<RequestBody>>,
    peer: Rc<Peer>,
    notes: Notes,
    offer: ClientHandshake,
) -> Result<Reply<B>, Failure> {
    headers::clean_upgrade(request.headers_mut());
    let (parts, _) = request.into_parts();
    let parts = Box::new(parts);
    let socket = server.socket();
    match server.backend.clone().upgrade(parts, peer, notes, socket.clone()).await? {
        Upgrade::Declined(mut response) => {
            headers::clean_response(&mut response);
            Ok(Reply::Response(response.map(Body::of_backend)))
        }
        Upgrade::Accepted(accepted) => {
            let route = accepted.route;
            let headers = switching_headers(accepted, offer);
            Ok(Reply::Switch(Switch { route, socket, headers }))
        }
    }
}

fn switching_headers<Route>(accepted: Accepted<Route>, offer: ClientHandshake) -> HeaderMap {
    let mut response = Response::new(());
    *response.headers_mut() = accepted.headers;
    headers::clean_response(&mut response);
    let mut headers = std::mem::take(response.headers_mut());
    // A 101 has no body (RFC 9110 §8.6).
    headers.remove(CONTENT_LENGTH);
    // No extension is spoken here, so none may be agreed upon (RFC 6455 §9.1).
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, offer.accept);
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Some(protocol) = accepted.protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    headers
}

fn refused<Inner>(refusal: Refusal) -> Response<Body<Inner>> {
    let mut response = plain(refusal.status, refusal.why);
    for (name, value) in refusal.headers {
        response.headers_mut().append(name, value);
    }
    response
}

fn failed<Inner>(failure: &Failure) -> Response<Body<Inner>> {
    match failure {
        Failure::Unavailable { retry_after } | Failure::Crowded { retry_after } => {
            let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
            let seconds = HeaderValue::from(retry_after.as_secs().max(1));
            response.headers_mut().insert(::http::header::RETRY_AFTER, seconds);
            response
        }
        Failure::Body(broken) => {
            let (status, text) = of_broken_body(*broken);
            plain(status, text)
        }
        Failure::BadGateway(_) => plain(StatusCode::BAD_GATEWAY, "Bad Gateway"),
        Failure::TimedOut => plain(StatusCode::GATEWAY_TIMEOUT, "Gateway Timeout"),
    }
}

/// A request that brings nothing is answered all the same: operators look whether all is well.
fn short_of_memory<Inner>() -> Response<Body<Inner>> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "clients hold too much memory");
    response.headers_mut().insert(::http::header::RETRY_AFTER, RETRY_AFTER);
    response
}

fn of_broken_body(broken: BrokenBody) -> (StatusCode, &'static str) {
    match broken {
        BrokenBody::Gone | BrokenBody::Bad(_) => (StatusCode::BAD_REQUEST, "Bad Request"),
        BrokenBody::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "Content Too Large"),
        BrokenBody::TooSlow => (StatusCode::REQUEST_TIMEOUT, "Request Timeout"),
    }
}

fn plain<Inner>(status: StatusCode, text: &'static str) -> Response<Body<Inner>> {
    let mut response = Response::new(Body::text(text));
    *response.status_mut() = status;
    *response.headers_mut() = headers_of_plain(text);
    response
}

/// When whoever is turned away for want of memory may come again, in seconds.
pub(crate) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Of a response that says this.
pub(crate) fn headers_of_plain(text: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, PLAIN);
    headers.insert(CONTENT_LENGTH, text.len().into());
    headers
}

/// Whether the client wants to see the trailers of a response.
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    lists::names(headers, &TE, "trailers")
}
