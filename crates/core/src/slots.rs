//! A table whose places are leased: an id names a place and the lease under which it was given, so
//! that a look-up is an index and a stale id is caught by one comparison.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shovel_protocol::id::Leased;

/// A place of a table, whatever its lease.
pub type Slot = u32;

/// Values by leased id. Places are used again; leases go up, and wrap after 2^32.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slots<T> {
    slots: Vec<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Entry<T> {
    lease: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Stores a value that is made with its id in hand.
    pub fn insert_with(&mut self, make: impl FnOnce(Leased) -> T) -> Leased {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Entry { lease: 0, value: None });
            self.slots.len() as u32 - 1
        });
        let place = &mut self.slots[slot as usize];
        let id = Leased { slot, lease: place.lease };
        place.value = Some(make(id));
        id
    }

    /// The value, if the lease has not ended.
    pub fn get(&self, id: Leased) -> Option<&T> {
        self.slots.get(id.slot as usize).filter(|slot| slot.lease == id.lease)?.value.as_ref()
    }

    /// The value, if the lease has not ended.
    pub fn get_mut(&mut self, id: Leased) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.value.as_mut().filter(|_| slot.lease == id.lease)
    }

    /// The value in a place, whatever its lease.
    pub fn at(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.value.as_ref()
    }

    /// The value in a place, whatever its lease.
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        Some(self.leased_at_mut(slot)?.1)
    }

    /// The value in a place, and its id.
    pub fn leased_at(&self, slot: u32) -> Option<(Leased, &T)> {
        let place = self.slots.get(slot as usize)?;
        Some((Leased { slot, lease: place.lease }, place.value.as_ref()?))
    }

    /// The value in a place, and its id.
    pub fn leased_at_mut(&mut self, slot: u32) -> Option<(Leased, &mut T)> {
        let place = self.slots.get_mut(slot as usize)?;
        Some((Leased { slot, lease: place.lease }, place.value.as_mut()?))
    }

    /// Ends the lease of a value, which stays in its place under the next one.
    pub fn renew(&mut self, slot: u32) -> Option<Leased> {
        let place = self.slots.get_mut(slot as usize)?;
        place.value.as_ref()?;
        place.lease = place.lease.wrapping_add(1);
        Some(Leased { slot, lease: place.lease })
    }

    /// Ends the lease and gives the value back.
    pub fn remove(&mut self, id: Leased) -> Option<T> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|slot| slot.lease == id.lease)?;
        let value = slot.value.take()?;
        slot.lease = slot.lease.wrapping_add(1);
        self.free.push(id.slot);
        Some(value)
    }

    /// Whether a table that was read is one: exactly the places without a value are free.
    pub(crate) fn is_sound(&self) -> bool {
        let free: BTreeSet<_> = self.free.iter().map(|slot| *slot as usize).collect();
        let empty = self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_none());
        free.len() == self.free.len() && free.into_iter().eq(empty.map(|(slot, _)| slot))
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }

    /// All values with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (Leased, &T)> {
        self.iter_from(0)
    }

    /// The values from a place on, with their ids.
    pub fn iter_from(&self, slot: u32) -> impl Iterator<Item = (Leased, &T)> {
        self.slots.iter().enumerate().skip(slot as usize).filter_map(|(slot, place)| {
            let id = Leased { slot: slot as u32, lease: place.lease };
            place.value.as_ref().map(|value| (id, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_whose_lease_has_ended_finds_nothing() {
        let mut slots = Slots::default();
        let first = slots.insert_with(|_| "first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert_with(|_| "second");
        assert_eq!(first.slot, second.slot);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
    }

    #[test]
    fn a_renewed_value_stays_and_its_old_id_finds_nothing() {
        let mut slots = Slots::default();
        let first = slots.insert_with(|_| "kept");
        let second = slots.renew(first.slot).unwrap();
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.get(second), Some(&"kept"));
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.remove(second), Some("kept"));
        assert_eq!(slots.renew(first.slot), None);
    }
}
