//! The app under test.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use http::Request;
use shovel_core::custody::Event;
use shovel_core::fleet::DrainReason;
use shovel_protocol::ConnectionUuid;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tracing_subscriber::filter::LevelFilter;
use uuid::Uuid;

use super::exchange::Answer;
use super::request;
use super::running::Running;
use super::supervisor::Supervisor;
use super::{TestClient, TestResponse};
use crate::channel::check_name;
use crate::{App, ConnectionId, Message, Published, RunError};

/// An app that runs within a test. See the [module](super).
///
/// When it is dropped it ends at once, as if its supervisor had gone.
///
/// ```
/// # use shovel_worker::testing::TestApp;
/// # use shovel_worker::{App, Error, FetchEvent};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let app = App::new(()).on_fetch(async |_: FetchEvent<()>| Ok::<_, Error>("hello"));
/// # let app = TestApp::start(app).await.unwrap();
/// let response = app.get("/").await;
/// assert_eq!(response.text().await, "hello");
/// # }
/// ```
pub struct TestApp {
    pub(super) supervisor: Arc<Supervisor>,
    /// The worker that serves. Locked while another takes its place.
    pub(super) worker: Mutex<Running>,
    /// The task that does what is due, which ends when it is dropped.
    _clock: JoinSet<()>,
}

