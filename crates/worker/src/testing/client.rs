//! The client of a WebSocket.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Uri};
use shovel_core::custody::Route;
use shovel_protocol::{Close, CloseCode, close};

use super::state::State;
use super::supervisor::Supervisor;
use crate::{Attachment, ConnectionId, Message};

/// A client whose upgrade the app has accepted. Made by [`TestApp::connect`].
///
/// Dropped while it is open, its network has failed: the app's close event says 1006.
///
/// ```
/// use shovel_worker::testing::TestApp;
/// use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
///
/// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
///     Ok(event.upgrade_websocket()?.1)
/// }
///
/// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
///     match event.message().as_text() {
///         Some("bye") => event.connection().close(4000, "bye")?,
///         _ => event.connection().send(event.message().clone()).await?,
///     }
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
/// let client = app.connect("/echo").await.unwrap();
/// client.send("one").await;
/// client.send(vec![2]).await;
/// assert_eq!(client.received(), ["one".into(), vec![2].into()]);
///
/// client.send("bye").await;
/// assert_eq!(client.closed(), Some((4000, "bye".to_owned())));
/// # }
/// ```
///
/// [`TestApp::connect`]: super::TestApp::connect
pub struct TestClient {
    pub(super) supervisor: Arc<Supervisor>,
    /// By which the supervisor knows it.
    pub(super) route: Route,
    pub(super) id: ConnectionId,
    pub(super) url: Uri,
    pub(super) protocol: Option<String>,
    pub(super) headers: HeaderMap,
}

impl TestClient {
    /// The name that the app knows the connection by.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     Ok(event.upgrade_websocket()?.1)
    /// # }
    /// # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    /// #     Ok(event.connection().send(event.message().clone()).await?)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// let (one, other) = (app.connect("/").await.unwrap(), app.connect("/").await.unwrap());
    /// assert_ne!(one.id(), other.id());
    /// # }
    /// ```
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The subprotocol that the app has picked.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     Ok(event.upgrade_websocket()?.1)
    /// # }
    /// # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    /// #     Ok(event.connection().send(event.message().clone()).await?)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// assert_eq!(app.connect("/").await.unwrap().protocol(), None);
    /// # }
    /// ```
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The headers that the app has put on the answer to the upgrade, such as cookies.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     Ok(event.upgrade_websocket()?.1)
    /// # }
    /// # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    /// #     Ok(event.connection().send(event.message().clone()).await?)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// assert!(!app.connect("/").await.unwrap().headers().contains_key("set-cookie"));
    /// # }
    /// ```
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Sends a message, and waits until its handler has ended, if need be on another worker. What
    /// the handler has sent and published has arrived by then; what it left to `wait_until`, or to
    /// other tasks, perhaps not.
    ///
    /// Returns too when no handler will end any more, since the connection was lost in a
    /// [crash](super::TestApp::crash): [`TestClient::closed`] tells.
    ///
    /// To have several messages wait for a slow handler, `join!` several sends: each message is
    /// sent when its future is first polled.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     Ok(event.upgrade_websocket()?.1)
    /// # }
    /// # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    /// #     Ok(event.connection().send(event.message().clone()).await?)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// let client = app.connect("/").await.unwrap();
    /// client.send("hello").await;
    /// assert_eq!(client.received(), ["hello".into()]);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the connection is closed, or the handler does not end.
    ///
    /// # Cancel safety
    /// Dropped after its first poll, the message has been sent all the same.
    pub async fn send(&self, message: impl Into<Message>) {
        let message = message.into();
        let taken = self.supervisor.act(|state| state.on_message(self.route, message));
        match taken {
            Ok(seq) => self.wait_until_finished(seq, "the message handler").await,
            Err((code, reason)) => {
                panic!("cannot send to {}: it is closed with {code} {reason:?}", self.url)
            }
        }
    }

    /// The next message that the app has sent or published to this client; waits for one.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     Ok(event.upgrade_websocket()?.1)
    /// # }
    /// # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    /// #     Ok(event.connection().send(event.message().clone()).await?)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// let client = app.connect("/").await.unwrap();
    /// let (_, answer) = tokio::join!(client.send("hello"), client.next());
    /// assert_eq!(answer.as_text(), Some("hello"));
    /// # }
    /// ```
    ///
    /// # Panics
    /// If none comes, or the connection closes instead.
    ///
    /// # Cancel safety
    /// No message is lost.
    pub async fn next(&self) -> Message {
        let what = format!("a message from {}", self.url);
        let next = self.supervisor.until(&what, |state| {
            let client = state.client(self.route)?;
            client.received.pop_front().map(Ok).or_else(|| client.closed.clone().map(Err))
        });
        match next.await {
            Ok(message) => message,
            Err((code, reason)) => panic!("waited for {what}: closed with {code} {reason:?}"),
        }
    }

