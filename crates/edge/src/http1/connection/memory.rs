//! What is held of a client that speaks HTTP, and its part in keeping the bound on that.

use std::task::Context;

use http::StatusCode;

use super::{Connection, End, Stage, State};
use crate::backend::{Backend, Relief};
use crate::ledger::{Held, Reads};
use crate::outbox::Outbox;

impl<B: Backend> Connection<B> {
    /// Notes what is held, at the end of its turn.
    pub(super) fn note_held(&mut self, context: &Context<'_>) {
        let (mut outgoing_bytes, mut shared_bytes) = self.outbox.held_bytes();
        let mut incoming_bytes = self.input.held_bytes();
        if let State::Exchange(exchange) = &self.state {
            outgoing_bytes += exchange.head_bytes + std::mem::take(&mut incoming_bytes);
            // What waits for whoever answers is counted where it is.
            let inlet = exchange.upload.inlet.as_ref();
            shared_bytes += inlet.map_or(0, |inlet| inlet.held_bytes());
        }
        let held = Held { incoming_bytes, outgoing_bytes, shared_bytes };
        let has_moved = std::mem::take(&mut self.has_moved);
        self.account.note(held, has_moved, || Some(context.waker().clone()));
    }

    /// Whether the client may be read now. If not, its task is woken when it may.
    pub(super) fn may_fill(&mut self) -> bool {
        let reads = self.account.reads();
        // One that has gone is read to its end: nothing else frees what it holds.
        self.is_starved = matches!(reads, Reads::Nothing { .. }) && !self.read.has_ended();
        if let (Reads::Nothing { is_new: true }, true) = (reads, self.is_starved) {
            self.server.backend.relieved(Relief::NotRead);
        }
        !self.is_starved
    }

    /// Its memory is wanted back: whoever waits for an answer is told so, if none of it has gone out.
    #[cold]
    pub(super) fn evict(&mut self) -> Option<End<B>> {
        self.server.backend.relieved(Relief::ClosedRequest);
        let is_unanswered = match &self.state {
            State::Head { .. } => true,
            State::Exchange(exchange) => matches!(exchange.stage, Stage::Awaited(_)),
            State::Last | State::Lingers => false,
        };
        if !is_unanswered || self.outbox.bytes() > 0 {
            self.outbox = Outbox::default();
            return Some(End::Closed);
        }
        let asked = self.asked();
        self.input.take_all(self.server.turn.buffers());
        self.say_last(StatusCode::SERVICE_UNAVAILABLE, "clients hold too much memory", asked);
        None
    }
}
