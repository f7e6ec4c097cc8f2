//! Requests, each with the worker that it was given to.

use std::sync::Arc;

use shovel_core::custody::LateUpgrade;
use shovel_protocol::control::{OfferedConnection, RequestHead, request_head_bytes};
use shovel_protocol::{RequestId, ToWorker, WorkerId};
use tokio::sync::Semaphore;

use super::State;
use super::clients::Client;
use crate::testing::exchange::{Answer, Chunk, Exchange, Stage};

impl State {
    /// Whether somebody takes requests.
    pub(in crate::testing) fn serves(&self) -> Option<()> {
        (!self.custody.nobody_takes_work()).then_some(())
    }

    /// Begins a request, which offers an upgrade to a connection of this name if there is one;
    /// returns the credit for its body.
    ///
    /// # Panics
    /// If no worker serves.
    pub(in crate::testing) fn begin(
        &mut self,
        request: RequestId,
        mut head: RequestHead<'_>,
        uuid: Option<[u8; 16]>,
        end: bool,
    ) -> Arc<Semaphore> {
        let worker = self.custody.pick(self.now).expect("a worker that serves was waited for");
        let offered = uuid.map(|uuid| {
            let client = Client { uuid, ..Client::default() };
            let connection = self.custody.reserve(client, worker, request);
            head.offer = Some(OfferedConnection { connection: connection.to_wire(), uuid });
            if let Some(client) = self.custody.client_mut(connection) {
                client.request = request_head_bytes(&head);
            }
            connection
        });
        self.custody.begin_request(worker);
        let exchange = Exchange::new(worker, offered);
        let credit = exchange.credit.clone();
        self.exchanges.insert(request, exchange);
        self.workers.tell(worker, &ToWorker::Request { request, head, end });
        credit
    }

    /// Tells the worker that has a request something about it.
    pub(in crate::testing) fn tell_of(&mut self, request: RequestId, frame: &ToWorker<'_>) {
        if let Some(worker) = self.exchanges.get(&request).map(|exchange| exchange.worker) {
            self.workers.tell(worker, frame);
        }
    }

    pub(in crate::testing) fn take_answer(&mut self, request: RequestId) -> Option<Answer> {
        self.exchanges.get_mut(&request)?.answer.take()
    }

    /// The client of a request goes away, perhaps because the request's body has failed.
    pub(in crate::testing) fn cancel(&mut self, request: RequestId, error: Option<axum::Error>) {
        let found = self.exchanges.get(&request);
        if found.is_some_and(|exchange| exchange.stage != Stage::Ended) {
            self.tell_of(request, &ToWorker::Cancel { request });
            self.with(request, |exchange| {
                let no_body = error.map(Answer::NoBody);
                exchange.answer = exchange.answer.take().or(no_body);
                exchange.end(Chunk::CutOff);
            });
        }
    }

    /// Nobody asks for the answer any more.
    pub(in crate::testing) fn forget(&mut self, request: RequestId) {
        self.cancel(request, None);
        self.exchanges.remove(&request);
    }

    /// The requests of a worker that has ended. `is_replaced`: as happens to workers.
    pub(super) fn lose_requests(&mut self, worker: WorkerId, is_replaced: bool) {
        let its = self.exchanges.iter().filter(|(_, exchange)| exchange.worker == worker);
        let requests: Vec<_> = its.map(|(request, _)| *request).collect();
        for request in requests {
            self.with(request, |exchange| exchange.lose(is_replaced));
        }
    }

    /// Does something to a request, and sees how far it has come by that.
    pub(super) fn with(&mut self, request: RequestId, act: impl FnOnce(&mut Exchange)) {
        let Some(exchange) = self.exchanges.get_mut(&request) else { return };
        let (worker, before) = (exchange.worker, exchange.stage);
        act(exchange);
        let after = exchange.stage;
        if before == Stage::Sent && after != Stage::Sent {
            let untaken = exchange.offered.take();
            untaken
                .and_then(|connection| self.custody.withdraw(connection, LateUpgrade::ClientGone));
            self.custody.answer_request(worker);
        }
        if before != Stage::Ended && after == Stage::Ended {
            self.custody.end_request(worker);
        }
    }
}
