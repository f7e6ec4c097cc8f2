//! The SDK of shovel-pool: an app is a few async functions of an event.
//!
//! Built, the app is a program that `shovel-pool` starts several times over. The supervisor owns
//! the listener and every client's socket; requests and messages come to the app's processes, its
//! workers, over Unix sockets, and answers go back the same way.
//!
//! # From nothing to a chat
//!
//! **1. A program.** Nothing is on a package registry yet, so the SDK is added by its path:
//!
//! ```sh
//! cargo new chat && cd chat
//! cargo add --path ../shovel-pool/crates/worker
//! cargo add --dev tokio --features macros,rt
//! ```
//!
//! **2. A request is answered.** [`App`] takes a state, which all handlers share, and the handlers.
//! This one needs no state. In `src/main.rs`:
//!
//! ```no_run
//! use shovel_worker::{
//!     App, Error, FetchEvent, IntoResponse, Response, RunError, StatusCode,
//! };
//!
//! fn app() -> App<()> {
//!     App::new(()).on_fetch(fetch)
//! }
//!
//! async fn fetch(event: FetchEvent<()>) -> Result<Response, Error> {
//!     match event.request().uri().path() {
//!         "/" => Ok("a chat, at /chat\n".into_response()),
//!         path => Err(Error::status(StatusCode::NOT_FOUND, format!("{path} is not here\n"))),
//!     }
//! }
//!
//! fn main() -> Result<(), RunError> {
//!     app().run()
//! }
//! ```
//!
//! `cargo build && shovel-pool --workers 4 ./target/debug/chat` serves it on 127.0.0.1:8080. So does
//! `./target/debug/chat` by itself, in one process that nothing outlives: see [`App::run`].
//!
//! **3. A client joins.** An upgrade gives a [`Connection`], usable at once, and the response that
//! accepts it. What is not a WebSocket is told to upgrade: the `?` makes that answer.
//!
//! ```
//! # use shovel_worker::{Error, FetchEvent, IntoResponse, Response, StatusCode};
//! async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
//!     match event.request().uri().path() {
//!         "/" => Ok("a chat, at /chat\n".into_response()),
//!         "/chat" => {
//!             let (connection, response) = event.upgrade_websocket()?;
//!             connection.send("welcome").await?;
//!             connection.subscribe("chat")?;
//!             Ok(response)
//!         }
//!         path => Err(Error::status(StatusCode::NOT_FOUND, format!("{path} is not here\n"))),
//!     }
//! }
//! ```
//!
//! **4. What one says, all hear**, on whatever worker they are: a publish goes to every connection
//! that is subscribed to its channel.
//!
//! ```
//! # use shovel_worker::{CloseEvent, Error, MessageEvent};
//! async fn message(event: MessageEvent<()>) -> Result<(), Error> {
//!     event.connection().publish("chat", event.message().clone()).await?;
//!     Ok(())
//! }
//!
//! async fn close(event: CloseEvent<()>) -> Result<(), Error> {
//!     event.connection().publish("chat", "somebody left").await?;
//!     Ok(())
//! }
//! ```
//!
//! ```
//! # use shovel_worker::{App, CloseEvent, Error, FetchEvent, MessageEvent, Response};
//! # async fn fetch(_: FetchEvent<()>) -> Result<Response, Error> { Ok(Response::default()) }
//! # async fn message(_: MessageEvent<()>) -> Result<(), Error> { Ok(()) }
//! # async fn close(_: CloseEvent<()>) -> Result<(), Error> { Ok(()) }
//! fn app() -> App<()> {
//!     App::new(()).on_fetch(fetch).on_message(message).on_close(close)
//! }
//! ```
//!
//! **5. It is tested** without sockets or processes, by the module [`testing`]:
//!
//! ```
//! # use shovel_worker::{App, CloseEvent, Error, FetchEvent, MessageEvent, Response};
//! # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
//! #     let (connection, response) = event.upgrade_websocket()?;
//! #     connection.send("welcome").await?;
//! #     connection.subscribe("chat")?;
//! #     Ok(response)
//! # }
//! # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
//! #     event.connection().publish("chat", event.message().clone()).await?;
//! #     Ok(())
//! # }
//! # async fn close(event: CloseEvent<()>) -> Result<(), Error> {
//! #     event.connection().publish("chat", "somebody left").await?;
//! #     Ok(())
//! # }
//! # fn app() -> App<()> { App::new(()).on_fetch(fetch).on_message(message).on_close(close) }
//! use shovel_worker::testing::TestApp;
//!
//! #[tokio::test]
//! # async fn the_attribute_is_taken_by_this_so_that_the_next_runs_here() {}
//! async fn everybody_hears_everybody() {
//!     let app = TestApp::start(app()).await.unwrap();
//!     let ada = app.connect("/chat").await.unwrap();
//!     let bob = app.connect("/chat").await.unwrap();
//!     assert_eq!(bob.next().await.as_text(), Some("welcome"));
//!
//!     ada.send("hello").await;
//!     assert_eq!(bob.next().await.as_text(), Some("hello"));
//!     ada.close(1000, "").await;
//!     assert_eq!(bob.next().await.as_text(), Some("somebody left"));
//! }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
//! #     .block_on(everybody_hears_everybody());
//! ```
//!
//! **6. It is deployed** by building it anew and `kill -HUP $(pidof shovel-pool)`: new workers start
//! with the new program, and only when all of them are ready do the old ones leave. A program that
//! does not start changes nothing.
//!
//! **7. Nobody is disconnected** if the next worker can be told what it needs of each connection. So
//! far a client's name was nowhere but in memory; now it is attached to the connection:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use shovel_worker::{App, Attachment, Error, FetchEvent, MessageEvent, Response};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Member {
//!     name: String,
//! }
//!
//! impl Attachment for Member {}
//!
//! async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
//!     let name = event.request().uri().query().unwrap_or("somebody").to_owned();
//!     let (connection, response) = event.upgrade_websocket()?;
//!     connection.attach(&Member { name })?;
//!     connection.subscribe("chat")?;
//!     Ok(response)
//! }
//!
//! async fn message(event: MessageEvent<()>) -> Result<(), Error> {
//!     let member: Option<Member> = event.attachment()?;
//!     let name = member.map_or_else(String::new, |member| member.name);
//!     let text = event.message().as_text().unwrap_or_default();
//!     event.connection().publish("chat", format!("{name}: {text}")).await?;
//!     Ok(())
//! }
//!
//! // `portable` says that connections may outlive their worker.
//! fn app() -> App<()> {
//!     App::new(()).on_fetch(fetch).on_message(message).portable()
//! }
//! ```
//!
//! Whether that is enough, a test shows: the worker is replaced, and its successor dies.
//!
//! ```
//! # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
//! # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
//! #     let (connection, response) = event.upgrade_websocket()?;
//! #     connection.attach_bytes(1, b"Ada")?;
//! #     connection.subscribe("chat")?;
//! #     Ok(response)
//! # }
//! # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
//! #     let (_, name) = event.connection().attachment_bytes().unwrap_or_default();
//! #     let name = String::from_utf8_lossy(&name).into_owned();
//! #     let text = event.message().as_text().unwrap_or_default();
//! #     event.connection().publish("chat", format!("{name}: {text}")).await?;
//! #     Ok(())
//! # }
//! # fn app() -> App<()> { App::new(()).on_fetch(fetch).on_message(message).portable() }
//! use shovel_worker::testing::TestApp;
//!
//! #[tokio::test]
//! # async fn the_attribute_is_taken_by_this_so_that_the_next_runs_here() {}
//! async fn ada_stays_ada() {
//!     let test = TestApp::start(app()).await.unwrap();
//!     let client = test.connect("/chat?Ada").await.unwrap();
//!     test.reload(app()).await.unwrap();
//!     test.crash(app()).await.unwrap();
//!     client.send("hello").await;
//!     assert_eq!(client.next().await.as_text(), Some("Ada: hello"));
//! }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
//! #     .block_on(ada_stays_ada());
//! ```
//!
//! Subscriptions move along by themselves. [`App::on_adopt`] is told when a connection arrives, if
//! there is something to do then.
//!
//! # What is guaranteed
//!
//! - **Order.** The messages of a connection are handled one at a time, in the order in which they
//!   were sent; what a handler sends to a connection arrives in that order too. Connections do not
//!   wait for each other.
//! - **Acceptance.** What is done to a connection before its upgrade is returned takes effect when
//!   it is: what was sent comes first, and nothing published before a subscription comes. An
//!   upgrade that is not returned never was.
//! - **One close event** for each connection that was accepted, after all its messages, whichever
//!   end closed it, and however often. The worker waits for its handler before it stops.
//! - **Once.** A message is handled once. If its worker dies, that of a connection with something
//!   attached is handled by the next one: what its handler did to the connection takes effect once,
//!   what it did elsewhere may be done again, and [`MessageEvent::redelivered`] tells. That of
//!   another connection is lost with it.
//! - **All or nothing.** What a handler does to a portable connection takes effect when the
//!   handler ends: sends, closes, subscriptions, publishes through the connection, and what is
//!   attached. [`Connection::flush`] lets out what there is.
//! - **A slow client holds up nobody else.** While too much waits for it, sends to it wait. A publish
//!   waits for nobody: for such a client [`Connection::set_slow_consumer`] chooses between closing it
//!   and dropping messages. [`Connection::buffered`] and [`Connection::outbox_empty`] tell how far
//!   behind it is.
//! - **A failure stays where it is.** A handler that panics or returns an error fails that event
//!   only: it is logged, the event is finished, and the next message is handled. On a portable
//!   connection, what a handler did takes effect if it returns an error, and is dropped if it
//!   panics, except for what it had flushed.
//!
//! | | requests | connections with something attached | other connections |
//! |---|---|---|---|
//! | reload | finish on the old worker | move to a new worker | closed with 1012 after what has been read is handled; the close handler runs |
//! | crash of a worker | 502, or repeated on another if that is safe | move to another worker; the unfinished messages are handled there | closed with 1011; no close event, as nobody is there to take it |
//! | stop (SIGTERM) | finish | closed with 1001; the close handler runs | those that have been read are handled first |
//!
//! So clients connect again after 1001, 1006, 1011 and 1012, after a random delay, and what must
//! outlive a worker is kept in a database, not in its memory. A connection's [`url`](Connection::url)
//! and [`headers`](Connection::headers) stay with it, and often say enough of who it is.
//!
//! # How to go on
//!
//! - [`App`] lists the handlers, and the events that they are given: [`FetchEvent`],
//!   [`MessageEvent`], [`CloseEvent`], [`StartEvent`], [`ShutdownEvent`].
//! - [`BroadcastChannel`] publishes and receives outside of connections too, in tasks and timers.
//! - [`Error`] says what a client sees of a failure: its own answer, such as 401, or a 500 that tells
//!   nothing of the inside.
//! - An ordinary [`axum::Router`](::axum::Router) is an app too: [`serve`] runs it, and [`mod@axum`]
//!   tells the rest.
//! - `examples/` beside this crate has an echo, a ticker and an app that refuses strangers, each
//!   with its tests; `crates/user-app` is a larger one.

