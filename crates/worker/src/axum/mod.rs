//! An ordinary [`axum::Router`] as an app.
//!
//! ```no_run
//! use axum::Router;
//! use axum::response::Response;
//! use axum::routing::{any, get};
//! use shovel_worker::axum::{WebSocket, WebSocketUpgrade};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), shovel_worker::RunError> {
//!     let router = Router::new().route("/", get(async || "hello\n")).route("/echo", any(upgrade));
//!     shovel_worker::serve(router).await
//! }
//!
//! async fn upgrade(upgrade: WebSocketUpgrade) -> Response {
//!     upgrade.on_upgrade(echo)
//! }
//!
//! async fn echo(mut socket: WebSocket) {
//!     while let Some(Ok(message)) = socket.recv().await {
//!         if socket.send(message).await.is_err() {
//!             return;
//!         }
//!     }
//! }
//! ```
//!
//! State, extractors, middleware, nested Routers and fallbacks are axum's own and work as ever. In
//! the extensions of each request are, beside what axum puts there,
//!
//! - [`ConnectInfo<SocketAddr>`](axum::extract::ConnectInfo), the client's address, unless it came
//!   over a Unix socket. Its port is 0 if only a proxy knows it;
//! - [`Channels`](crate::Channels), to publish and to listen, and
//!   [`WorkerInfo`](crate::WorkerInfo), which worker this is;
//! - [`ConnectionId`], what an upgrade would be called, if the request offers one.
//!
//! # WebSockets
//!
//! [`WebSocketUpgrade`], [`WebSocket`] and [`Message`] are named and shaped like those in
//! `axum::extract::ws`: an import is all that changes. The feature `axum-messages` converts
//! messages of either kind into the other.
//!
//! axum's own `WebSocketUpgrade` works too, in a library as well, by the feature `axum-ws`, which is
//! on unless default features are off. But it speaks WebSocket to a byte stream, so within this
//! process each message is wrapped into a frame for it and unwrapped again. That is slower, takes
//! more memory for each connection, and such a connection cannot be subscribed to channels. While
//! the feature is on every upgrade costs a little more, for it shows only when a route is called
//! which of the two it uses.
//!
//! # Messages and closes
//!
//! A message counts as handled when its task asks for the next one, or drops the socket. Those
//! behind it wait, and when 256 KiB do, the client is held back. So a task that only sends should
//! still read: on a reload, the connection is closed when what has come from it is handled.
//!
//! When a socket is dropped its connection is closed, if it was not before: with 1000, or with 1011
//! by a panic. (What a task did with its message before it panicked does not happen if the
//! connection is portable.) When the client's socket has closed, the worker waits five seconds for the
//! task's end. (With axum's own kind the worker sees the socket dropped, but neither the task's end nor
//! a panic.)
//!
//! # Connections that outlive their worker
//!
//! A route that upgrades by [`WebSocketUpgrade::portable`] has connections that stay open when
//! their worker is replaced, dies or goes to sleep. What the next worker needs is their
//! [`Connection::state`], which is written as JSON:
//!
//! ```no_run
//! use axum::Router;
//! use axum::response::Response;
//! use axum::routing::any;
//! use serde::{Deserialize, Serialize};
//! use shovel_worker::Attachment;
//! use shovel_worker::axum::{Connection, Message, WebSocketUpgrade};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Count(u64);
//!
//! impl Attachment for Count {}
//!
//! async fn count(upgrade: WebSocketUpgrade) -> Response {
//!     upgrade.portable(async |mut conn: Connection<Count>| {
//!         while let Some(Ok(Message::Text(_))) = conn.recv().await {
//!             conn.state.0 += 1;
//!             let answer = format!("message {}", conn.state.0);
//!             if conn.send(answer.into()).await.is_err() {
//!                 return;
//!             }
//!         }
//!     })
//! }
//!
//! fn main() -> Result<(), shovel_worker::RunError> {
//!     shovel_worker::run(Router::new().route("/count", any(count)))
//! }
//! ```
//!
//! What a task does between two calls of [`Connection::recv`], state included, takes effect with the
//! second: all of it or nothing. So the client sees an answer when the next message is asked for,
//! unless [`flush`](crate::Connection::flush) lets it out before. Where the worker dies in between,
//! the message comes again at the next one, and [`Connection::redelivered`] says so.
//!
//! That next worker has no response to send, but calls the Router all the same, with the request
//! that began the connection: its method, path, query and headers, without a body. So route, path
//! parameters, extractors and **middleware run again**, perhaps days later. One that counts
//! requests counts it twice, and one that refuses (a session has ended, a limit is reached) ends the
//! connection: an answer other than what `portable` gives closes it with 1012. To tell the
//! two apart, look for [`Adopted`] in the request's extensions. Then the function given to
//! `portable` is called anew: it goes on at its beginning, with the state, and subscriptions are
//! what they were. What it had in variables beside the state is gone.
//!
//! Connections of other routes, and of axum's own extractor, do not move: they are closed with 1012
//! on a reload and with 1011 when their worker dies.

