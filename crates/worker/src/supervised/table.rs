//! What a link knows by slot and lease.

use std::collections::HashMap;

use shovel_protocol::id::Leased;

/// Values by slot, each under the lease that it came with: a look-up is an index.
pub(crate) struct Table<T> {
    slots: Vec<Option<(u32, T)>>,
    /// Those whose slot has another lease by now: an upgrade that came too late, whose `ws:gone` is
    /// still on its way, beside the connection that has its slot.
    displaced: HashMap<Leased, T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { slots: Vec::new(), displaced: HashMap::new() }
    }
}

impl<T> Table<T> {
    /// Puts a value in. A value of the same slot under another lease stays.
    pub(crate) fn insert(&mut self, id: Leased, value: T) {
        let slot = id.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        if let Some((lease, other)) = self.slots[slot].replace((id.lease, value))
            && lease != id.lease
        {
            self.displaced.insert(Leased { slot: id.slot, lease }, other);
        }
    }

    pub(crate) fn find(&self, id: Leased) -> Option<&T> {
        match self.slots.get(id.slot as usize) {
            Some(Some((lease, value))) if *lease == id.lease => Some(value),
            _ => self.find_displaced(id),
        }
    }

    #[cold]
    fn find_displaced(&self, id: Leased) -> Option<&T> {
        self.displaced.get(&id)
    }

    pub(crate) fn remove(&mut self, id: Leased) -> Option<T> {
        let slot = self.slots.get_mut(id.slot as usize);
        let Some(found) = slot.and_then(|slot| slot.take_if(|(lease, _)| *lease == id.lease))
        else {
            return self.displaced.remove(&id);
        };
        while let Some(None) = self.slots.last() {
            self.slots.pop();
        }
        Some(found.1)
    }

    /// Empties the table.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        let displaced = std::mem::take(&mut self.displaced).into_values();
        let slots = std::mem::take(&mut self.slots).into_iter().flatten();
        slots.map(|(_, value)| value).chain(displaced).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Leased = Leased { slot: 2, lease: 1 };
    const NEW: Leased = Leased { slot: 2, lease: 2 };

    #[test]
    fn another_lease_finds_and_removes_nothing() {
        let mut table = Table::default();
        table.insert(NEW, "new");
        assert_eq!(table.find(OLD), None);
        assert_eq!(table.remove(OLD), None);
        assert_eq!(table.remove(NEW), Some("new"));
        assert!(table.slots.is_empty());
    }

    #[test]
    fn two_leases_of_a_slot_are_kept_apart_in_whatever_order_they_come() {
        for (first, second) in [(OLD, NEW), (NEW, OLD)] {
            let mut table = Table::default();
            table.insert(first, first.lease);
            table.insert(second, second.lease);
            assert_eq!(table.find(OLD), Some(&OLD.lease));
            assert_eq!(table.remove(OLD), Some(OLD.lease));
            assert_eq!(table.find(NEW), Some(&NEW.lease));
            assert_eq!(table.take_all(), [NEW.lease]);
            assert!(table.displaced.is_empty());
        }
    }
}
