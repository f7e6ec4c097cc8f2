//! What is known of each worker, by its number.

use serde::{Deserialize, Serialize};
use shovel_protocol::WorkerId;

/// Values by worker, in the order of their numbers.
///
/// Each message looks up its worker. Workers are numbered in turn, so most stand where their number
/// says, and are found at the first look.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Roster<T>(Vec<(WorkerId, T)>);

impl<T> Default for Roster<T> {
    fn default() -> Self {
        Roster(Vec::new())
    }
}

impl<T> Roster<T> {
    /// A worker's value. What was there is replaced.
    pub(super) fn insert(&mut self, worker: WorkerId, value: T) {
        match self.place(worker) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (worker, value)),
        }
    }

    pub(super) fn remove(&mut self, worker: &WorkerId) -> Option<T> {
        let place = self.place(*worker).ok()?;
        Some(self.0.remove(place).1)
    }

    pub(super) fn contains_key(&self, worker: &WorkerId) -> bool {
        self.place(*worker).is_ok()
    }

    /// A worker's value.
    #[inline]
    pub(super) fn get(&self, worker: &WorkerId) -> Option<&T> {
        match self.0.get(self.guess(*worker)) {
            Some((found, value)) if found == worker => Some(value),
            Some(_) | None => self.search(*worker),
        }
    }

    pub(super) fn get_mut(&mut self, worker: &WorkerId) -> Option<&mut T> {
        let place = self.place(*worker).ok()?;
        Some(&mut self.0[place].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&WorkerId, &T)> {
        self.0.iter().map(|(worker, value)| (worker, value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&WorkerId, &mut T)> {
        self.0.iter_mut().map(|(worker, value)| (&*worker, value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &WorkerId> {
        self.0.iter().map(|(worker, _)| worker)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Whether one that was read is in order.
    pub(super) fn is_sound(&self) -> bool {
        self.0.is_sorted_by(|(one, _), (next, _)| one < next)
    }

    /// Where it stands if nobody between it and the first is gone.
    fn guess(&self, worker: WorkerId) -> usize {
        let first = self.0.first().map_or(0, |(first, _)| first.0);
        worker.0.wrapping_sub(first) as usize
    }

    #[cold]
    fn search(&self, worker: WorkerId) -> Option<&T> {
        self.place(worker).ok().map(|place| &self.0[place].1)
    }

    /// Where it stands, or would.
    fn place(&self, worker: WorkerId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&worker, |(worker, _)| *worker)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn workers_are_found_whoever_came_and_went() {
        let mut random = fastrand::Rng::with_seed(19);
        let (mut roster, mut expected) = (Roster::default(), BTreeMap::new());
        for number in 5..200 {
            roster.insert(WorkerId(number), number);
            expected.insert(WorkerId(number), number);
            while expected.len() > 6 || random.u32(..3) == 0 && !expected.is_empty() {
                let gone = WorkerId(random.u32(..number + 2));
                assert_eq!(roster.remove(&gone), expected.remove(&gone));
            }
            assert!(roster.iter().eq(expected.iter()), "{roster:?}");
            for worker in (0..number + 2).map(WorkerId) {
                assert_eq!(roster.get(&worker), expected.get(&worker));
                assert_eq!(roster.get_mut(&worker), expected.get_mut(&worker));
            }
        }
    }
}