#[cfg(feature = "axum-ws")]
mod bridge;
#[cfg(feature = "axum-ws")]
mod carrier;
pub mod close_code;
mod delivery;
mod failed;
mod message;
mod portable;
mod upgradable;
mod upgrade;
mod websocket;

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, header};
use tower_service::Service;

pub use self::failed::{DefaultOnFailedUpgrade, OnFailedUpgrade, WebSocketUpgradeRejection};
pub use self::message::{CloseCode, CloseFrame, Message, Utf8Bytes};
pub use self::portable::Connection;
pub use self::upgrade::WebSocketUpgrade;
pub use self::websocket::WebSocket;

pub(crate) use self::delivery::Delivery;

use self::delivery::Position;
use self::upgradable::Upgradable;
use crate::event::Accepted;
use crate::{
    AdoptCause, AdoptEvent, App, ClientAddress, CloseEvent, ConnectionId, Error, FetchEvent,
    MessageEvent, ReleaseEvent, RunError,
};

/// Runs a Router until the supervisor tells it to stop, within the caller's runtime.
///
/// Short for `App::from(router).serve()`; see [`App::serve`].
///
/// ```no_run
/// use axum::{Router, routing::get};
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), shovel_worker::RunError> {
///     shovel_worker::serve(Router::new().route("/", get(async || "hello\n"))).await
/// }
/// ```
///
/// # Errors
/// As [`App::run`].
///
/// # Cancel safety
/// None: once dropped, it cannot be begun again.
pub async fn serve(router: Router) -> Result<(), RunError> {
    App::from(router).serve().await
}

/// Runs a Router until the supervisor tells it to stop, on a runtime of one thread, this one.
///
/// For a `main` that is not async; short for `App::from(router).run()`.
///
/// ```no_run
/// use axum::{Router, routing::get};
///
/// fn main() -> Result<(), shovel_worker::RunError> {
///     shovel_worker::run(Router::new().route("/", get(async || "hello\n")))
/// }
/// ```
///
/// # Errors
/// As [`App::run`].
pub fn run(router: Router) -> Result<(), RunError> {
    App::from(router).run()
}

/// An app whose handlers for requests, messages and closes are the Router's. A start and a
/// shutdown handler may be added.
impl From<Router> for App<()> {
    fn from(router: Router) -> Self {
        let adopting = router.clone();
        let mut app = App::new(())
            .on_fetch(move |event| fetch(router.clone(), event))
            .on_message(deliver)
            .on_close(close);
        // Not by `on_adopt`: only connections of routes that say so are portable.
        app.handlers.adopt = Some(Box::new(move |event| Box::pin(adopt(adopting.clone(), event))));
        app.handlers.release = Some(Box::new(|event| Box::pin(release(event))));
        app.adopts = true;
        app
    }
}

async fn fetch(router: Router, mut event: FetchEvent<()>) -> Result<Response, Error> {
    let (channels, worker) = (event.channels().clone(), event.worker().clone());
    let client = event.client();
    let extensions = event.request_mut().extensions_mut();
    extensions.insert(channels);
    extensions.insert(worker);
    if let Some(client) = client {
        extensions.insert(ConnectInfo(client));
    }
    if !offers_upgrade(extensions) {
        return Ok(call(router, event.into_request()).await);
    }
    add_hop_headers(event.request_mut().headers_mut());
    let body = event.take_body();
    let mut request = event.request().clone().map(|()| body);
    let offer = Upgradable::new(event);
    request.extensions_mut().insert(offer.clone());
    #[cfg(feature = "axum-ws")]
    return bridge::call(router, request, offer).await;
    #[cfg(not(feature = "axum-ws"))]
    return Ok(call(router, request).await);
}

/// Calls the Router, which is always ready.
async fn call(mut router: Router, request: Request<Body>) -> Response {
    let response: Result<_, Infallible> = router.call(request).await;
    let mut response = response.unwrap_or_else(|never| match never {});
    // A Router tells the length of every body, which a 101 must not (RFC 9110 §8.6).
    if response.status().is_informational() {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

async fn deliver(event: MessageEvent<()>) -> Result<(), Error> {
    let connection = event.connection().clone();
    let position = Position { seq: event.seq(), again: event.again() };
    if let Some(delivery) = connection.tenure.delivery.get() {
        tokio::select! {
            // The message is delivered by the first poll; neither branch is taken up again.
            biased;
            () = delivery.deliver(event.into_message(), position) => {}
            // A client that is gone need not be held back, and its close need not wait.
            () = connection.tenure.closed() => {}
        }
    }
    Ok(())
}

/// In the extensions of a request that is not new: it began a connection, which another worker had
/// until now and this one takes over. No response is sent to it.
///
/// ```
/// use axum::Extension;
/// use axum::response::Response;
/// use shovel_worker::axum::{Adopted, Connection, Message, WebSocketUpgrade};
///
/// async fn watch(upgrade: WebSocketUpgrade, adopted: Option<Extension<Adopted>>) -> Response {
///     let is_new = adopted.is_none();
///     upgrade.portable(async move |mut conn: Connection<()>| {
///         if is_new {
///             let _ = conn.send(Message::text("welcome")).await;
///         }
///         while let Some(Ok(_)) = conn.recv().await {}
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Why this worker has it now.
    pub cause: AdoptCause,
}

/// Takes a connection over by calling the Router with the request that began it.
async fn adopt(router: Router, event: AdoptEvent<()>) -> Result<(), Error> {
    let connection = event.connection().clone();
    let (method, uri, headers) = event.request();
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers.clone();
    add_hop_headers(request.headers_mut());
    let extensions = request.extensions_mut();
    extensions.insert(event.channels().clone());
    extensions.insert(event.worker().clone());
    extensions.insert(connection.id());
    extensions.insert(Adopted { cause: event.cause() });
    extensions.insert(Upgradable::adopted(connection.clone(), event.work().clone()));
    if let Some(client) = event.client() {
        extensions.insert(ConnectInfo(client));
        extensions.insert(ClientAddress(client));
    }
    let response = call(router, request).await;
    let accepted = response.extensions().get::<Accepted>();
    match accepted.is_some_and(|accepted| accepted.0.id() == connection.id()) {
        true => Ok(()),
        false => Err(Error::message(format!("the Router answered {}", response.status()))),
    }
}

/// Drops the task of a connection that goes to another worker.
async fn release(event: ReleaseEvent<()>) -> Result<(), Error> {
    if let Some(delivery) = event.connection().tenure.delivery.get() {
        delivery.abort().await;
    }
    Ok(())
}

async fn close(event: CloseEvent<()>) -> Result<(), Error> {
    let connection = event.connection().clone();
    if let Some(delivery) = connection.tenure.delivery.get() {
        let worker = event.worker().id;
        if let Err(error) = delivery.close(event.into_close()).await {
            tracing::error!(worker, connection = %connection.id(), "socket's {error}");
        }
    }
    Ok(())
}

fn offers_upgrade(extensions: &Extensions) -> bool {
    extensions.get::<ConnectionId>().is_some()
}

/// Gives back to an upgrade request what concerns a single hop (RFC 9110 §7.6.1), and so is not
/// passed on: extractors look for it. Extensions are for the socket's owner to agree upon, which
/// the app is not.
fn add_hop_headers(headers: &mut HeaderMap) {
    let hop: [(HeaderName, &str); 3] = [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
    ];
    for (name, value) in hop {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
}