mod app;
mod attachment;
pub mod axum;
mod channel;
mod connection;
#[cfg(feature = "direct")]
mod direct;
mod error;
mod event;
mod info;
mod lock;
mod message;
mod run;
mod seat;
mod supervised;
pub mod testing;
mod work;

pub use self::axum::{run, serve};
pub use ::axum::Json;
pub use ::axum::body::{self, Body};
pub use ::axum::response::{Html, IntoResponse, Redirect, Response};
pub use app::App;
pub use attachment::{Attachment, AttachmentError};
pub use bytes::Bytes;
pub use channel::{
    BroadcastChannel, ChannelError, Channels, PublishError, Published, Subscription,
};
pub use connection::{Connection, ConnectionId, OutboxError, SendError, Sending, SlowConsumer};
pub use error::Error;
pub use event::{
    AdoptCause, AdoptEvent, ClientAddress, CloseEvent, FetchEvent, MessageEvent, ReleaseEvent,
    ShutdownEvent, StartEvent, UpgradeError,
};
pub use http::{
    self, HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header,
};
pub use info::WorkerInfo;
pub use message::{Message, Text};
pub use run::RunError;
/// Why a connection cannot be closed with a code or reason: nothing was sent, and it stays open.
pub use shovel_protocol::close::InvalidClose as CloseError;

/// Compiles the app that the README shows.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
