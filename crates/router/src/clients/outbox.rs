//! What waits for a client, as its owner asks about it, and what becomes of what is published meanwhile.
//!
//! Of a connection one question waits at most, the newest: nothing waits for those before it either
//! when it is answered. So however many a worker asks, they are no queue here.

use std::rc::Rc;

use shovel_core::custody::Route;
use shovel_core::slots::Slot;
use shovel_protocol::control::{AskFields, OutboxFields};
use shovel_protocol::head::Kind;
use shovel_protocol::{BadFrame, LeaseId, OutboxQuestion, SlowConsumer, ToWorker};

use crate::links::frames::{drop_stray, out_of_turn};
use crate::links::link::Link;
use crate::router::Router;

impl Router {
    /// The owner wants to know what waits for its client, or when nothing does.
    pub(crate) fn on_ask(
        &self,
        link: &Rc<Link>,
        id: LeaseId,
        ask: AskFields,
    ) -> Result<(), BadFrame> {
        // What was published before it waits too.
        self.share_channels_of(id.0.slot);
        let mut custody = self.custody.borrow_mut();
        let found = custody.accepted(id, link.worker);
        let Some(connection) = found.map_err(|why| out_of_turn(Kind::WsAsk, why))? else {
            return drop_stray(link, Kind::WsAsk);
        };
        let AskFields { token, question } = ask;
        let client = &mut connection.client;
        let bytes = client.socket.untaken_bytes();
        if client.socket.has_ended() {
            client.asked = None;
            answer(link, id, token, None);
        } else if question == OutboxQuestion::Empty && bytes > 0 {
            client.asked = Some((id, token));
            client.socket.await_empty();
        } else {
            answer(link, id, token, Some(bytes));
        }
        Ok(())
    }

    /// Nothing waited for a client for a moment.
    pub(crate) fn on_emptied(&self, route: Route) {
        self.answer_asked(route, Some(0));
    }

    /// Answers the owner, if it asked.
    pub(crate) fn answer_asked(&self, route: Route, bytes: Option<usize>) {
        let mut custody = self.custody.borrow_mut();
        let Some((id, found)) = custody.on_route_mut(route) else { return };
        let asked = found.client.asked.take().filter(|(lease, _)| *lease == id);
        let (Some((_, token)), Some(owner)) = (asked, found.owner()) else { return };
        if let Some(link) = custody.worker(owner) {
            answer(link, id, token, bytes);
        }
    }

    /// Another way with what is published to a client that reads too slowly. `None`: as the pool is
    /// configured.
    pub(crate) fn set_slow_consumer(&self, slot: Slot, policy: Option<SlowConsumer>) {
        if let Some(connection) = self.custody.borrow_mut().at_mut(slot) {
            connection.client.slow_consumer = policy;
            let policy = policy.unwrap_or(self.settings.get().ws.slow_consumer);
            connection.client.socket.set_slow_consumer(policy);
        }
    }
}

fn answer(link: &Link, connection: LeaseId, token: u64, bytes: Option<usize>) {
    let outbox = OutboxFields { token, bytes: bytes.map(|bytes| bytes as u64) };
    link.answer(&ToWorker::Outbox { connection, outbox });
}

#[cfg(test)]
mod tests {
    use shovel_protocol::{MessageKind, WorkerId};

    use super::*;
    use crate::testing::{Thread, WORKER, run};

    /// H182.
    #[test]
    fn of_all_questions_about_a_connection_the_newest_waits_and_is_answered_once() {
        run(async || {
            let thread = Thread::alone();
            let links =
                [WORKER, WorkerId(2)].map(|worker| thread.join(worker, &Default::default()));
            let [link, other] = &links;
            let route = thread.portable(link);
            let id = thread.with(route, |id, connection| {
                connection.client.socket.send(MessageKind::Text, b"hello");
                id
            });
            let ask = |link, token| {
                let ask = AskFields { token, question: OutboxQuestion::Empty };
                thread.router.on_ask(link, id, ask).unwrap();
            };
            let before = links.each_ref().map(|link| link.waiting_bytes());
            (1..=1000).for_each(|token| ask(link, token));
            ask(other, 1001);
            thread
                .with(route, |_, connection| assert_eq!(connection.client.asked, Some((id, 1000))));
            assert_eq!(links.each_ref().map(|link| link.waiting_bytes()), before);
            thread.router.on_emptied(route);
            let answered = link.waiting_bytes();
            assert!(answered > before[0] && answered < before[0] + 50, "one answer");
            thread.router.on_emptied(route);
            assert_eq!(link.waiting_bytes(), answered);
        });
    }
}
