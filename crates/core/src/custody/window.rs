//! How much of a connection may be with its owner, uncommitted.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use shovel_protocol::limits::{CONNECTION_WINDOW_BYTES, MESSAGE_OVERHEAD_BYTES};

/// The sizes of the events that are under way. Derived, not counted: it cannot be lost or doubled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    sizes: VecDeque<u32>,
    bytes: usize,
}

impl Window {
    /// Whether another event may go. The one that goes over the window still goes, so that one of
    /// any size passes.
    pub fn is_open(&self) -> bool {
        self.bytes < CONNECTION_WINDOW_BYTES
    }

    #[inline]
    pub(super) fn push(&mut self, bytes: usize) {
        let size = u32::try_from(bytes + MESSAGE_OVERHEAD_BYTES).unwrap_or(u32::MAX);
        self.sizes.push_back(size);
        self.bytes += size as usize;
    }

    /// Whether one that was read adds up.
    pub(super) fn is_sound(&self) -> bool {
        self.sizes.iter().map(|size| *size as usize).sum::<usize>() == self.bytes
    }

    /// The first so many events are finished.
    pub(super) fn pop(&mut self, events: u64) {
        let events = usize::try_from(events).unwrap_or(usize::MAX).min(self.sizes.len());
        if events == self.sizes.len() {
            // Most of the time: then nothing has to be added up.
            self.sizes.clear();
            self.bytes = 0;
            return;
        }
        self.bytes -= self.sizes.drain(..events).map(|size| size as usize).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finished_no_longer_counts_and_what_is_not_does() {
        let mut window = Window::default();
        (1..=5).for_each(|bytes| window.push(bytes * 1000));
        window.pop(2);
        assert_eq!(window.bytes, 3000 + 4000 + 5000 + 3 * MESSAGE_OVERHEAD_BYTES);
        window.push(6000);
        window.pop(1);
        assert_eq!(window.bytes, 4000 + 5000 + 6000 + 3 * MESSAGE_OVERHEAD_BYTES);
        window.pop(3);
        assert_eq!(window, Window::default());
    }
}