impl TestApp {
    /// Starts an app, and waits until its start handler has ended. Call it within a runtime of
    /// tokio, such as `#[tokio::test]` makes.
    ///
    /// ```
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{App, Error, StartEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let app = App::new(())
    ///     .on_start(async |_event: StartEvent<()>| Err::<(), _>(Error::message("no database")));
    /// let error = TestApp::start(app).await.unwrap_err();
    /// assert_eq!(error.to_string(), "start failed: no database");
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RunError::Start`] if the start handler fails.
    pub async fn start<S: Send + Sync + 'static>(app: App<S>) -> Result<TestApp, RunError> {
        log_to_test_output();
        let supervisor = Arc::new(Supervisor::new());
        let id = supervisor.act(|state| state.workers.join(1));
        let worker = Running::start(&supervisor, app, id, 1).await?;
        supervisor.act(|state| state.take_in(Event::Offered { workers: vec![id] }));
        let mut clock = JoinSet::new();
        clock.spawn(supervisor.clone().keep_time());
        Ok(TestApp { supervisor, worker: Mutex::new(worker), _clock: clock })
    }

    /// Sends a request, and waits for the head of its response. Dropped before, the future takes
    /// the client away.
    ///
    /// The body streams both ways. The client's address is 127.0.0.1:49152, unless a
    /// [`ClientAddress`](crate::ClientAddress) stands in the request's extensions.
    ///
    /// ```
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{App, Error, FetchEvent, Request};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let echo = App::new(())
    ///     .on_fetch(async |mut event: FetchEvent<()>| Ok::<_, Error>(event.take_body()));
    /// let app = TestApp::start(echo).await.unwrap();
    /// let response = app.request(Request::post("/echo").body("hello").unwrap()).await;
    /// assert_eq!(response.status(), 200);
    /// assert_eq!(response.text().await, "hello");
    /// # }
    /// ```
    ///
    /// # Panics
    /// If no response comes, or the body of the request fails.
    pub async fn request(&self, request: Request<impl Into<Body>>) -> TestResponse {
        let request = request.map(Into::into);
        let what = format!("the response to {} {}", request.method(), request.uri());
        self.until_somebody_serves().await;
        let asked = request::ask(&self.supervisor, request, None);
        match self.supervisor.until(&what, |state| state.take_answer(asked.request)).await {
            Answer::Response(head, chunks) => TestResponse::new(head, chunks, asked),
            Answer::Upgrade { .. } => panic!("the app upgraded a request that offers no upgrade"),
            Answer::NoBody(error) => panic!("the body of the request failed: {error}"),
        }
    }

    /// Requests a path with GET: short for [`TestApp::request`].
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = App::new(()).on_fetch(async |_: FetchEvent<()>| Ok::<_, Error>("hello"));
    /// # let app = TestApp::start(app).await.unwrap();
    /// assert_eq!(app.get("/?q=1").await.status(), 200);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the path is not valid, or no response comes.
    pub async fn get(&self, path: &str) -> TestResponse {
        self.request(get(path).map(|()| Body::empty())).await
    }

    /// Opens a WebSocket at a path, query included.
    ///
    /// ```
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{App, Error, FetchEvent, Response, StatusCode};
    ///
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     if event.request().uri().query() != Some("key=secret") {
    ///         return Err(Error::status(StatusCode::UNAUTHORIZED, "a key is needed\n"));
    ///     }
    ///     let (connection, response) = event.upgrade_websocket()?;
    ///     connection.send("welcome").await?;
    ///     Ok(response)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let app = TestApp::start(App::new(()).on_fetch(fetch)).await.unwrap();
    /// let client = app.connect("/?key=secret").await.unwrap();
    /// assert_eq!(client.next().await.as_text(), Some("welcome"));
    ///
    /// let refusal = app.connect("/").await.unwrap_err();
    /// assert_eq!(refusal.status(), 401);
    /// # }
    /// ```
    ///
    /// # Errors
    /// The app's response, if it did not accept the upgrade.
    ///
    /// # Panics
    /// If the path is not valid, or the app does not answer.
    pub async fn connect(&self, path: &str) -> Result<TestClient, TestResponse> {
        self.connect_with(get(path)).await
    }

    /// Opens a WebSocket by a request of the test's own, for one with more headers, such as
    /// cookies, or `Sec-WebSocket-Protocol` with the subprotocols that the client speaks.
    ///
    /// ```
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{App, Error, FetchEvent, Request, Response};
    ///
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     let (_connection, response) = event.upgrade_websocket_with_protocol("chat.v2")?;
    ///     Ok(response)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let app = TestApp::start(App::new(()).on_fetch(fetch)).await.unwrap();
    /// let request = Request::get("/").header("sec-websocket-protocol", "chat.v2, chat.v1");
    /// let client = app.connect_with(request.body(()).unwrap()).await.unwrap();
    /// assert_eq!(client.protocol(), Some("chat.v2"));
    /// # }
    /// ```
    ///
    /// # Errors
    /// The app's response, if it did not accept the upgrade.
    ///
    /// # Panics
    /// If the app does not answer.
    pub async fn connect_with(&self, request: Request<()>) -> Result<TestClient, TestResponse> {
        let what = format!("the answer to the upgrade of {}", request.uri());
        self.until_somebody_serves().await;
        let uuid = ConnectionUuid(Uuid::now_v7());
        let url = request.uri().clone();
        let asked = request::ask(&self.supervisor, request.map(|()| Body::empty()), Some(uuid));
        match self.supervisor.until(&what, |state| state.take_answer(asked.request)).await {
            Answer::Upgrade { route, protocol, headers } => {
                let (supervisor, id) = (self.supervisor.clone(), ConnectionId(uuid));
                Ok(TestClient { supervisor, route, id, url, protocol, headers })
            }
            Answer::Response(head, chunks) => Err(TestResponse::new(head, chunks, asked)),
            Answer::NoBody(error) => unreachable!("an empty body failed: {error}"),
        }
    }

    /// Publishes as if another worker did. Returns once all clients that are subscribed have the
    /// message; the app's own [`Subscription`](crate::Subscription)s get it too.
    ///
    /// ```
    /// use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     let (connection, response) = event.upgrade_websocket()?;
    /// #     connection.subscribe("news")?;
    /// #     Ok(response)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch)).await.unwrap();
    /// // The app subscribes each client to "news".
    /// let client = app.connect("/").await.unwrap();
    /// assert_eq!(app.publish("news", "rain").delivered, 1);
    /// assert_eq!(client.received(), ["rain".into()]);
    /// # }
    /// ```
    ///
    /// # Panics
    /// Unless the channel's name has 1 to 1,024 bytes.
    pub fn publish(&self, channel: &str, message: impl Into<Message>) -> Published {
        if let Err(error) = check_name(channel) {
            panic!("cannot publish: {error}");
        }
        let message = message.into();
        self.supervisor.act(|state| state.fan_out(None, channel, &message))
    }

    /// What the app has published on a channel so far and was not taken before, by this or by
    /// [`TestApp::next_published`]. Whether anybody was subscribed does not matter.
    ///
    /// ```
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{App, Error, FetchEvent};
    ///
    /// async fn fetch(event: FetchEvent<()>) -> Result<&'static str, Error> {
    ///     event.channel("news")?.publish("rain").await?;
    ///     Ok("published")
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let app = TestApp::start(App::new(()).on_fetch(fetch)).await.unwrap();
    /// assert_eq!(app.get("/").await.text().await, "published");
    /// assert_eq!(app.published("news"), ["rain".into()]);
    /// assert_eq!(app.published("news"), []);
    /// # }
    /// ```
    pub fn published(&self, channel: &str) -> Vec<Message> {
        self.supervisor.act(|state| state.published(channel).drain(..).collect())
    }

    /// The next message that the app publishes on a channel; waits until it does.
    ///
    /// ```
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{App, Error, StartEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let app = App::new(()).on_start(async |event: StartEvent<()>| {
    ///     let channel = event.channel("status")?;
    ///     tokio::spawn(async move { channel.publish("ready").await });
    ///     Ok::<_, Error>(())
    /// });
    /// let app = TestApp::start(app).await.unwrap();
    /// assert_eq!(app.next_published("status").await.as_text(), Some("ready"));
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it does not.
    pub async fn next_published(&self, channel: &str) -> Message {
        let what = format!("a message published on {channel:?}");
        self.supervisor.until(&what, |state| state.published(channel).pop_front()).await
    }

    /// Stops the app, as SIGTERM does: closes every WebSocket with 1001, lets close handlers,
    /// other handlers and work given to `wait_until` end, then runs the shutdown handler.
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
    /// app.shut_down().await.unwrap();
    /// assert_eq!(client.closed(), Some((1001, "server shutting down".to_owned())));
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RunError`], if the app did not end well.
    ///
    /// # Panics
    /// If something of it does not end.
    pub async fn shut_down(self) -> Result<(), RunError> {
        let mut worker = self.worker.lock().await;
        let drain = Event::DrainWanted { worker: worker.id, why: DrainReason::Terminate };
        self.supervisor.act(|state| state.take_in(Event::EndBegan));
        self.supervisor.act(|state| state.take_in(drain));
        let ended = worker.ended().await;
        self.supervisor.act(|state| state.take_in(Event::WaitsEnded));
        ended
    }

    /// At once, but while a worker that has crashed is being replaced.
    async fn until_somebody_serves(&self) {
        self.supervisor.until("a worker that serves", |state| state.serves()).await;
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.supervisor.act(|state| state.end_all());
    }
}

impl fmt::Debug for TestApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestApp").finish_non_exhaustive()
    }
}

fn get(path: &str) -> Request<()> {
    match Request::get(path).body(()) {
        Ok(request) => request,
        Err(error) => panic!("{path:?} cannot be requested: {error}"),
    }
}

/// Otherwise a handler would fail unseen.
fn log_to_test_output() {
    // An error only says that the test has set a subscriber of its own.
    let _ = tracing_subscriber::fmt()
        .compact()
        .with_ansi(false)
        .without_time()
        .with_test_writer()
        .with_max_level(LevelFilter::INFO)
        .try_init();
}
