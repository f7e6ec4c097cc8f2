//! Calls the handlers.
//!
//! A handler is polled once in place, in the turn of the link's reader: most end there. Only one
//! that does not becomes a task, and the next events of its connection wait until it has ended;
//! the task then goes on with them.

use std::future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Method, Request, StatusCode, Uri};

use super::caught::{Caught, Failure};
use super::exchange::{Exchange, Settled};
use super::respond::{self, ImpossibleResponse};
use super::tenure::{Begun, Event};
use crate::app::Handlers;
use crate::error::failed;
use crate::event::{Accepted, Context};
use crate::lock::lock;
use crate::{CloseEvent, Connection, FetchEvent, MessageEvent};

/// The handlers and what they share.
pub(crate) struct Dispatch<S> {
    pub(crate) handlers: Handlers<S>,
    pub(crate) context: Arc<Context<S>>,
    /// Clients may see why a handler failed.
    pub(crate) dev: bool,
}

/// An event whose handler runs.
struct Handling {
    /// `None` if there is nothing to run.
    handler: Option<Caught<()>>,
    name: &'static str,
    seq: Option<u64>,
}

impl<S: Send + Sync + 'static> Dispatch<S> {
    /// Handles an event of a connection, after those before it.
    pub(crate) fn deliver(self: &Arc<Self>, connection: &Connection, event: Event) {
        let mut next = connection.tenure.begin(event);
        let mut in_place = TaskContext::from_waker(Waker::noop());
        while let Some(begun) = next {
            let mut handling = self.call(connection, begun);
            if self.poll(connection, &mut handling, &mut in_place).is_pending() {
                let busy = self.context.work.begin();
                let (dispatch, connection) = (self.clone(), connection.clone());
                tokio::spawn(async move {
                    dispatch.go_on(connection, handling).await;
                    drop(busy);
                });
                return;
            }
            next = connection.tenure.end(handling.seq);
        }
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
            let busy = self.context.work.begin();
            let task = tokio::spawn(async move {
                answer.await;
                drop(busy);
            });
            exchange.set_task(task.abort_handle());
        }
    }

    async fn go_on(self: Arc<Self>, connection: Connection, mut handling: Handling) {
        loop {
            future::poll_fn(|cx| self.poll(&connection, &mut handling, cx)).await;
            match connection.tenure.end(handling.seq) {
                Some(begun) => handling = self.call(&connection, begun),
                None => return,
            }
        }
    }

    #[inline]
    fn call(&self, connection: &Connection, begun: Begun) -> Handling {
        match begun.event {
            Event::Message { seq, message } => {
                let wanted = begun.is_wanted;
                let handler = self.handlers.message.as_ref().filter(|_| wanted).map(|handler| {
                    let context = self.context.clone();
                    Caught::call(|| {
                        handler(MessageEvent::new(context, connection.clone(), message))
                    })
                });
                Handling { handler, name: "message", seq: Some(seq) }
            }
            Event::Closed { seq, close } => {
                let handler = self.handlers.close.as_ref().map(|handler| {
                    let context = self.context.clone();
                    Caught::call(|| handler(CloseEvent::new(context, connection.clone(), close)))
                });
                Handling { handler, name: "close", seq }
            }
        }
    }

    #[inline]
    fn poll(
        &self,
        connection: &Connection,
        handling: &mut Handling,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if let Some(handler) = &mut handling.handler {
            let Poll::Ready(result) = Pin::new(handler).poll(cx) else { return Poll::Pending };
            if let Err(failure) = result {
                self.report(connection, handling.name, &failure);
            }
        }
        Poll::Ready(())
    }

    #[cold]
    fn report(&self, connection: &Connection, name: &str, failure: &Failure) {
        let (worker, id) = (self.context.worker.id, connection.id());
        tracing::error!(worker, connection = %id, "{name} handler failed: {failure}");
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
        // Headers that cannot be sent accept nothing.
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
