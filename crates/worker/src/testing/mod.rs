//! Tests of an app, without sockets, supervisor or processes.
//!
//! A [`TestApp`] runs an [`App`](crate::App) in the test's own runtime, over the same link and with
//! the same code as under a supervisor, and plays the supervisor itself: it sends requests, opens
//! WebSockets, hands their messages over and shares out what is published. Nothing of it is in a
//! program that does not use it.
//!
//! ```
//! use shovel_worker::testing::TestApp;
//! # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
//! # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
//! #     let (connection, response) = event.upgrade_websocket()?;
//! #     connection.subscribe("chat")?;
//! #     Ok(response)
//! # }
//! # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
//! #     event.connection().publish("chat", event.message().clone()).await?;
//! #     Ok(())
//! # }
//! # fn chat() -> App<()> { App::new(()).on_fetch(fetch).on_message(message) }
//!
//! # async fn test() -> Result<(), shovel_worker::RunError> {
//! let app = TestApp::start(chat()).await?;
//! let ada = app.connect("/chat?name=ada").await.unwrap();
//! let bob = app.connect("/chat?name=bob").await.unwrap();
//!
//! ada.send("hello").await;
//! assert_eq!(bob.next().await.as_text(), Some("hello"));
//!
//! app.shut_down().await?;
//! assert_eq!(bob.closed(), Some((1001, "server shutting down".to_owned())));
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
//! #     .block_on(test()).unwrap();
//! ```
//!
//! # Waiting
//!
//! A test need not sleep. [`TestClient::send`] returns when the message's handler has ended: what
//! the handler has sent and published has arrived by then, with every client. [`TestClient::next`]
//! and [`TestApp::next_published`] wait for what comes of other causes, such as a timer. What does
//! not come within ten seconds fails the test with a panic that says what was waited for.
//!
//! These ten seconds are of real time, so an app with timers is tested at full speed under
//! `#[tokio::test(start_paused = true)]`, for which tokio needs its feature `test-util`.
//!
//! # Connections that outlive their worker
//!
//! [`TestApp::reload`] puts another worker in the place of the one that serves, and
//! [`TestApp::crash`] has that one die first. Portable connections move to the new one, by the same
//! code as in the pool; others close. So a test shows that what is attached is enough to go on with.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use shovel_worker::testing::TestApp;
//! use shovel_worker::{App, Attachment, Error, FetchEvent, MessageEvent, Response};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Score(u32);
//!
//! impl Attachment for Score {}
//!
//! async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
//!     let (connection, response) = event.upgrade_websocket()?;
//!     connection.attach(&Score(0))?;
//!     Ok(response)
//! }
//!
//! async fn message(event: MessageEvent<()>) -> Result<(), Error> {
//!     let Score(before) = event.attachment()?.unwrap_or_default();
//!     event.connection().attach(&Score(before + 1))?;
//!     event.connection().send((before + 1).to_string()).await?;
//!     Ok(())
//! }
//!
//! fn game() -> App<()> {
//!     App::new(()).on_fetch(fetch).on_message(message).portable()
//! }
//!
//! # async fn test() -> Result<(), shovel_worker::RunError> {
//! let app = TestApp::start(game()).await?;
//! let client = app.connect("/game").await.unwrap();
//! client.send("hit").await;
//! app.reload(game()).await?;
//! client.send("hit").await;
//! app.crash(game()).await?;
//! client.send("hit").await;
//! assert_eq!(client.received(), ["1".into(), "2".into(), "3".into()]);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
//! #     .block_on(test()).unwrap();
//! ```
//!
//! A Router is tested likewise, `App::from(router)` being its app: each call of the test's function
//! makes the Router of one worker.
//!
//! # What is different
//!
//! One worker serves at a time, so nothing is published by another, except by
//! [`TestApp::publish`]. A client reads at once whatever is sent to it:
//! [`Connection::send`](crate::Connection::send) never waits for it. All workers share the test's
//! process, and so its statics and its pid. What the supervisor does by itself is not there: limits
//! and most timeouts, the headers that it adds or removes, the repetition of requests.
//!
//! Failures of handlers are logged to the test's output, unless the test has set a subscriber of
//! `tracing` before [`TestApp::start`].

mod app;
mod client;
mod exchange;
mod patience;
mod reading;
mod replacing;
mod request;
mod response;
mod running;
mod state;
mod supervisor;
mod workers;

pub use self::app::TestApp;
pub use self::client::TestClient;
pub use self::response::TestResponse;
