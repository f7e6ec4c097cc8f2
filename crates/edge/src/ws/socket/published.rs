//! What is published to a client, beside what is sent to it alone.

use bytes::Bytes;

use super::Socket;
use crate::ws::{SlowConsumer, Takes};

impl Socket {
    /// Sends whole frames of so many messages that are shared with other connections.
    pub(crate) fn send_shared(&self, frames: Bytes, messages: u32) {
        let mut state = self.0.state.borrow_mut();
        if state.is_open() {
            state.outbox.put_shared(self.0.turn.buffers(), frames, messages);
            drop(state);
            self.mark();
        }
    }

    /// As [`Socket::send_shared`], as far as [`Socket::takes`] says. Returns how many messages were
    /// dropped.
    pub(crate) fn send_shared_if_taken(&self, frames: Bytes, messages: u32) -> u64 {
        match self.takes() {
            Takes::Whole => self.send_shared(frames, messages),
            Takes::InPlaceOfOlder => {
                let most_bytes = self.0.limit_bytes.saturating_sub(frames.len());
                let dropped = self.0.state.borrow_mut().outbox.drop_published(most_bytes);
                self.send_shared(frames, messages);
                return dropped;
            }
            Takes::Nothing => return messages.into(),
            Takes::NoMore | Takes::Closed => {}
        }
        0
    }

    /// What becomes of the next message that is published to it.
    #[inline]
    pub fn takes(&self) -> Takes {
        match self.is_open() {
            false => Takes::Closed,
            true if !self.0.over.get() => Takes::Whole,
            true => self.takes_though_over(),
        }
    }

    fn takes_though_over(&self) -> Takes {
        match self.0.slow_consumer.get() {
            SlowConsumer::Close => Takes::NoMore,
            SlowConsumer::DropOldest if self.0.state.borrow().outbox.has_published() => {
                Takes::InPlaceOfOlder
            }
            SlowConsumer::DropOldest | SlowConsumer::DropNewest => Takes::Nothing,
        }
    }

    /// Another way with what is published to it while it reads too slowly.
    pub fn set_slow_consumer(&self, slow_consumer: SlowConsumer) {
        self.0.slow_consumer.set(slow_consumer);
    }
}
