//! What one client holds, as its own task and the writer of its thread know it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

use tokio::time::Instant;

use super::policy::{LEAST_BYTES, Level};
use super::{Entry, Ledger};

/// What is held of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// What came of it and becomes less only if more of it is read: a message that it has begun.
    pub(crate) incoming_bytes: usize,
    /// What becomes less when the client, or a worker, takes of it.
    pub(crate) outgoing_bytes: usize,
    /// What is counted elsewhere, and freed with this client too: it is judged by it.
    pub(crate) shared_bytes: usize,
}

/// Whether a client is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// As much as it sends.
    All,
    /// No more than so many bytes.
    Little(usize),
    /// Not now: its task is woken when it is. `is_new`: it was read before.
    Nothing { is_new: bool },
}

/// So much is read at once of a client while memory is short.
const LITTLE_BYTES: usize = 4 * 1024;

/// The account of one client, which closes when it is dropped.
#[derive(Debug)]
pub(crate) struct Account {
    ledger: Ledger,
    entry: RefCell<Option<Rc<Entry>>>,
}

impl Account {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        Account { ledger: ledger.clone(), entry: RefCell::default() }
    }

    /// Notes what came of the client and waits for more of it. More of it is progress.
    #[inline]
    pub(crate) fn note_incoming(&self, bytes: usize, waker: impl FnOnce() -> Option<Waker>) {
        let entry = self.entry.borrow();
        let before = entry.as_ref().map_or(0, |entry| entry.incoming_bytes.get());
        if bytes != before {
            let held = entry.as_ref().map(|entry| entry.held()).unwrap_or_default();
            drop(entry);
            self.change(Held { incoming_bytes: bytes, ..held }, bytes > before, waker);
        }
    }

    /// Notes what waits to be taken. `has_moved`: some of it was.
    #[inline]
    pub(crate) fn note_outgoing(
        &self,
        (outgoing_bytes, shared_bytes): (usize, usize),
        has_moved: bool,
        waker: impl FnOnce() -> Option<Waker>,
    ) {
        let entry = self.entry.borrow();
        let is_nothing = entry.is_none() && outgoing_bytes == 0 && shared_bytes == 0;
        if !is_nothing {
            let held = entry.as_ref().map(|entry| entry.held()).unwrap_or_default();
            drop(entry);
            self.change(Held { outgoing_bytes, shared_bytes, ..held }, has_moved, waker);
        }
    }

    /// Notes all that is held.
    pub(crate) fn note(&self, held: Held, has_moved: bool, waker: impl FnOnce() -> Option<Waker>) {
        if self.entry.borrow().is_some() || held != Held::default() {
            self.change(held, has_moved, waker);
        }
    }

    /// How much of the client is to be read now.
    #[inline]
    pub(crate) fn reads(&self) -> Reads {
        match self.ledger.is_calm() {
            true => Reads::All,
            false => self.reads_while_short(),
        }
    }

    /// Whether it is to be closed, since it holds too much. Told once.
    #[inline]
    pub(crate) fn take_eviction(&self) -> bool {
        let entry = self.entry.borrow();
        entry.as_ref().is_some_and(|entry| entry.is_evicted.replace(false))
    }

    #[cold]
    fn change(&self, held: Held, has_moved: bool, waker: impl FnOnce() -> Option<Waker>) {
        let mut slot = self.entry.borrow_mut();
        let entry = slot.get_or_insert_with(|| self.ledger.enter(waker())).clone();
        let before = entry.counted_bytes();
        let has_ended = held == Held::default();
        if has_ended {
            *slot = None;
        }
        drop(slot);
        entry.incoming_bytes.set(held.incoming_bytes);
        entry.outgoing_bytes.set(held.outgoing_bytes);
        entry.shared_bytes.set(held.shared_bytes);
        if has_moved {
            entry.moved.set(Instant::now());
        }
        if has_ended {
            self.ledger.leave(&entry);
        }
        self.ledger.change(before, entry.counted_bytes());
    }

    #[cold]
    fn reads_while_short(&self) -> Reads {
        let entry = self.entry.borrow();
        let lets_read = |entry: &Rc<Entry>| self.ledger.lets_read(entry);
        let Some(entry) = entry.as_ref().filter(|entry| !lets_read(entry)) else {
            return match self.ledger.0.level.get() {
                Level::Calm | Level::Pressed => Reads::All,
                Level::Full => Reads::Little(LITTLE_BYTES),
            };
        };
        let is_new = !entry.is_waiting.replace(true);
        if is_new {
            self.ledger.0.waiting.borrow_mut().push_back(entry.clone());
        }
        Reads::Nothing { is_new }
    }
}

impl Ledger {
    /// Whether a client may be read, for now.
    pub(super) fn lets_read(&self, entry: &Entry) -> bool {
        match self.0.level.get() {
            Level::Calm => true,
            Level::Pressed => {
                let fair = self.policy().fair_bytes(self.0.count.get());
                entry.is_permitted.get() || entry.bytes() <= fair
            }
            Level::Full => entry.bytes() <= LEAST_BYTES,
        }
    }
}

impl Entry {
    fn held(&self) -> Held {
        Held {
            incoming_bytes: self.incoming_bytes.get(),
            outgoing_bytes: self.outgoing_bytes.get(),
            shared_bytes: self.shared_bytes.get(),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.entry.borrow().is_some() {
            self.change(Held::default(), false, || None);
        }
    }
}
