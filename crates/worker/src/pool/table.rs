//! What a link knows by slot and lease.

use shovel_protocol::id::Leased;

/// Values by slot, each under the lease that it came with: a look-up is an index.
pub(crate) struct Table<T> {
    slots: Vec<Option<(u32, T)>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { slots: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Puts a value in the place of whatever held the slot under an older lease.
    pub(crate) fn insert(&mut self, id: Leased, value: T) {
        let slot = id.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some((id.lease, value));
    }

    pub(crate) fn find(&self, id: Leased) -> Option<&T> {
        match self.slots.get(id.slot as usize) {
            Some(Some((lease, value))) if *lease == id.lease => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, id: Leased) -> Option<T> {
        self.find(id)?;
        let removed = self.slots[id.slot as usize].take();
        while let Some(None) = self.slots.last() {
            self.slots.pop();
        }
        removed.map(|(_, value)| value)
    }

    /// Empties the table.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        std::mem::take(&mut self.slots).into_iter().flatten().map(|(_, value)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Leased = Leased { slot: 2, lease: 1 };
    const NEW: Leased = Leased { slot: 2, lease: 2 };

    #[test]
    fn an_old_lease_finds_and_removes_nothing() {
        let mut table = Table::default();
        table.insert(OLD, "old");
        table.insert(NEW, "new");
        assert_eq!(table.find(OLD), None);
        assert_eq!(table.remove(OLD), None);
        assert_eq!(table.remove(NEW), Some("new"));
        assert!(table.slots.is_empty());
    }
}
