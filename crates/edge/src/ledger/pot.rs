//! What is held because of clients, and is no one client's.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::Ledger;

/// Something of a thread that holds bytes because of clients. What is in it goes with it.
pub struct Pot {
    ledger: Ledger,
    bytes: Cell<usize>,
}

impl Pot {
    pub(super) fn new(ledger: Ledger) -> Self {
        Pot { ledger, bytes: Cell::new(0) }
    }

    /// So much is in it now.
    #[inline]
    pub fn note(&self, bytes: usize) {
        let before = self.bytes.replace(bytes);
        if bytes != before {
            self.ledger.change(before, bytes);
        }
    }

    /// So much is in it.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// So much more is in it.
    pub fn add(&self, bytes: usize) {
        self.note(self.bytes.get() + bytes);
    }

    /// So much less.
    pub fn take(&self, bytes: usize) {
        self.note(self.bytes.get().saturating_sub(bytes));
    }
}

impl Drop for Pot {
    fn drop(&mut self) {
        self.note(0);
    }
}

impl fmt::Debug for Pot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pot({})", self.bytes.get())
    }
}

/// Bytes that many outboxes share: counted once, until the last of them is done with them.
pub(crate) struct Parcel {
    bytes: Vec<u8>,
    count: Arc<AtomicUsize>,
}

impl Parcel {
    pub(crate) fn wrap(bytes: Vec<u8>, ledger: &Ledger) -> Bytes {
        let count = ledger.0.parcel_bytes.clone();
        count.fetch_add(bytes.capacity(), Ordering::Relaxed);
        Bytes::from_owner(Parcel { bytes, count })
    }
}

impl AsRef<[u8]> for Parcel {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.count.fetch_sub(self.bytes.capacity(), Ordering::Relaxed);
    }
}
