//! The SDK of shovel-pool: an app is a few async functions of an event.
//!
//! ```no_run
//! use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response, RunError, StatusCode};
//!
//! async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
//!     match event.request().uri().path() {
//!         "/chat" => {
//!             let (connection, response) = event.upgrade_websocket()?;
//!             connection.subscribe("chat")?;
//!             connection.send("welcome").await?;
//!             Ok(response)
//!         }
//!         _ => Err(Error::status(StatusCode::NOT_FOUND, "try /chat\n")),
//!     }
//! }
//!
//! async fn message(event: MessageEvent<()>) -> Result<(), Error> {
//!     event.connection().publish("chat", event.message().clone()).await?;
//!     Ok(())
//! }
//!
//! fn main() -> Result<(), RunError> {
//!     App::new(()).on_fetch(fetch).on_message(message).run()
//! }
//! ```
//!
//! Built, it is started by the supervisor: `shovel-pool ./chat`. The supervisor owns the listener
//! and every client's socket; requests and messages come to this process over Unix sockets, its
//! links, and answers go back the same way.
//!
//! An ordinary [`axum::Router`](::axum::Router) is an app too: [`serve`] runs it, and [`mod@axum`]
//! tells the rest.
//!
//! Rooms: [`App`] collects the handlers; events are what handlers are given ([`FetchEvent`],
//! [`MessageEvent`], [`CloseEvent`]); [`Connection`] and [`BroadcastChannel`] are what they act
//! on; the private `pool` speaks with the supervisor and calls the handlers.

mod app;
pub mod axum;
mod channel;
mod connection;
mod error;
mod event;
mod info;
mod lock;
mod message;
mod pool;
mod run;
mod work;

pub use self::axum::{run, serve};
pub use ::axum::Json;
pub use ::axum::body::{self, Body};
pub use ::axum::response::{Html, IntoResponse, Redirect, Response};
pub use app::App;
pub use bytes::Bytes;
pub use channel::{
    BroadcastChannel, ChannelError, Channels, PublishError, Published, Subscription,
};
pub use connection::{Connection, ConnectionId, SendError};
pub use error::Error;
pub use event::{
    ClientAddress, CloseEvent, FetchEvent, MessageEvent, ShutdownEvent, StartEvent, UpgradeError,
};
pub use http::{
    self, HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header,
};
pub use info::WorkerInfo;
pub use message::{Message, Text};
pub use run::RunError;
pub use shovel_protocol::close::InvalidClose as CloseError;

/// Compiles the app that the README shows.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
