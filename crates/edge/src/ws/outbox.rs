//! Bytes that wait for one client.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

use crate::transport::WriteHalf;
use crate::turn::Buffers;

/// Slices per write; Linux takes up to 1,024 (`IOV_MAX`), and more than this gains nothing.
const SLICES: usize = 64;

/// WebSocket frames on their way to one client, in order.
///
/// What is sent to this client alone is collected in `tail`; what is shared with others stands in
/// `queue` without a copy.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Bytes>,
    tail: Vec<u8>,
    bytes: usize,
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
        self.queue.push_front(bytes.into());
    }

    /// Appends frames that others get too.
    pub(crate) fn put_shared(&mut self, buffers: &Buffers, frames: Bytes) {
        self.settle_tail(buffers);
        self.bytes += frames.len();
        self.queue.push_back(frames);
    }

    /// Drops what has not begun to go out, for a client too slow to take it. The first entry may
    /// be half out, so it stays.
    pub(crate) fn discard(&mut self, buffers: &Buffers) {
        self.settle_tail(buffers);
        self.queue.truncate(1);
        self.bytes = self.queue.iter().map(Bytes::len).sum();
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
        let parts = self.queue.iter().map(|bytes| &bytes[..]).chain([&self.tail[..]]);
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
            let taken = written.min(front.len());
            front.advance(taken);
            written -= taken;
            if !front.is_empty() {
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
            self.queue.push_back(Bytes::copy_from_slice(&self.tail));
        }
        buffers.give_write(&mut self.tail);
    }
}
