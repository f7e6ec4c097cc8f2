//! HTTP: from hyper to the backend and back.
//!
//! The walk of a request: `answer` -> `identity::identify` -> `headers::clean_request` -> `Backend::fetch` ->
//! `headers::clean_response`; of an upgrade: `answer` -> [`handshake::examine`] ->
//! `Backend::upgrade` -> the 101 -> a reader task of [`crate::ws`].

mod access;
mod body;
mod headers;
mod identity;
mod origins;
pub(crate) mod patience;
mod proxies;

use std::rc::Rc;

use ::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use ::http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use shovel_protocol::{Close, CloseCode};

use self::access::Access;
use self::body::Body;
pub use self::origins::{AllowedOrigin, Origin};
use self::patience::{Patience, Watched};
pub use self::proxies::Proxy;
pub(crate) use self::proxies::trusts;
use crate::backend::{Accepted, Backend, Failure, Notes, Peer, Refused, Upgrade};
use crate::connection::{Admitted, Server};
use crate::ws::handshake::{self, Handshake, Offer, Refusal};
use crate::ws::reader::Reader;
use crate::ws::{Socket, Why};

/// What an operator can set about requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether each request has its line in the log, and each end of a connection.
    pub access_log: bool,
    /// Proxies whose word about their clients is taken.
    pub trusted_proxies: Vec<Proxy>,
    /// Pages that may open WebSockets. An empty list allows those of the same host.
    pub allowed_origins: Vec<AllowedOrigin>,
    /// So many clients of one address and no more; trusted proxies do not count.
    pub clients_per_address: Option<u32>,
}

/// Answers one request. Never fails: what goes wrong has a status.
pub(crate) async fn answer<B: Backend>(
    server: Rc<Server<B>>,
    mut request: Request<Incoming>,
    admitted: Rc<Admitted>,
    patience: Patience,
) -> Result<Response<Body<B::Body>>, std::convert::Infallible> {
    let busy = patience.begin();
    let settings = server.http();
    let is_trusted = trusts(&settings.trusted_proxies, &admitted.peer);
    let names = identity::identify(request.headers_mut(), is_trusted);
    let peer = peer_of(&admitted, is_trusted, &settings, &request);
    headers::set_forwarded(request.headers_mut(), &admitted.peer, is_trusted);
    if !settings.access_log {
        let response = respond(&server, request, &admitted, peer, Notes::default()).await;
        return Ok(response.map(|body| body.keeping(busy)));
    }
    let notes = Notes::kept();
    let mut access = Box::new(Access::begin(&request, names, &peer, &notes));
    let response = respond(&server, request, &admitted, peer, notes).await;
    access.answered(response.status());
    Ok(response.map(|body| body.keeping(busy).logged(access)))
}

/// Who asks: whoever was admitted, or the client that a trusted proxy names. The port of the latter is
/// not known, and is 0.
fn peer_of(
    admitted: &Admitted,
    is_trusted: bool,
    settings: &Settings,
    request: &Request<Incoming>,
) -> Rc<Peer> {
    let behind = || proxies::client_behind(&settings.trusted_proxies, request.headers());
    match is_trusted.then(behind).flatten() {
        Some(address) => Rc::new(Peer::new(Some((address, 0).into()))),
        None => admitted.peer.clone(),
    }
}

async fn respond<B: Backend>(
    server: &Rc<Server<B>>,
    request: Request<Incoming>,
    admitted: &Rc<Admitted>,
    peer: Rc<Peer>,
    notes: Notes,
) -> Response<Body<B::Body>> {
    if !headers::names_its_host(request.version(), request.headers()) {
        server.backend.refused(Refused::BadHead);
        return plain(StatusCode::BAD_REQUEST, "the Host header must be given once");
    }
    let handshake = handshake::examine(request.method(), request.version(), request.headers());
    let response = match handshake {
        Handshake::None => fetch(server, request, peer, notes).await,
        Handshake::Offer(_)
            if !origins::allows(&server.http().allowed_origins, request.headers()) =>
        {
            server.backend.refused(Refused::ForeignOrigin);
            origins::log_refused(request.headers());
            Ok(plain(StatusCode::FORBIDDEN, "pages of this origin may open no WebSocket here"))
        }
        Handshake::Offer(offer) => upgrade(server, request, admitted, peer, notes, offer).await,
        Handshake::Refused(refusal) => {
            server.backend.refused(Refused::BadHandshake);
            Ok(refused(refusal))
        }
    };
    response.unwrap_or_else(|failure| failed(&failure))
}

async fn fetch<B: Backend>(
    server: &Rc<Server<B>>,
    mut request: Request<Incoming>,
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
    mut request: Request<Incoming>,
    admitted: &Rc<Admitted>,
    peer: Rc<Peer>,
    notes: Notes,
    offer: Offer,
) -> Result<Response<Body<B::Body>>, Failure> {
    let upgraded = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let socket = server.socket();
    match server.backend.clone().upgrade(parts, peer, notes, socket.clone()).await? {
        Upgrade::Declined(mut response) => {
            headers::clean_response(&mut response);
            Ok(response.map(Body::of_backend))
        }
        Upgrade::Accepted(accepted) => {
            let route = accepted.route;
            let response = switching_protocols(accepted, offer);
            server.spawn_reader(run(server.clone(), admitted.clone(), upgraded, route, socket));
            Ok(response)
        }
    }
}

/// Waits until the 101 has gone out, then reads the WebSocket to its end. Until then its client
/// keeps its place.
async fn run<B: Backend>(
    server: Rc<Server<B>>,
    _admitted: Rc<Admitted>,
    upgraded: OnUpgrade,
    route: B::Route,
    socket: Socket,
) {
    let upgraded = match upgraded.await {
        Ok(upgraded) => upgraded.downcast::<TokioIo<Watched>>(),
        Err(_client_has_gone) => {
            let (code, reason) = (CloseCode::ABNORMAL, String::new());
            socket.end(Why::Gone);
            return server.backend.closed(route, Close { code, reason, was_clean: false });
        }
    };
    let Ok(parts) = upgraded else {
        unreachable!("hyper gives back the stream that it was given");
    };
    let transport = parts.io.into_inner().into_inner();
    let (backend, already_read) = (server.backend.clone(), parts.read_buf);
    let settings = server.settings();
    Reader::new(backend, route, socket, transport, already_read, &settings).run().await;
}

fn switching_protocols<Route, Inner>(
    accepted: Accepted<Route>,
    offer: Offer,
) -> Response<Body<Inner>> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = accepted.headers;
    headers::clean_response(&mut response);
    let headers = response.headers_mut();
    // No extension is spoken here, so none may be agreed upon (RFC 6455 §9.1).
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, offer.accept);
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Some(protocol) = accepted.protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
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
        Failure::BadRequest => plain(StatusCode::BAD_REQUEST, "Bad Request"),
        Failure::BadGateway(_) => plain(StatusCode::BAD_GATEWAY, "Bad Gateway"),
        Failure::TimedOut => plain(StatusCode::GATEWAY_TIMEOUT, "Gateway Timeout"),
    }
}

fn plain<Inner>(status: StatusCode, text: &'static str) -> Response<Body<Inner>> {
    let mut response = Response::new(Body::text(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(::http::header::CONTENT_TYPE, plain);
    response
}
