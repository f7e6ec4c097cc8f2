//! The events of a connection that are not finished.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use shovel_protocol::Close;
use shovel_protocol::limits::{CONNECTION_WINDOW_BYTES, MESSAGE_OVERHEAD_BYTES};

/// Something that happens to a connection, kept until a handler has finished with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kept<M> {
    /// A message from the client.
    Message(M),
    /// The socket has closed: the last event.
    Close(Close),
}

/// The events behind `acked`, in order, each with what it counts against the bound.
///
/// Bounded in bytes: whoever reads the client stops while [`Log::is_open`] says no.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Log<M> {
    events: VecDeque<(Kept<M>, usize)>,
    bytes: usize,
}

impl<M> Default for Log<M> {
    fn default() -> Self {
        Log { events: VecDeque::new(), bytes: 0 }
    }
}

impl<M> Log<M> {
    /// Whether another message may be read. The one that crosses the limit is still taken, so that
    /// one of any legal size passes.
    pub(super) fn is_open(&self) -> bool {
        self.bytes < CONNECTION_WINDOW_BYTES
    }

    /// Whether one that was read adds up, and has no close but at its end.
    pub(super) fn is_sound(&self) -> bool {
        let bytes = self.events.iter().try_fold(0_usize, |sum, (_, size)| sum.checked_add(*size));
        let before_last = self.events.len().saturating_sub(1);
        let mut before = self.events.iter().take(before_last);
        bytes == Some(self.bytes)
            && self.bytes <= 1 << 48
            && before.all(|(event, _)| matches!(event, Kept::Message(_)))
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> u64 {
        self.events.len() as u64
    }

    /// Returns what it counts against the bound.
    pub(super) fn push_message(&mut self, message: M, bytes: usize) -> usize {
        let size = bytes + MESSAGE_OVERHEAD_BYTES;
        self.bytes += size;
        self.events.push_back((Kept::Message(message), size));
        size
    }

    pub(super) fn push_close(&mut self, close: Close) {
        self.events.push_back((Kept::Close(close), 0));
    }

    /// The event at a place, counted from the first unfinished one.
    pub(super) fn at(&self, place: u64) -> Option<&Kept<M>> {
        self.events.get(usize::try_from(place).ok()?).map(|(event, _)| event)
    }

    /// The first event is finished.
    pub(super) fn pop(&mut self) {
        if let Some((_, size)) = self.events.pop_front() {
            self.bytes -= size;
        }
        if self.events.is_empty() {
            // An idle connection holds no memory for messages.
            self.events = VecDeque::new();
        }
    }

    /// Gives all messages up; the close, if there is one, stays. Returns how many they were.
    pub(super) fn drop_messages(&mut self) -> u64 {
        let before = self.len();
        self.events.retain(|(event, _)| matches!(event, Kept::Close(_)));
        self.bytes = 0;
        before - self.len()
    }
}
