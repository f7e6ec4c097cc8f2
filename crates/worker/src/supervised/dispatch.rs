//! Calls the handlers, and goes on in a task with those that wait. What a link's reader does with an
//! event before that, and how messages skip most of this, is in [`super::in_place`].

use std::future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Method, Request, StatusCode, Uri};
use shovel_core::tenure::Outcome;

use super::caught::{Caught, Failure, catch_panic};
use super::exchange::{Exchange, Settled};
use super::respond::{self, ImpossibleResponse};
use super::tenure::{Closed, Event, Next};
use crate::app::{Handler, Handlers, NewSeat};
use crate::error::failed;
use crate::event::{Accepted, Context};
use crate::lock::lock;
use crate::{AdoptEvent, CloseEvent, Connection, FetchEvent, MessageEvent, ReleaseEvent};

/// The handlers and what they share.
pub(crate) struct Dispatch<S> {
    pub(crate) handlers: Handlers<S>,
    pub(crate) context: Arc<Context<S>>,
    /// Clients may see why a handler failed.
    pub(crate) dev: bool,
}

/// An event whose handler runs.
pub(crate) struct Handling {
    /// `None` if there is nothing to run.
    pub(crate) handler: Option<Caught<()>>,
    pub(crate) name: &'static str,
}

impl<S: Send + Sync + 'static> Dispatch<S> {
    /// Goes on with a handler that waits.
    #[cold]
    pub(crate) fn spawn(self: &Arc<Self>, connection: Connection, handling: Handling) {
        self.context.work.spawn(self.clone().go_on(connection, handling));
    }

    /// Answers a request that its link knows already.
    pub(crate) fn answer(
        self: &Arc<Self>,
        exchange: Arc<Exchange>,
        request: Request<Body>,
        client: Option<SocketAddr>,
    ) {
        let mut answer: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(self.clone().fetch(exchange.clone(), request, client));
        let mut in_place = TaskContext::from_waker(Waker::noop());
        if answer.as_mut().poll(&mut in_place).is_pending() {
            exchange.set_task(self.context.work.spawn(answer).abort_handle());
        }
    }

    async fn go_on(self: Arc<Self>, connection: Connection, mut handling: Handling) {
        loop {
            let ended = future::poll_fn(|cx| {
                if connection.tenure.is_revoked(cx.waker()) {
                    return Poll::Ready(None);
                }
                self.poll(&connection, &mut handling, cx).map(Some)
            })
            .await;
            let next = match ended {
                Some(outcome) => connection.tenure.end(outcome),
                None => {
                    // Answered only when nothing of it is left.
                    if let Err(text) = catch_panic(|| drop(handling)) {
                        let (worker, id) = (self.context.worker.id, connection.id());
                        tracing::error!(worker, connection = %id, "dropped handler panicked: {text}");
                    }
                    connection.tenure.handler_dropped()
                }
            };
            match next {
                Some(next) => handling = self.call(&connection, next),
                None => return,
            }
        }
    }

    pub(crate) fn call(&self, connection: &Connection, next: Next) -> Handling {
        let (handlers, connection) = (&self.handlers, connection.clone());
        match next {
            Next::Skip => Handling { handler: None, name: "message" },
            Next::Handle(Event::Message(arrived)) => {
                let event = MessageEvent::new(self.context.clone(), arrived);
                let call = |new_seat: &NewSeat<_>| {
                    Caught::call(|| {
                        let mut seat = new_seat();
                        seat.as_mut().call(event);
                        seat
                    })
                };
                Handling { handler: handlers.message.as_ref().map(call), name: "message" }
            }
            Next::Handle(Event::Closed(closed)) => {
                let Closed { again, close, .. } = *closed;
                let event = |context| CloseEvent::new(context, connection, again, close);
                self.handling("close", handlers.close.as_ref(), event)
            }
            Next::Handle(Event::Adopted(adoption)) => {
                let event = |context| AdoptEvent::new(context, connection, *adoption);
                self.handling("adopt", handlers.adopt.as_ref(), event)
            }
            Next::Release { revoked } => {
                let event = |context| ReleaseEvent::new(context, connection, revoked);
                self.handling("release", handlers.release.as_ref(), event)
            }
        }
    }

    fn handling<E>(
        &self,
        name: &'static str,
        handler: Option<&Handler<E, ()>>,
        event: impl FnOnce(Arc<Context<S>>) -> E,
    ) -> Handling {
        let call = |handler: &Handler<E, ()>| Caught::call(|| handler(event(self.context.clone())));
        Handling { handler: handler.map(call), name }
    }

    pub(crate) fn poll(
        &self,
        connection: &Connection,
        handling: &mut Handling,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Outcome> {
        let Some(handler) = &mut handling.handler else { return Poll::Ready(Outcome::Done) };
        let result = Pin::new(handler).poll(cx);
        result.map(|result| self.outcome(connection, handling.name, result))
    }

    /// How a handler has ended. Logs a failure.
    #[inline]
    pub(crate) fn outcome(
        &self,
        connection: &Connection,
        name: &str,
        result: Result<(), Failure>,
    ) -> Outcome {
        match result {
            Ok(()) => Outcome::Done,
            Err(failure) => self.report(connection, name, &failure),
        }
    }

    #[cold]
    fn report(&self, connection: &Connection, name: &str, failure: &Failure) -> Outcome {
        let (worker, id) = (self.context.worker.id, connection.id());
        tracing::error!(worker, connection = %id, "{name} handler failed: {failure}");
        match failure {
            Failure::Error(_) => Outcome::Failed,
            Failure::Panic(_) => Outcome::Panicked,
        }
    }

    async fn fetch(
        self: Arc<Self>,
        exchange: Arc<Exchange>,
        request: Request<Body>,
        client: Option<SocketAddr>,
    ) {
        let _forgotten_at_the_end = Known(&exchange);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let event = FetchEvent::new(self.context.clone(), exchange.clone(), request, client);
        let result = match &self.handlers.fetch {
            Some(handler) => Caught::call(|| handler(event)).await,
            None => Ok(StatusCode::NOT_FOUND.into_response()),
        };
        let response = result.unwrap_or_else(|failure| self.failed(failure, &method, &uri));
        let to_head_request = method == Method::HEAD;
        let body = match self.settle(&exchange, response, to_head_request) {
            Ok(body) => body,
            Err(impossible) => {
                let response = self.failed(Failure::Error(impossible.into()), &method, &uri);
                // An error response of our own can be sent.
                self.settle(&exchange, response, to_head_request).unwrap_or_default()
            }
        };
        if let Some(body) = body
            && let Err(broken) = respond::send_body(&exchange, body).await
        {
            let worker = self.context.worker.id;
            tracing::error!(worker, %method, path = uri.path(), "body of a response: {broken}");
        }
    }

    /// Sends a response or accepts the upgrade. Returns the body if it is to follow.
    fn settle(
        &self,
        exchange: &Exchange,
        response: Response,
        to_head_request: bool,
    ) -> Result<Option<Body>, ImpossibleResponse> {
        let accepted = response.extensions().get::<Accepted>().cloned();
        let accepted = accepted.as_ref().map(|accepted| &accepted.0);
        let headers = respond::wire_headers(response.headers());
        // Headers that cannot be sent accept nothing, nor does what cannot be done beside them.
        let fits = accepted.is_none_or(|connection| connection.tenure.fits());
        let headers = headers.and_then(|headers| match fits {
            true => Ok(headers),
            false => Err(ImpossibleResponse::TooMuch),
        });
        let accepted = accepted.filter(|_| headers.is_ok());
        match exchange.settle(accepted, headers.clone().unwrap_or_default()) {
            Settled::Upgrade => Ok(None),
            Settled::Stray => Err(ImpossibleResponse::Stray),
            Settled::Response => {
                headers?;
                respond::send_head(exchange, response, to_head_request)
            }
        }
    }

    fn failed(&self, failure: Failure, method: &Method, uri: &Uri) -> Response {
        let seen_as_it_is = matches!(&failure, Failure::Error(error) if !error.is_inside());
        if !seen_as_it_is {
            let worker = self.context.worker.id;
            tracing::error!(worker, %method, path = uri.path(), "fetch handler failed: {failure}");
        }
        match failure {
            Failure::Error(error) => error.into_response(self.dev),
            Failure::Panic(_) => failed(self.dev.then(|| failure.to_string()).as_deref()),
        }
    }
}

/// A request in its link's table, until this is dropped.
struct Known<'a>(&'a Exchange);

impl Drop for Known<'_> {
    fn drop(&mut self) {
        let removed = lock(&self.0.link.exchanges).remove(self.0.request.0);
        drop(removed);
        self.0.close_upload();
    }
}
