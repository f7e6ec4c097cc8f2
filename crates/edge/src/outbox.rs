//! Bytes that wait for one client.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

use crate::transport::WriteHalf;
use crate::turn::Buffers;

/// Slices per write; Linux takes up to 1,024 (`IOV_MAX`), and more than this gains nothing.
const SLICES: usize = 64;

/// WebSocket frames, or a response, on their way to one client, in order.
///
/// What is sent to this client alone is collected in `tail`; what is shared with others stands in
/// `queue` without a copy.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Part>,
    tail: Vec<u8>,
    bytes: usize,
    /// Of these, what others have too.
    shared_bytes: usize,
}

/// Of WebSocket frames whole ones, but for the first part, which may be half out.
#[derive(Debug)]
struct Part {
    bytes: Bytes,
    /// How many messages these are that were published; 0 of what is sent to this client alone.
    published: u32,
}

/// Whether a write took everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    All,
    Full,
}

impl Outbox {
    /// Bytes that have not been written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory that it takes: for this client alone, and shared with others.
    #[inline]
    pub(crate) fn held_bytes(&self) -> (usize, usize) {
        if self.bytes == 0 {
            return (0, 0);
        }
        let own = self.bytes - self.shared_bytes - self.tail.len();
        let parts = self.queue.capacity() * size_of::<Part>();
        (own + self.tail.capacity() + parts, self.shared_bytes)
    }

    /// Appends frames for this client alone.
    #[inline]
    pub(crate) fn put(&mut self, buffers: &Buffers, write: impl FnOnce(&mut Vec<u8>)) {
        if self.tail.capacity() == 0 {
            self.tail = buffers.take_write();
        }
        let before = self.tail.len();
        write(&mut self.tail);
        self.bytes += self.tail.len() - before;
    }

    /// Puts something before all that waits.
    pub(crate) fn put_first(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        self.queue.push_front(Part { bytes: bytes.into(), published: 0 });
    }

    /// Appends what is not to be copied: so many messages that others get too, or none of those.
    pub(crate) fn put_shared(&mut self, buffers: &Buffers, bytes: Bytes, published: u32) {
        self.settle_tail(buffers);
        self.bytes += bytes.len();
        if published > 0 {
            self.shared_bytes += bytes.len();
        }
        self.queue.push_back(Part { bytes, published });
    }

    /// Whether something was published that can be dropped.
    pub(crate) fn has_published(&self) -> bool {
        self.queue.iter().skip(1).any(|part| part.published > 0)
    }

    /// Drops what was published, the oldest first, until no more than `most_bytes` wait. Returns how
    /// many messages were dropped.
    pub(crate) fn drop_published(&mut self, most_bytes: usize) -> u64 {
        let (mut dropped, mut place) = (0, 1);
        while self.bytes > most_bytes
            && let Some(part) = self.queue.get(place)
        {
            if part.published == 0 {
                place += 1;
                continue;
            }
            dropped += u64::from(part.published);
            self.bytes -= part.bytes.len();
            self.shared_bytes -= part.bytes.len();
            self.queue.remove(place);
        }
        dropped
    }

    /// Drops what has not begun to go out, for a client too slow to take it. The first entry may
    /// be half out, so it stays.
    pub(crate) fn discard(&mut self, buffers: &Buffers) {
        self.settle_tail(buffers);
        self.queue.truncate(1);
        self.bytes = self.queue.iter().map(|part| part.bytes.len()).sum();
        let shared = self.queue.iter().filter(|part| part.published > 0);
        self.shared_bytes = shared.map(|part| part.bytes.len()).sum();
    }

    /// Writes until nothing waits or the socket is full.
    pub(crate) fn write_to(
        &mut self,
        transport: &WriteHalf,
        buffers: &Buffers,
    ) -> io::Result<Written> {
        while self.bytes > 0 {
            match self.write_once(transport) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.settle_tail(buffers);
                    return Ok(Written::Full);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.queue = VecDeque::new();
        buffers.give_write(&mut self.tail);
        Ok(Written::All)
    }

    fn write_once(&self, transport: &WriteHalf) -> io::Result<usize> {
        if self.queue.is_empty() {
            return transport.try_write(&[IoSlice::new(&self.tail)]);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let parts = self.queue.iter().map(|part| &part.bytes[..]).chain([&self.tail[..]]);
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        transport.try_write(&slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.queue.front_mut() {
            let taken = written.min(front.bytes.len());
            front.bytes.advance(taken);
            if front.published > 0 {
                self.shared_bytes -= taken;
            }
            written -= taken;
            if !front.bytes.is_empty() {
                return;
            }
            self.queue.pop_front();
        }
        self.tail.drain(..written);
    }

    /// Moves the tail into the queue at its exact size: the buffer goes back, and what is counted
    /// is what is pinned.
    fn settle_tail(&mut self, buffers: &Buffers) {
        if !self.tail.is_empty() {
            let bytes = Bytes::copy_from_slice(&self.tail);
            self.queue.push_back(Part { bytes, published: 0 });
        }
        buffers.give_write(&mut self.tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(outbox: &Outbox) -> Vec<u8> {
        let parts = outbox.queue.iter().map(|part| &part.bytes[..]);
        parts.chain([&outbox.tail[..]]).flatten().copied().collect()
    }

    #[test]
    fn what_is_dropped_was_published_and_is_the_oldest_but_never_what_may_be_half_out() {
        let (mut outbox, buffers) = (Outbox::default(), Buffers::default());
        let publish = |outbox: &mut Outbox, bytes: &'static [u8], messages| {
            outbox.put_shared(&buffers, Bytes::from_static(bytes), messages);
        };
        publish(&mut outbox, b"aa", 1);
        publish(&mut outbox, b"bbbb", 2);
        outbox.put(&buffers, |out| out.extend_from_slice(b"own"));
        publish(&mut outbox, b"cc", 1);
        publish(&mut outbox, b"dd", 1);
        outbox.put_shared(&buffers, Bytes::from_static(b""), 0);
        assert!(outbox.has_published());
        assert_eq!(outbox.held_bytes().1, 10);
        assert_eq!(outbox.drop_published(13), 0);
        assert_eq!(outbox.drop_published(9), 2);
        assert_eq!(waiting(&outbox), b"aaownccdd");
        assert_eq!(outbox.drop_published(7), 1);
        assert_eq!(waiting(&outbox), b"aaowndd");
        assert_eq!(outbox.drop_published(0), 1);
        assert_eq!((waiting(&outbox), outbox.bytes()), (b"aaown".to_vec(), 5));
        assert!(!outbox.has_published());
        assert_eq!(outbox.held_bytes().1, 2);
        // What has gone out is not held.
        outbox.advance(1);
        assert_eq!(outbox.held_bytes().1, 1);
    }

    #[test]
    fn what_is_not_copied_but_is_nobody_elses_counts_for_its_client() {
        let (mut outbox, buffers) = (Outbox::default(), Buffers::default());
        outbox.put_shared(&buffers, Bytes::from_static(b"a part of a response"), 0);
        let (own, shared) = outbox.held_bytes();
        assert!(own >= 20 && shared == 0, "{own} {shared}");
        outbox.advance(20);
        assert_eq!(outbox.held_bytes(), (0, 0));
    }
}
