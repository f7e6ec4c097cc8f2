//! Requests, each with the worker that it was given to.

use std::sync::Arc;

use shovel_protocol::{LeaseId, RequestId, ToWorker, control};
use tokio::sync::Semaphore;

use super::State;
use crate::testing::exchange::{Answer, Chunk, Exchange, Offered};

impl State {
    /// Begins a request; returns the credit for its body.
    ///
    /// # Panics
    /// If no worker serves.
    pub(in crate::testing) fn begin(
        &mut self,
        request: RequestId,
        head: control::RequestHead<'_>,
        end: bool,
    ) -> Arc<Semaphore> {
        let worker = self.serving.expect("a worker that serves was waited for");
        let offered = head.offer.map(|offer| Offered {
            connection: LeaseId::from_wire(offer.connection),
            uuid: offer.uuid,
            request: control::request_head_bytes(&head),
        });
        let exchange = Exchange::new(worker, offered);
        let credit = exchange.credit.clone();
        self.exchanges.insert(request, exchange);
        self.tell(worker, &ToWorker::Request { request, head, end });
        credit
    }

    /// Tells the worker that has a request something about it.
    pub(in crate::testing) fn tell_of(&mut self, request: RequestId, frame: &ToWorker<'_>) {
        if let Some(exchange) = self.exchanges.get(&request) {
            let worker = exchange.worker;
            self.tell(worker, frame);
        }
    }

    pub(in crate::testing) fn take_answer(&mut self, request: RequestId) -> Option<Answer> {
        self.exchanges.get_mut(&request)?.answer.take()
    }

    /// The body of a request has failed: its client is gone.
    pub(in crate::testing) fn fail(&mut self, request: RequestId, error: axum::Error) {
        if let Some(exchange) = self.exchanges.get_mut(&request)
            && !exchange.is_answered
        {
            exchange.is_answered = true;
            exchange.answer.get_or_insert(Answer::NoBody(error));
            exchange.end(Chunk::CutOff);
            let worker = exchange.worker;
            self.tell(worker, &ToWorker::Cancel { request });
        }
    }

    /// Nobody asks for the answer any more.
    pub(in crate::testing) fn forget(&mut self, request: RequestId) {
        let forgotten = self.exchanges.remove(&request);
        if let Some(exchange) = forgotten.filter(|exchange| !exchange.is_answered) {
            self.tell(exchange.worker, &ToWorker::Cancel { request });
        }
    }

    pub(super) fn with(&mut self, request: RequestId, act: impl FnOnce(&mut Exchange)) {
        if let Some(exchange) = self.exchanges.get_mut(&request) {
            act(exchange);
        }
    }
}
