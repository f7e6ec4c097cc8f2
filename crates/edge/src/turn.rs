//! The turn of a thread: read everything first, then write everything once.
//!
//! Whoever has something to write marks itself dirty. The writer is a task that is woken by the
//! first mark; it lets all other ready tasks go first, so that their output is in the same write.
//! A message written alone costs about ten times one that is written with others.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::Ledger;

/// Writes what it has collected.
pub trait WriteOut {
    /// Called once per mark, at the end of the turn. May mark others.
    fn write_out(self: Rc<Self>);
}

/// A handle on this thread's turn; clones are the same turn.
#[derive(Clone, Default)]
pub struct Turn(Rc<Shared>);

#[derive(Default)]
struct Shared {
    dirty: RefCell<VecDeque<Rc<dyn WriteOut>>>,
    writer: RefCell<Option<Waker>>,
    buffers: Buffers,
    waiting_bytes: Cell<usize>,
    ledger: Ledger,
}

impl Turn {
    /// Has `item` written out at the end of this turn. Mark an item once per turn: it keeps its own
    /// note of that.
    pub fn mark(&self, item: Rc<dyn WriteOut>) {
        self.0.dirty.borrow_mut().push_back(item);
        if let Some(writer) = self.0.writer.take() {
            writer.wake();
        }
    }

    /// The writer; one task per thread. Never ends.
    pub async fn run(self) {
        loop {
            poll_fn(|context| {
                if !self.0.dirty.borrow().is_empty() {
                    return Poll::Ready(());
                }
                self.0.writer.replace(Some(context.waker().clone()));
                Poll::Pending
            })
            .await;
            // Without this the writer would run right after the first message of a burst, and
            // every batch would be of one.
            tokio::task::yield_now().await;
            while let Some(item) = self.next() {
                item.write_out();
            }
        }
    }

    /// Bytes that WebSocket clients of this thread have left unread, as of the last write to each.
    pub fn waiting_bytes(&self) -> usize {
        self.0.waiting_bytes.get()
    }

    /// What is held on this thread because of clients.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// The bytes that wait for one client have become more or fewer.
    pub(crate) fn note_waiting(&self, before: usize, now: usize) {
        let others = self.0.waiting_bytes.get().saturating_sub(before);
        self.0.waiting_bytes.set(others + now);
    }

    /// The thread's pool of buffers.
    pub(crate) fn buffers(&self) -> &Buffers {
        &self.0.buffers
    }

    fn next(&self) -> Option<Rc<dyn WriteOut>> {
        self.0.dirty.borrow_mut().pop_front()
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Turn({} dirty)", self.0.dirty.borrow().len())
    }
}

/// Size of the buffer that all readers of a thread share.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Write buffers kept for the next turn: so many, how large each may be, and all of them. Without the
/// latter each would grow in time to what the longest messages need.
const KEPT_BUFFERS: usize = 256;
const KEPT_BUFFER_BYTES: usize = 64 * 1024;
const KEPT_BYTES: usize = 256 * 1024;

/// Buffers that connections borrow while they are busy, so that an idle one has none.
#[derive(Default)]
pub(crate) struct Buffers {
    read: Cell<Option<Box<[u8]>>>,
    write: RefCell<Vec<Vec<u8>>>,
    /// The capacity of all that are kept to write into.
    kept_bytes: Cell<usize>,
}

impl Buffers {
    /// Lends the read buffer of the thread.
    pub(crate) fn with_read<T>(&self, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
        let buffer = self.read.take();
        let mut buffer = buffer.unwrap_or_else(|| vec![0; READ_BUFFER_BYTES].into_boxed_slice());
        let result = use_it(&mut buffer);
        self.read.set(Some(buffer));
        result
    }

    /// An empty buffer to write into.
    pub(crate) fn take_write(&self) -> Vec<u8> {
        let buffer = self.write.borrow_mut().pop().unwrap_or_default();
        self.kept_bytes.set(self.kept_bytes.get() - buffer.capacity());
        buffer
    }

    /// Gives a buffer back; `buffer` is left without memory.
    pub(crate) fn give_write(&self, buffer: &mut Vec<u8>) {
        let mut buffer = std::mem::take(buffer);
        let mut kept = self.write.borrow_mut();
        let bytes = buffer.capacity();
        let kept_bytes = self.kept_bytes.get() + bytes;
        let is_wanted = (1..=KEPT_BUFFER_BYTES).contains(&bytes) && kept_bytes <= KEPT_BYTES;
        if is_wanted && kept.len() < KEPT_BUFFERS {
            self.kept_bytes.set(kept_bytes);
            buffer.clear();
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_kept_up_to_a_number_and_up_to_their_bytes() {
        let buffers = Buffers::default();
        for _ in 0..2 {
            for (bytes, kept) in [(16, KEPT_BUFFERS), (32 * 1024, 8), (KEPT_BUFFER_BYTES + 1, 0)] {
                let mut lent: Vec<_> = (0..1000).map(|_| Vec::<u8>::with_capacity(bytes)).collect();
                lent.iter_mut().for_each(|buffer| buffers.give_write(buffer));
                let taken = std::iter::repeat_with(|| buffers.take_write());
                assert_eq!(taken.take_while(|buffer| buffer.capacity() > 0).count(), kept);
            }
        }
        assert_eq!(buffers.kept_bytes.get(), 0);
    }
}
