//! How much of a connection may be with its owner, uncommitted.

use std::collections::VecDeque;

use shovel_protocol::limits::{CONNECTION_WINDOW_BYTES, MESSAGE_OVERHEAD_BYTES};

/// The sizes of the events that are under way. Derived, not counted: it cannot be lost or doubled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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

    pub(super) fn push(&mut self, bytes: usize) {
        let size = u32::try_from(bytes + MESSAGE_OVERHEAD_BYTES).unwrap_or(u32::MAX);
        self.sizes.push_back(size);
        self.bytes += size as usize;
    }

    pub(super) fn pop(&mut self) {
        let size = self.sizes.pop_front().unwrap_or(0);
        self.bytes -= size as usize;
    }
}
