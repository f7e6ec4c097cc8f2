//! One encoded frame for many sockets.

use bytes::Bytes;
use shovel_protocol::MessageKind;

use super::{Socket, encoder};
use crate::Ledger;
use crate::ledger::Parcel;

/// More than this is shared out at once, so that a batch stays small beside an outbox.
const BATCH_BYTES: usize = 64 * 1024;

/// What was published to one channel since it was last shared out: each message encoded once, one
/// contiguous batch for all subscribers. (A queue of frames per subscriber costs a fifth more.)
#[derive(Debug, Default)]
pub struct Fanout {
    batch: Vec<u8>,
    messages: u32,
}

impl Fanout {
    /// Encodes a message. `true` if it should be shared out at once.
    pub fn put(&mut self, kind: MessageKind, data: &[u8]) -> bool {
        encoder::put_message(&mut self.batch, kind, data);
        self.messages += 1;
        self.batch.len() >= BATCH_BYTES
    }

    /// Whether nothing waits to be shared out.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Gives the batch to every subscriber. Call it at the end of the turn, and before anything
    /// that must come behind it: a direct send to a subscriber, a change of who is subscribed.
    pub fn share<'a>(&mut self, subscribers: impl Iterator<Item = &'a Socket>, ledger: &Ledger) {
        if self.batch.is_empty() {
            return;
        }
        let frames = self.take(ledger);
        let messages = std::mem::take(&mut self.messages);
        for socket in subscribers {
            socket.send_shared(frames.clone(), messages);
        }
    }

    /// As [`Fanout::share`], each as far as [`Socket::takes`] says: call it in the same turn. Returns
    /// how many messages were dropped, once for each subscriber.
    pub fn share_with_takers<'a>(
        &mut self,
        subscribers: impl Iterator<Item = &'a Socket>,
        ledger: &Ledger,
    ) -> u64 {
        let frames = self.take(ledger);
        let messages = std::mem::take(&mut self.messages);
        subscribers.map(|socket| socket.send_shared_if_taken(frames.clone(), messages)).sum()
    }

    fn take(&mut self, ledger: &Ledger) -> Bytes {
        let mut batch = std::mem::take(&mut self.batch);
        // Room that is not needed would be held as long as one of them is slow.
        batch.shrink_to_fit();
        Parcel::wrap(batch, ledger)
    }
}
