//! Messages that are kept until a handler has finished with them, and how many bytes they are.
//!
//! Each connection's are bounded by its window; all of a thread's together by [`LIMIT_BYTES`]: at
//! that, no connection with an unfinished message is read until a half is free.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use shovel_protocol::MessageKind;
use shovel_protocol::limits::MESSAGE_OVERHEAD_BYTES;
use tokio::sync::Notify;

use super::registry::Route;

/// Bytes of messages that a thread keeps for connections that may move.
const LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// What a thread keeps.
#[derive(Clone, Default)]
pub struct Keeper(Rc<Shared>);

#[derive(Default)]
struct Shared {
    bytes: Cell<usize>,
    waiting: RefCell<Vec<Route>>,
    room: Notify,
}

/// A message that is kept.
pub struct KeptMessage {
    pub kind: MessageKind,
    pub data: Bytes,
    keeper: Keeper,
}

impl Keeper {
    /// Keeps a message until what is returned is dropped.
    pub fn keep(&self, kind: MessageKind, data: &[u8]) -> KeptMessage {
        let message =
            KeptMessage { kind, data: Bytes::copy_from_slice(data), keeper: self.clone() };
        self.0.bytes.set(self.0.bytes.get() + message.size());
        message
    }

    /// How many bytes are kept.
    pub fn bytes(&self) -> usize {
        self.0.bytes.get()
    }

    /// Whether so much is kept that no more is to be read.
    pub fn is_full(&self) -> bool {
        self.0.bytes.get() >= LIMIT_BYTES
    }

    /// Has the connection looked at again when there is room.
    pub fn wait(&self, route: Route) {
        self.0.waiting.borrow_mut().push(route);
    }

    /// Waits until there is room again; returns who waited for it.
    ///
    /// # Cancel safety
    /// Safe: only waits.
    pub async fn room(&self) -> Vec<Route> {
        loop {
            self.0.room.notified().await;
            let waiting = self.0.waiting.take();
            if !waiting.is_empty() {
                return waiting;
            }
        }
    }
}

impl KeptMessage {
    fn size(&self) -> usize {
        self.data.len() + MESSAGE_OVERHEAD_BYTES
    }
}

impl Drop for KeptMessage {
    fn drop(&mut self) {
        let shared = &self.keeper.0;
        let left = shared.bytes.get() - self.size();
        shared.bytes.set(left);
        if left < LIMIT_BYTES / 2 && !shared.waiting.borrow().is_empty() {
            shared.room.notify_one();
        }
    }
}