    /// What the app has sent or published to this client so far and was not taken before, by this
    /// or by [`TestClient::next`].
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     Ok(event.upgrade_websocket()?.1)
    /// # }
    /// # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    /// #     Ok(event.connection().send(event.message().clone()).await?)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// let client = app.connect("/").await.unwrap();
    /// client.send("one").await;
    /// client.send("two").await;
    /// assert_eq!(client.received(), ["one".into(), "two".into()]);
    /// assert_eq!(client.received(), []);
    /// # }
    /// ```
    pub fn received(&self) -> Vec<Message> {
        let take = |state: &mut State| Some(state.client(self.route)?.received.drain(..).collect());
        self.supervisor.act(take).unwrap_or_default()
    }

    /// Closes the connection, and waits until the close handler has ended. Closing what is closed
    /// does nothing more.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     Ok(event.upgrade_websocket()?.1)
    /// # }
    /// # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    /// #     Ok(event.connection().send(event.message().clone()).await?)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// let client = app.connect("/").await.unwrap();
    /// client.close(4000, "enough").await;
    /// assert_eq!(client.closed(), Some((4000, "enough".to_owned())));
    /// # }
    /// ```
    ///
    /// # Panics
    /// If a client may not send this code or reason (RFC 6455 §7.4), or the handler does not end.
    pub async fn close(&self, code: u16, reason: &str) {
        let code = CloseCode(code);
        if let Err(error) = close::check(code, reason) {
            panic!("cannot close: {error}");
        }
        self.end(Close { code, reason: reason.to_owned(), was_clean: true });
        self.until_closed().await;
    }

    /// Goes away without a close frame, and waits until the close handler, whose event says 1006,
    /// has ended.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     Ok(event.upgrade_websocket()?.1)
    /// # }
    /// # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    /// #     Ok(event.connection().send(event.message().clone()).await?)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// app.connect("/").await.unwrap().disconnect().await;
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the handler does not end.
    pub async fn disconnect(self) {
        self.break_off();
        self.until_closed().await;
    }

    /// What the app has attached to the connection, which another worker would be given; `None` if
    /// nothing.
    ///
    /// ```
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{App, Attachment, Error, FetchEvent, Response};
    ///
    /// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// struct Name(String);
    ///
    /// impl Attachment for Name {}
    ///
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     let name = event.request().uri().query().unwrap_or_default().to_owned();
    ///     let (connection, response) = event.upgrade_websocket()?;
    ///     connection.attach(&Name(name))?;
    ///     Ok(response)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let app = TestApp::start(App::new(()).on_fetch(fetch).portable()).await.unwrap();
    /// let client = app.connect("/?ada").await.unwrap();
    /// assert_eq!(client.attachment(), Some(Name("ada".to_owned())));
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it cannot be read as a `T`.
    pub fn attachment<T: Attachment>(&self) -> Option<T> {
        let (version, data) = self.supervisor.act(|state| state.attached(self.route))?;
        match crate::attachment::read(version, &data) {
            Ok(attached) => Some(attached),
            Err(error) => panic!("what is attached to {}: {error}", self.url),
        }
    }

    /// Code and reason with which the connection was closed, by whichever end; `None` while it is
    /// open.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     Ok(event.upgrade_websocket()?.1)
    /// # }
    /// # async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    /// #     Ok(event.connection().send(event.message().clone()).await?)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// let client = app.connect("/").await.unwrap();
    /// assert_eq!(client.closed(), None);
    /// client.close(1000, "").await;
    /// assert_eq!(client.closed(), Some((1000, String::new())));
    /// # }
    /// ```
    pub fn closed(&self) -> Option<(u16, String)> {
        self.supervisor.act(|state| state.client(self.route)?.closed.clone())
    }

    /// Waits until the connection is closed and its close handler has ended, unless it was lost in a
    /// crash, so that none runs; returns code and reason.
    ///
    /// ```
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{App, Error, FetchEvent, Response};
    ///
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     let (connection, response) = event.upgrade_websocket()?;
    ///     connection.close(4000, "come back later")?;
    ///     Ok(response)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let app = TestApp::start(App::new(()).on_fetch(fetch)).await.unwrap();
    /// let client = app.connect("/").await.unwrap();
    /// assert_eq!(client.until_closed().await, (4000, "come back later".to_owned()));
    /// # }
    /// ```
    ///
    /// # Panics
    /// If that does not happen.
    pub async fn until_closed(&self) -> (u16, String) {
        let what = format!("the close of {} and its close handler", self.url);
        self.supervisor.until(&what, |state| state.settled(self.route)).await
    }

    async fn wait_until_finished(&self, seq: u64, handler: &str) {
        let what = format!("{handler} of {} to end", self.url);
        self.supervisor.until(&what, |state| state.has_finished(self.route, seq)).await;
    }

    fn break_off(&self) {
        self.end(Close { code: CloseCode::ABNORMAL, reason: String::new(), was_clean: false });
    }

    fn end(&self, close: Close) {
        self.supervisor.act(|state| state.close(self.route, close));
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        self.break_off();
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TestClient");
        debug.field("id", &self.id).field("url", &self.url).finish_non_exhaustive()
    }
}
