//! Connections that are not read since their worker's link is full, and who goes on first.

use std::collections::{HashSet, VecDeque};

use shovel_protocol::LeaseId;

/// So many go on at once: what one read of each brings fills the link.
const FEW: usize = 64;

/// The connections, each once. Those of which the worker has nothing have a queue of their own: whoever
/// asks now and then would wait behind all that send without a pause, and each of these brings more.
#[derive(Debug, Default)]
pub struct Paused {
    known: HashSet<LeaseId>,
    idle: VecDeque<LeaseId>,
    busy: VecDeque<LeaseId>,
}

impl Paused {
    /// Has one wait, if it does not already. `is_handled`: the worker has something of it.
    pub fn put(&mut self, connection: LeaseId, is_handled: bool) {
        if self.known.insert(connection) {
            let queue = if is_handled { &mut self.busy } else { &mut self.idle };
            queue.push_back(connection);
        }
    }

    /// Those that go on next, as many of both kinds if there are; and whether more wait.
    pub fn take_few(&mut self) -> (Vec<LeaseId>, bool) {
        let idle = self.idle.len().min(FEW - self.busy.len().min(FEW / 2));
        let busy = self.busy.len().min(FEW - idle);
        let few: Vec<_> = self.idle.drain(..idle).chain(self.busy.drain(..busy)).collect();
        few.iter().for_each(|connection| {
            self.known.remove(connection);
        });
        (few, !self.known.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(number: u32) -> LeaseId {
        LeaseId::from_wire(u64::from(number))
    }

    fn numbers((few, are_more): (Vec<LeaseId>, bool)) -> (Vec<u32>, bool) {
        (few.into_iter().map(|lease| lease.to_wire() as u32).collect(), are_more)
    }

    #[test]
    fn each_goes_on_in_its_turn_and_whoever_the_worker_has_nothing_of_does_not_wait_for_the_others()
    {
        let mut paused = Paused::default();
        (0..100).for_each(|number| paused.put(lease(number), true));
        paused.put(lease(7), true);
        (200..240).for_each(|number| paused.put(lease(number), false));
        let next: Vec<u32> = (200..232).chain(0..32).collect();
        assert_eq!(numbers(paused.take_few()), (next, true));
        // It has more to bring.
        paused.put(lease(0), true);
        let next: Vec<u32> = (232..240).chain(32..88).collect();
        assert_eq!(numbers(paused.take_few()), (next, true));
        let next: Vec<u32> = (88..100).chain([0]).collect();
        assert_eq!(numbers(paused.take_few()), (next, false));
        assert_eq!(numbers(paused.take_few()), (vec![], false));
    }
}
