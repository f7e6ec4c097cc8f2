//! One bound on the memory of a thread that clients are the cause of: who holds how much, and what
//! happens at it.
//!
//! Nothing is counted on the way of a message. At the end of its turn each client is compared with
//! what was noted of it before, which nearly always is nothing and nothing; only a difference changes
//! the sum. A client that holds something has an `Entry`; what is held because of clients but is
//! nobody's alone (what waits on a link, what many outboxes share) is in `Pot`s and `Parcel`s.
//!
//! The walk: `Account::note` -> the sum -> `policy::Policy::level` -> readers ask
//! `Account::reads` before they read -> `warden` lets them go on, or has the greediest closed.

mod account;
mod policy;
mod pot;
#[cfg(test)]
mod tests;
mod warden;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use self::account::{Account, Held, Reads};
use self::policy::{Level, Policy};
pub(crate) use self::pot::Parcel;
pub use self::pot::Pot;

/// The ledger of a thread; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    limit_bytes: Cell<usize>,
    /// All that is noted: of clients, and in pots.
    noted_bytes: Cell<usize>,
    /// All parcels. An atomic, as those may be dropped anywhere.
    parcel_bytes: Arc<AtomicUsize>,
    level: Cell<Level>,
    /// Closing the greediest is not enough.
    refuses: Cell<bool>,
    /// All clients that hold something.
    holders: RefCell<Vec<Rc<Entry>>>,
    /// How many these are.
    count: Cell<usize>,
    /// Those that are not read, the first that came first.
    waiting: RefCell<VecDeque<Rc<Entry>>>,
    /// Those that are read although they hold much: for what they have begun to be finished.
    permitted: RefCell<Vec<Rc<Entry>>>,
    changed: Notify,
}

/// What one client holds, as long as it holds something.
#[derive(Debug)]
struct Entry {
    /// Its place among the holders.
    place: Cell<usize>,
    /// See [`Held`].
    incoming_bytes: Cell<usize>,
    outgoing_bytes: Cell<usize>,
    shared_bytes: Cell<usize>,
    /// When it made progress last.
    moved: Cell<Instant>,
    is_waiting: Cell<bool>,
    is_permitted: Cell<bool>,
    is_evicted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Default for Shared {
    fn default() -> Self {
        Shared {
            limit_bytes: Cell::new(usize::MAX),
            noted_bytes: Cell::default(),
            parcel_bytes: Arc::default(),
            level: Cell::default(),
            refuses: Cell::default(),
            holders: RefCell::default(),
            count: Cell::default(),
            waiting: RefCell::default(),
            permitted: RefCell::default(),
            changed: Notify::new(),
        }
    }
}

impl Ledger {
    /// So much may be held. What is held already is looked at anew.
    pub fn limit(&self, limit_bytes: usize) {
        self.0.limit_bytes.set(limit_bytes);
        self.look();
    }

    /// What may be held.
    pub fn limit_bytes(&self) -> usize {
        self.0.limit_bytes.get()
    }

    /// What is held.
    pub fn held_bytes(&self) -> usize {
        self.0.noted_bytes.get() + self.0.parcel_bytes.load(Ordering::Relaxed)
    }

    /// Whether whoever would come to hold something is to be turned away.
    pub fn refuses(&self) -> bool {
        self.0.refuses.get()
    }

    /// An empty pot.
    pub fn pot(&self) -> Pot {
        Pot::new(self.clone())
    }

    fn policy(&self) -> Policy {
        Policy { limit_bytes: self.0.limit_bytes.get() }
    }

    #[inline]
    fn is_calm(&self) -> bool {
        self.0.level.get() == Level::Calm
    }

    /// What was noted has become more or less.
    fn change(&self, before: usize, now: usize) {
        self.0.noted_bytes.set(self.0.noted_bytes.get() - before + now);
        self.look();
    }

    fn look(&self) {
        let (held, before) = (self.held_bytes(), self.0.level.get());
        let level = self.policy().level(before, held);
        if level != before {
            self.0.level.set(level);
            self.0.changed.notify_one();
        } else if level == Level::Full && self.policy().is_over(held) {
            self.0.changed.notify_one();
        }
    }

    fn enter(&self, waker: Option<Waker>) -> Rc<Entry> {
        let mut holders = self.0.holders.borrow_mut();
        let entry = Rc::new(Entry {
            place: Cell::new(holders.len()),
            incoming_bytes: Cell::default(),
            outgoing_bytes: Cell::default(),
            shared_bytes: Cell::default(),
            moved: Cell::new(Instant::now()),
            is_waiting: Cell::default(),
            is_permitted: Cell::default(),
            is_evicted: Cell::default(),
            waker: RefCell::new(waker),
        });
        holders.push(entry.clone());
        self.0.count.set(holders.len());
        entry
    }

    /// It holds nothing any more.
    fn leave(&self, entry: &Entry) {
        let (mut holders, place) = (self.0.holders.borrow_mut(), entry.place.get());
        holders.swap_remove(place);
        if let Some(moved) = holders.get(place) {
            moved.place.set(place);
        }
        self.0.count.set(holders.len());
        drop(holders);
        // In the queues it is found to hold nothing.
        entry.wake();
        if entry.is_permitted.get() {
            // The next has its turn.
            self.0.changed.notify_one();
        }
    }
}

impl Entry {
    /// What it is judged by.
    fn bytes(&self) -> usize {
        self.counted_bytes() + self.shared_bytes.get()
    }

    /// What is in the sum.
    fn counted_bytes(&self) -> usize {
        self.incoming_bytes.get() + self.outgoing_bytes.get()
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
