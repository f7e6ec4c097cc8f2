//! One encoded frame for many sockets.

use bytes::Bytes;
use shovel_protocol::MessageKind;

use super::{Socket, encoder};

/// More than this is shared out at once, so that a batch stays small beside an outbox.
const BATCH_BYTES: usize = 64 * 1024;

/// What was published to one channel since it was last shared out: each message encoded once, one
/// contiguous batch for all subscribers. (A queue of frames per subscriber costs a fifth more.)
#[derive(Debug, Default)]
pub struct Fanout {
    batch: Vec<u8>,
}

impl Fanout {
    /// Encodes a message. `true` if it should be shared out at once.
    pub fn put(&mut self, kind: MessageKind, data: &[u8]) -> bool {
        encoder::put_message(&mut self.batch, kind, data);
        self.batch.len() >= BATCH_BYTES
    }

    /// Whether nothing waits to be shared out.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Gives the batch to every subscriber. Call it at the end of the turn, and before anything
    /// that must come behind it: a direct send to a subscriber, a change of who is subscribed.
    pub fn share<'a>(&mut self, subscribers: impl Iterator<Item = &'a Socket>) {
        if self.batch.is_empty() {
            return;
        }
        let frames = Bytes::from(std::mem::take(&mut self.batch));
        for socket in subscribers {
            socket.send_shared(frames.clone());
        }
    }
}
