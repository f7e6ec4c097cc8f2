//! The app: a state and its handlers.

use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use futures_util::TryFutureExt;
use shovel_protocol::handshake::Capabilities;

use crate::run::{self, RunError};
use crate::seat::{Seat, seat};
use crate::supervised;
use crate::work::Work;
use crate::{
    AdoptEvent, CloseEvent, Error, FetchEvent, MessageEvent, ReleaseEvent, ShutdownEvent,
    StartEvent,
};

/// An app: a state that all handlers share, and the handlers.
///
/// All handlers are optional. Without one for requests they are answered with 404; other events
/// pass unseen.
///
/// ```no_run
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use shovel_worker::{App, Error, FetchEvent, RunError};
///
/// struct Counters {
///     requests: AtomicU64,
/// }
///
/// async fn fetch(event: FetchEvent<Counters>) -> Result<String, Error> {
///     let before = event.state().requests.fetch_add(1, Ordering::Relaxed);
///     Ok(format!("this worker has answered {before} requests before\n"))
/// }
///
/// fn main() -> Result<(), RunError> {
///     App::new(Counters { requests: AtomicU64::new(0) }).on_fetch(fetch).run()
/// }
/// ```
///
/// Each worker has a state of its own: what all must know belongs in a database, or is published.
pub struct App<S> {
    pub(crate) state: S,
    pub(crate) handlers: Handlers<S>,
    pub(crate) start: Option<Once<StartEvent<S>>>,
    pub(crate) shutdown: Option<Once<ShutdownEvent<S>>>,
    /// Its connections are portable.
    pub(crate) portable: bool,
    /// It takes over such connections of others.
    pub(crate) adopts: bool,
}

pub(crate) type HandlerFuture<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;
pub(crate) type Handler<E, T> = Box<dyn Fn(E) -> HandlerFuture<T> + Send + Sync>;
/// Makes room for a handler's runs.
pub(crate) type NewSeat<E> = Box<dyn Fn() -> Pin<Box<dyn Seat<E>>> + Send + Sync>;
pub(crate) type Once<E> = Box<dyn FnOnce(E) -> HandlerFuture<()> + Send>;

pub(crate) struct Handlers<S> {
    pub(crate) fetch: Option<Handler<FetchEvent<S>, Response>>,
    pub(crate) message: Option<NewSeat<MessageEvent<S>>>,
    pub(crate) close: Option<Handler<CloseEvent<S>, ()>>,
    pub(crate) adopt: Option<Handler<AdoptEvent<S>, ()>>,
    pub(crate) release: Option<Handler<ReleaseEvent<S>, ()>>,
}

