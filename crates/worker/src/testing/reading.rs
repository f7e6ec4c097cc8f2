//! Clients that read too slowly.

use super::TestClient;

impl TestClient {
    /// Reads no more, as a client does whose network has become slow. What is sent and published to it
    /// waits from now on, and beyond 1 MiB it is as behind a supervisor with its defaults: sends wait,
    /// and of what is published becomes what the app chose by
    /// [`Connection::set_slow_consumer`](crate::Connection::set_slow_consumer).
    ///
    /// ```
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    ///
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     Ok(event.upgrade_websocket()?.1)
    /// }
    ///
    /// /// Nobody is asked twice who has not read the first question.
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     if event.connection().buffered().await? == 0 {
    ///         event.connection().send("are you there?").await?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// let client = app.connect("/").await.unwrap();
    /// client.stop_reading();
    /// client.send("ask me").await;
    /// client.send("ask me again").await;
    /// assert_eq!(client.received(), []);
    /// client.read_on();
    /// assert_eq!(client.received(), ["are you there?".into()]);
    /// # }
    /// ```
    pub fn stop_reading(&self) {
        self.supervisor.act(|state| state.set_reading(self.route, false));
    }

    /// Reads all that waits, and on.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response};
    /// # async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    /// #     Ok(event.upgrade_websocket()?.1)
    /// # }
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     event.connection().send("at first").await?;
    ///     event.connection().outbox_empty().await?;
    ///     event.connection().send("and then").await?;
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = TestApp::start(App::new(()).on_fetch(fetch).on_message(message)).await.unwrap();
    /// let client = app.connect("/").await.unwrap();
    /// client.stop_reading();
    /// tokio::join!(client.send("tell me"), async {
    ///     tokio::task::yield_now().await;
    ///     client.read_on();
    /// });
    /// assert_eq!(client.received(), ["at first".into(), "and then".into()]);
    /// # }
    /// ```
    pub fn read_on(&self) {
        self.supervisor.act(|state| state.set_reading(self.route, true));
    }
}
