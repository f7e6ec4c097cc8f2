//! What must hold of a fleet whatever happens to it.

use std::collections::BTreeSet;

use shovel_core::fleet::WorkerState;
use shovel_protocol::id::{WorkerId, WorkerIndex};

use super::{Fact, World};
use crate::harness::seconds;

impl World {
    /// After each step.
    pub(super) fn check(&self) {
        assert!(self.images.len() <= 2, "more than two generations: {:?}", self.images);
        assert!(self.processes.values().all(|process| self.images.contains(&process.generation)));
        // Those that leave are as many as the operator has scaled away.
        let coming = self
            .fleet
            .workers()
            .filter(|view| matches!(view.state, WorkerState::Starting | WorkerState::Ready));
        let most = 2 * self.config.workers as usize + 2;
        assert!(self.terminating_since.is_some() || coming.count() <= most);
        if let Some(since) = self.terminating_since {
            let latest = since + self.config.shutdown_timeout + seconds(2);
            assert!(self.outcome.is_some() || self.now <= latest, "the end is overdue");
            let can_serve =
                |id| self.processes.get(id).is_some_and(|process| !process.is(Fact::Killed));
            assert!(self.offer.iter().all(can_serve), "the dead are offered");
        } else if self.outcome.is_some() {
            assert!(!self.was_ever_ready, "a fleet that can serve has given up");
        } else {
            let serving = self.fleet.generation();
            let expected = self
                .processes
                .iter()
                .filter(|(_, process)| process.generation == serving && process.can_serve());
            let indexes: BTreeSet<_> = expected.clone().map(|(_, process)| process.index).collect();
            assert_eq!(indexes.len(), expected.clone().count(), "two workers serve in one place");
            // Of those that are on their way out what they have not answered is others' too.
            let is_new = |id: &&WorkerId| {
                self.process(**id).generation == serving && self.process(**id).can_serve()
            };
            let mut offered: Vec<_> =
                self.offer.iter().chain(self.late.iter().filter(is_new)).collect();
            offered.sort();
            assert!(offered.into_iter().eq(expected.map(|(id, _)| id)), "{:?}", self.offer);
            let hangs = |id: &WorkerId| self.process(*id).is(Fact::Hung);
            // Those that hung before answer nothing any more.
            let are_late = !self.is_faulty || self.late.iter().all(hangs);
            assert!(are_late, "{:?} answer in time", self.late);
            assert!(self.late.is_empty() || !self.offer.is_empty(), "nobody is offered");
            self.check_places();
        }
    }

    /// Each place has a worker, or will have one after its pause, or sleeps.
    fn check_places(&self) {
        let serving = self.fleet.generation();
        if !self.loaded.contains(&serving) {
            return;
        }
        let held = self
            .processes
            .values()
            .filter(|process| process.generation == serving && !process.is(Fact::ToldToDrain));
        let mut places: BTreeSet<_> = held.map(|process| process.index).collect();
        places.extend(self.fleet.pauses().map(|(index, _)| index));
        places.retain(|index| index.0 < self.fleet.wanted());
        let wanted = self.fleet.wanted() as usize;
        assert!(places.len() + self.fleet.asleep() >= wanted, "a place is lost: {places:?}");
        assert!(self.fleet.asleep() <= wanted);
    }

    /// Once nothing has failed for long.
    pub(super) fn check_whole(&self) {
        let mut indexes: Vec<WorkerIndex> = Vec::new();
        for view in self.fleet.workers() {
            assert_eq!(
                (view.state, view.generation),
                (WorkerState::Ready, self.fleet.generation())
            );
            indexes.push(view.index);
        }
        indexes.sort();
        assert!(indexes.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(indexes.iter().all(|index| index.0 < self.config.workers));
        assert_eq!(indexes.len() + self.fleet.asleep(), self.config.workers as usize);
        assert!(indexes.len() >= self.config.min_workers.min(self.config.workers) as usize);
        assert!(!self.fleet.is_reloading());
        assert_eq!(self.images.len(), 1);
    }
}