impl<S: Send + Sync + 'static> App<S> {
    /// An app without handlers.
    ///
    /// ```
    /// use shovel_worker::App;
    ///
    /// let app = App::new("anything that is `Send` and `Sync`");
    /// ```
    pub fn new(state: S) -> Self {
        let handlers =
            Handlers { fetch: None, message: None, close: None, adopt: None, release: None };
        App { state, handlers, start: None, shutdown: None, portable: false, adopts: false }
    }

    /// Called for each request, upgrades included. The future is dropped if the client goes away.
    ///
    /// ```
    /// use shovel_worker::{App, Error, FetchEvent, Html};
    ///
    /// async fn fetch(_event: FetchEvent<()>) -> Result<Html<&'static str>, Error> {
    ///     Ok(Html("<h1>hello</h1>"))
    /// }
    ///
    /// let app = App::new(()).on_fetch(fetch);
    /// ```
    #[must_use]
    pub fn on_fetch<F, A, R, E>(mut self, handler: F) -> Self
    where
        F: Fn(FetchEvent<S>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoResponse + 'static,
        E: Into<Error>,
    {
        self.handlers.fetch = Some(Box::new(move |event| {
            let answer = handler(event).map_ok(IntoResponse::into_response);
            Box::pin(answer.err_into())
        }));
        self
    }

    /// Called for each message of a client: one at a time and in order for each connection.
    ///
    /// An error is logged, and the next message handled; what the handler did before it takes effect.
    /// A panic is logged likewise, but what the handler did to a portable connection
    /// ([`App::portable`]) is dropped, except for what it had let out by [`Connection::flush`].
    ///
    /// ```
    /// use shovel_worker::{App, MessageEvent, SendError};
    ///
    /// async fn message(event: MessageEvent<()>) -> Result<(), SendError> {
    ///     event.connection().send("heard").await
    /// }
    ///
    /// let app = App::new(()).on_message(message);
    /// ```
    ///
    /// [`Connection::flush`]: crate::Connection::flush
    #[must_use]
    pub fn on_message<F, A, E>(mut self, handler: F) -> Self
    where
        F: Fn(MessageEvent<S>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error>,
    {
        let handler = Arc::new(handler);
        self.handlers.message = Some(Box::new(move || seat(handler.clone())));
        self
    }

    /// Called once for each connection that was accepted, after all its messages. Errors and panics
    /// are as those of [`App::on_message`].
    ///
    /// ```
    /// use shovel_worker::{App, CloseEvent, PublishError};
    ///
    /// async fn close(event: CloseEvent<()>) -> Result<(), PublishError> {
    ///     event.connection().publish("chat", format!("left with {}", event.code())).await
    /// }
    ///
    /// let app = App::new(()).on_close(close);
    /// ```
    #[must_use]
    pub fn on_close<F, A, E>(mut self, handler: F) -> Self
    where
        F: Fn(CloseEvent<S>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error>,
    {
        self.handlers.close = Some(Box::new(move |event| boxed(|| handler(event))));
        self
    }

    /// Lets connections outlive their worker.
    ///
    /// A connection to which something was attached ([`Connection::attach`]) stays open when its
    /// worker is replaced, dies or goes to sleep: another worker takes it over, and its handlers go
    /// on there with what was attached. In return, what a handler does to such a connection takes
    /// effect when it ends, all of it or nothing; see [`Connection::flush`].
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use shovel_worker::{App, Attachment, Error, FetchEvent, MessageEvent, Response};
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Count(u64);
    ///
    /// impl Attachment for Count {}
    ///
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     let (connection, response) = event.upgrade_websocket()?;
    ///     connection.attach(&Count::default())?;
    ///     Ok(response)
    /// }
    ///
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     let Count(before) = event.attachment()?.unwrap_or_default();
    ///     event.connection().attach(&Count(before + 1))?;
    ///     event.connection().send(format!("message {}", before + 1)).await?;
    ///     Ok(())
    /// }
    ///
    /// let app = App::new(()).on_fetch(fetch).on_message(message).portable();
    /// ```
    ///
    /// [`Connection::attach`]: crate::Connection::attach
    /// [`Connection::flush`]: crate::Connection::flush
    #[must_use]
    pub fn portable(mut self) -> Self {
        self.portable = true;
        self.adopts = true;
        self
    }

    /// Called when this worker takes over a connection that another one had, before its messages.
    /// An error or a panic refuses it: it is closed with 1012, and nothing that the handler did
    /// happens. Implies [`App::portable`].
    ///
    /// ```
    /// use shovel_worker::{AdoptEvent, App, Error};
    ///
    /// async fn adopt(event: AdoptEvent<()>) -> Result<(), Error> {
    ///     println!("{} goes on here", event.connection().id());
    ///     Ok(())
    /// }
    ///
    /// let app = App::new(()).on_adopt(adopt);
    /// ```
    #[must_use]
    pub fn on_adopt<F, A, E>(mut self, handler: F) -> Self
    where
        F: Fn(AdoptEvent<S>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error>,
    {
        self.handlers.adopt = Some(Box::new(move |event| boxed(|| handler(event))));
        self.portable()
    }

    /// Called when a connection is about to go to another worker, after its last handler here. Errors
    /// and panics are as those of [`App::on_message`]; it goes all the same. Implies
    /// [`App::portable`].
    ///
    /// ```
    /// use shovel_worker::{App, Error, ReleaseEvent};
    ///
    /// async fn release(event: ReleaseEvent<()>) -> Result<(), Error> {
    ///     println!("{} leaves", event.connection().id());
    ///     Ok(())
    /// }
    ///
    /// let app = App::new(()).on_release(release);
    /// ```
    #[must_use]
    pub fn on_release<F, A, E>(mut self, handler: F) -> Self
    where
        F: Fn(ReleaseEvent<S>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error>,
    {
        self.handlers.release = Some(Box::new(move |event| match event.is_revoked() {
            // Its last handler was dropped, so nothing more is done to it.
            true => Box::pin(std::future::ready(Ok(()))),
            false => boxed(|| handler(event)),
        }));
        self.portable()
    }

    /// Called once, before this worker is given any work. An error ends the process.
    ///
    /// ```
    /// use shovel_worker::{App, Error, StartEvent};
    ///
    /// async fn start(event: StartEvent<()>) -> Result<(), Error> {
    ///     if std::env::var_os("DATABASE_URL").is_none() {
    ///         return Err(Error::message("set DATABASE_URL to where the database is"));
    ///     }
    ///     println!("worker {} starts", event.worker().index);
    ///     Ok(())
    /// }
    ///
    /// let app = App::new(()).on_start(start);
    /// ```
    #[must_use]
    pub fn on_start<F, A, E>(mut self, handler: F) -> Self
    where
        F: FnOnce(StartEvent<S>) -> A + Send + 'static,
        A: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error>,
    {
        self.start = Some(Box::new(move |event| boxed(|| handler(event))));
        self
    }

    /// Called once, after the last handler and the last work given to `wait_until` have ended. An
    /// error is logged.
    ///
    /// ```
    /// use shovel_worker::{App, Error, ShutdownEvent};
    ///
    /// async fn shutdown(event: ShutdownEvent<()>) -> Result<(), Error> {
    ///     println!("worker {} has finished", event.worker().index);
    ///     Ok(())
    /// }
    ///
    /// let app = App::new(()).on_shutdown(shutdown);
    /// ```
    #[must_use]
    pub fn on_shutdown<F, A, E>(mut self, handler: F) -> Self
    where
        F: FnOnce(ShutdownEvent<S>) -> A + Send + 'static,
        A: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error>,
    {
        self.shutdown = Some(Box::new(move |event| boxed(|| handler(event))));
        self
    }

    /// Runs the app until it is told to stop, on a runtime of one thread, this one.
    ///
    /// Started by a supervisor, it serves that one's clients. Started by itself (with the feature
    /// `direct`, which is on by default) it listens on `HOST` and `PORT`, 127.0.0.1:8080 without
    /// them, and SIGTERM or SIGINT end it as they end a pool. Limits, timeouts, origins and the
    /// access log are chosen by the variables that a supervisor knows, such as
    /// `SHOVEL_PING_INTERVAL=10s`; `docs/configuration.md` lists them.
    ///
    /// Returning the error from `main` prints it in one line and exits 1.
    ///
    /// ```no_run
    /// use shovel_worker::{App, RunError};
    ///
    /// fn main() -> Result<(), RunError> {
    ///     App::new(()).run()
    /// }
    /// ```
    ///
    /// # Errors
    /// [`RunError`]: it could not start, could not listen, found wrong variables, or lost its
    /// supervisor.
    pub fn run(self) -> Result<(), RunError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(RunError::Runtime)?;
        let result = runtime.block_on(self.serve());
        // What still blocks a thread must not hold up the end.
        runtime.shutdown_background();
        result
    }

    /// Does what [`App::run`] does, within the caller's runtime.
    ///
    /// Handlers run as tasks of that runtime; if this returns an error, those that still run are
    /// not ended by it.
    ///
    /// ```no_run
    /// use shovel_worker::{App, RunError};
    ///
    /// #[tokio::main(flavor = "current_thread")]
    /// async fn main() -> Result<(), RunError> {
    ///     App::new(()).serve().await
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`App::run`].
    ///
    /// # Cancel safety
    /// None: once dropped, it cannot be begun again.
    pub async fn serve(self) -> Result<(), RunError> {
        #[cfg(feature = "direct")]
        if !supervised::descriptors::are_given() {
            return crate::direct::serve(self).await;
        }
        run::log_to(std::io::stderr);
        let links = supervised::descriptors::take_links()?;
        self.serve_on(links).await
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let adopts = if self.adopts { Capabilities::ADOPT } else { Capabilities::default() };
        adopts.and(Capabilities::CONTINUE).and(Capabilities::OUTBOX)
    }

    /// Does what [`App::serve`] does, on links that are already connected: for tests of the SDK.
    #[doc(hidden)]
    pub async fn serve_on(self, links: Vec<UnixStream>) -> Result<(), RunError> {
        supervised::serve(self, links, Work::default()).await
    }
}

fn boxed<A, E>(call: impl FnOnce() -> A) -> HandlerFuture<()>
where
    A: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Error>,
{
    Box::pin(call().err_into())
}
