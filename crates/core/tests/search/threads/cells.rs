//! The cells of workers that two threads have in common, in worlds that are cloned.

use std::cell::RefCell;

use shovel_core::custody::{LoneCell, Proof, Tried, WorkerCell};

use super::PLACES;

thread_local! {
    /// The cells of the world that is in a step.
    pub static CELLS: RefCell<[LoneCell; PLACES]> = RefCell::default();
}

/// Leads to the cell of a worker, whichever world it is in: so worlds can be cloned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell(pub usize);

impl Cell {
    fn with<R>(self, what: impl FnOnce(&mut LoneCell) -> R) -> R {
        CELLS.with_borrow_mut(|cells| what(&mut cells[self.0]))
    }
}

impl WorkerCell for Cell {
    fn load(&self) -> u32 {
        self.with(|cell| cell.load())
    }

    fn note_load(&mut self, more: bool) {
        self.with(|cell| cell.note_load(more));
    }

    fn adopts(&self) -> bool {
        self.with(|cell| cell.adopts())
    }

    fn company(&self) -> u32 {
        self.with(|cell| cell.company())
    }

    fn begin(&mut self) {
        self.with(WorkerCell::begin);
    }

    fn end(&mut self) {
        self.with(WorkerCell::end);
    }

    fn has_trial(&self) -> bool {
        self.with(|cell| cell.has_trial())
    }

    fn seek_trial(&mut self, who: Tried) -> bool {
        self.with(|cell| cell.seek_trial(who))
    }

    fn end_trial(&mut self, who: Tried) {
        self.with(|cell| cell.end_trial(who));
    }

    fn claim_first_adoption(&mut self) -> Proof {
        self.with(WorkerCell::claim_first_adoption)
    }

    fn proof(&self) -> Proof {
        self.with(|cell| cell.proof())
    }

    fn prove(&mut self, answered: bool) {
        self.with(|cell| cell.prove(answered));
    }

    fn note_idle(&mut self, change: Option<bool>) -> bool {
        self.with(|cell| cell.note_idle(change))
    }
}
