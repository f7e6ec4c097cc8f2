//! Another worker takes the place of the one that serves.

use shovel_core::custody::Event;
use shovel_core::fleet::DrainReason;

use super::TestApp;
use super::running::Running;
use super::state::State;
use super::workers::Life;
use crate::{App, RunError};

impl TestApp {
    /// Replaces the worker by one that runs `next`, as a reload does. Returns when the old one has
    /// ended.
    ///
    /// The walk is the pool's: `next` starts, and from then on it is given what is new; the old
    /// worker finishes the handlers that run; its portable connections move, and `next` adopts
    /// them; others close with 1012 "server reloading" once what they have sent is handled, and their
    /// close handlers run; requests and work given to `wait_until` end; the shutdown handler runs.
    /// What clients send meanwhile is handled by `next`, if their connections move.
    ///
    /// A handler that takes five seconds is dropped at its `await`, and its message handled again
    /// by `next`, redelivered: these seconds are of tokio's clock, so a test need not wait for them
    /// if that is paused.
    ///
    /// Whatever keeps a connection from moving shows as its [close](super::TestClient::closed): it
    /// is pinned or nothing is attached to it, `next` is not portable, or its adopt handler fails.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{AdoptEvent, App, Attachment, Error, FetchEvent, MessageEvent, Response};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Member {
    ///     name: String,
    /// }
    ///
    /// impl Attachment for Member {}
    ///
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     let name = event.request().uri().query().unwrap_or_default().to_owned();
    ///     let (connection, response) = event.upgrade_websocket()?;
    ///     connection.attach(&Member { name })?;
    ///     Ok(response)
    /// }
    ///
    /// async fn adopt(event: AdoptEvent<()>) -> Result<(), Error> {
    ///     let member: Option<Member> = event.attachment()?;
    ///     match member.filter(|member| member.name != "mallory") {
    ///         Some(member) => event.connection().send(format!("still {}", member.name)).await?,
    ///         None => return Err(Error::message("nobody is called so any more")),
    ///     }
    ///     Ok(())
    /// }
    ///
    /// fn app() -> App<()> {
    ///     App::new(()).on_fetch(fetch).on_adopt(adopt)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let test = TestApp::start(app()).await.unwrap();
    /// let ada = test.connect("/?ada").await.unwrap();
    /// let mallory = test.connect("/?mallory").await.unwrap();
    ///
    /// test.reload(app()).await.unwrap();
    /// assert_eq!(ada.next().await.as_text(), Some("still ada"));
    /// assert_eq!(mallory.closed(), Some((1012, "server reloading".to_owned())));
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RunError::Start`] if the start handler of `next` fails: then nothing has changed, and the
    /// old worker goes on. Else how the old worker ended, if not well.
    ///
    /// # Panics
    /// If something does not end. A response that the test holds, and whose body goes on, is such a
    /// thing.
    pub async fn reload<S>(&self, next: App<S>) -> Result<(), RunError>
    where
        S: Send + Sync + 'static,
    {
        let mut worker = self.worker.lock().await;
        let generation = worker.generation + 1;
        let id = self.supervisor.act(|state| state.workers.join(generation));
        let next = Running::start(&self.supervisor, next, id, generation).await?;
        let mut before = std::mem::replace(&mut *worker, next);
        let drain = Event::DrainWanted { worker: before.id, why: DrainReason::Reload };
        self.supervisor.act(|state| state.take_in(Event::Offered { workers: vec![id] }));
        self.supervisor.act(|state| state.take_in(drain));
        let ended = before.ended().await;
        self.until_all_are_settled().await;
        ended
    }

    /// Has the worker die of a fault in the middle of whatever it does, and then starts one that runs
    /// `next` in its place. Returns when that one has taken over what is left, except for messages
    /// that may have ended workers: these are tried one after another, each alone.
    ///
    /// The handlers that run are dropped where they stand, and what they did to their connections
    /// does not happen. Portable connections are adopted by `next`, and their messages that no
    /// handler has finished handled there, [redelivered](crate::MessageEvent::redelivered) if the
    /// dead worker may have begun them. Others close with 1011 "worker lost", without a close event.
    /// One whose message has been under way at three deaths closes so too, if no other message and no
    /// request was there at the last of them; its close handler runs. Requests are answered with 502.
    ///
    /// Only tasks of the app's own making go on, as they are in the test's process: to them it is as
    /// if their connections had closed.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use shovel_worker::testing::TestApp;
    /// use shovel_worker::{App, Attachment, Error, FetchEvent, MessageEvent, Response};
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Count(u32);
    ///
    /// impl Attachment for Count {}
    ///
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     let (connection, response) = event.upgrade_websocket()?;
    ///     connection.attach(&Count(0))?;
    ///     Ok(response)
    /// }
    ///
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     let Count(before) = event.attachment()?.unwrap_or_default();
    ///     event.connection().attach(&Count(before + 1))?;
    ///     if !event.redelivered() {
    ///         // The worker will die while this waits.
    ///         std::future::pending::<()>().await;
    ///     }
    ///     let answer = format!("{} {}", before + 1, event.redelivered());
    ///     event.connection().send(answer).await?;
    ///     Ok(())
    /// }
    ///
    /// fn app() -> App<()> {
    ///     App::new(()).on_fetch(fetch).on_message(message).portable()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let test = TestApp::start(app()).await.unwrap();
    /// let client = test.connect("/").await.unwrap();
    ///
    /// let (_, crashed) = tokio::join!(client.send("a message"), test.crash(app()));
    /// crashed.unwrap();
    /// assert_eq!(client.next().await.as_text(), Some("1 true"));
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RunError`] if `next` does not start: then no worker is left, and whoever waits for one
    /// panics.
    ///
    /// # Panics
    /// If `next` does not take over.
    pub async fn crash<S>(&self, next: App<S>) -> Result<(), RunError>
    where
        S: Send + Sync + 'static,
    {
        let mut worker = self.worker.lock().await;
        let (dead, generation) = (worker.id, worker.generation);
        // Before the other one dies: those who wait see that not all ends.
        let id = self.supervisor.act(|state| state.workers.join(generation));
        self.supervisor.act(|state| state.take_in(Event::Offered { workers: Vec::new() }));
        worker.kill().await;
        let has_ended = |state: &mut State| (state.workers.life(dead) == Life::Ended).then_some(());
        self.supervisor.until("the end of the worker", has_ended).await;
        *worker = Running::start(&self.supervisor, next, id, generation).await?;
        self.supervisor.act(|state| state.take_in(Event::Offered { workers: vec![id] }));
        self.until_all_are_settled().await;
        Ok(())
    }

    async fn until_all_are_settled(&self) {
        let what = "connections to be with a worker again";
        self.supervisor.until(what, |state| state.are_all_settled()).await;
    }
}
