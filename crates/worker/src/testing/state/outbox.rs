//! What waits for clients that do not read.

use std::collections::VecDeque;

use shovel_core::custody::{OutOfTurn, Route};
use shovel_protocol::control::{AskFields, OutboxFields};
use shovel_protocol::{
    Close, CloseCode, LeaseId, OutboxQuestion, SlowConsumer, ToWorker, WorkerId,
};

use super::State;
use crate::{Message, Published};

/// The supervisor's default of `--outbox-limit`.
const OUTBOX_LIMIT_BYTES: usize = 1024 * 1024;

/// The messages that wait for a client, and what its owner knows of it.
#[derive(Default)]
pub(in crate::testing) struct Outbox {
    /// Its client does not read.
    is_stopped: bool,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// The owner was told that its client reads too slowly.
    pub(super) is_over: bool,
    pub(super) slow_consumer: SlowConsumer,
    /// The newest question of its owner that is answered once nothing waits.
    pub(super) asked: Option<u64>,
}

struct Waiting {
    message: Message,
    /// Not sent to this client alone: it can be dropped.
    is_published: bool,
}

impl State {
    /// Something is sent to a client.
    pub(super) fn send(&mut self, route: Route, message: Message) {
        self.put(route, message, false);
    }

    /// Something is published to a client; adds to what became of it.
    pub(super) fn send_published(
        &mut self,
        route: Route,
        message: Message,
        published: &mut Published,
    ) {
        let Some(client) = self.client(route) else { return };
        let outbox = &mut client.outbox;
        let drops_older = outbox.slow_consumer == SlowConsumer::DropOldest;
        if !outbox.is_over || (drops_older && outbox.has_published()) {
            if outbox.is_over {
                outbox.drop_published(OUTBOX_LIMIT_BYTES.saturating_sub(message.len()));
            }
            published.delivered += 1;
            return self.put(route, message, true);
        }
        if outbox.slow_consumer == SlowConsumer::Close {
            published.closed += 1;
            let (code, reason) = (CloseCode::POLICY, "client reads too slowly".to_owned());
            return self.close(route, Close { code, reason, was_clean: false });
        }
        published.dropped += 1;
    }

    fn put(&mut self, route: Route, message: Message, is_published: bool) {
        let Some(client) = self.client(route) else { return };
        if !client.outbox.is_stopped {
            return client.received.push_back(message);
        }
        client.outbox.bytes += message.len();
        client.outbox.waiting.push_back(Waiting { message, is_published });
        self.note_fill(route);
    }

    /// A client reads on, or no longer.
    pub(in crate::testing) fn set_reading(&mut self, route: Route, reads: bool) {
        let Some(client) = self.client(route) else { return };
        client.outbox.is_stopped = !reads;
        if !reads {
            return;
        }
        client.outbox.bytes = 0;
        let waiting = std::mem::take(&mut client.outbox.waiting);
        client.received.extend(waiting.into_iter().map(|waiting| waiting.message));
        self.answer_asked(route, Some(0));
        self.note_fill(route);
    }

    /// The owner wants to know what waits for its client, or when nothing does.
    pub(super) fn ask(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
        AskFields { token, question }: AskFields,
    ) -> Result<(), OutOfTurn> {
        let Some(found) = self.custody.accepted(connection, worker)? else { return Ok(()) };
        let client = &mut found.client;
        let bytes = client.closed.is_none().then_some(client.outbox.bytes as u64);
        if question == OutboxQuestion::Empty && bytes.is_some_and(|bytes| bytes > 0) {
            client.outbox.asked = Some(token);
        } else {
            let outbox = OutboxFields { token, bytes };
            self.workers.tell(worker, &ToWorker::Outbox { connection, outbox });
        }
        Ok(())
    }

    /// Answers the owner, if it asked.
    pub(super) fn answer_asked(&mut self, route: Route, bytes: Option<u64>) {
        let Some((connection, found)) = self.custody.on_route_mut(route) else { return };
        if let Some(token) = found.client.outbox.asked.take() {
            let outbox = OutboxFields { token, bytes };
            self.tell_owner(connection, &ToWorker::Outbox { connection, outbox });
        }
    }

    /// Tells the owner if its client has begun to read too slowly, or reads well again.
    fn note_fill(&mut self, route: Route) {
        let Some((connection, found)) = self.custody.on_route_mut(route) else { return };
        let outbox = &mut found.client.outbox;
        let over = match outbox.is_over {
            true => outbox.bytes > OUTBOX_LIMIT_BYTES / 2,
            false => outbox.bytes >= OUTBOX_LIMIT_BYTES,
        };
        if std::mem::replace(&mut outbox.is_over, over) != over {
            self.tell_owner(connection, &ToWorker::Pressure { connection, over });
        }
    }
}

impl Outbox {
    fn has_published(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.is_published)
    }

    /// Drops what was published, the oldest first, until no more than so much waits.
    fn drop_published(&mut self, most_bytes: usize) {
        let bytes = &mut self.bytes;
        self.waiting.retain(|waiting| {
            let goes = waiting.is_published && *bytes > most_bytes;
            if goes {
                *bytes -= waiting.message.len();
            }
            !goes
        });
    }
}
