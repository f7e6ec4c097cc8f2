//! The cell of a worker that several threads have a link to, and of a program with several workers.

use std::cell::RefCell;
use std::rc::Rc;

use shovel_core::custody::{LoneCell, Proof, Tried, WorkerCell};

/// Clones are the same cell.
#[derive(Clone, Default)]
pub struct SharedCell {
    own: Rc<RefCell<LoneCell>>,
    /// What is known of the program, which other workers run too.
    program: Rc<RefCell<LoneCell>>,
}

impl SharedCell {
    /// Of a worker that can adopt.
    pub fn able() -> Self {
        let cell = SharedCell::default();
        cell.own.borrow_mut().adopts = true;
        cell
    }

    /// Of another worker of the same program.
    pub fn sibling(&self) -> Self {
        let mut own = LoneCell::default();
        own.adopts = self.own.borrow().adopts;
        SharedCell { own: Rc::new(RefCell::new(own)), program: self.program.clone() }
    }
}

impl WorkerCell for SharedCell {
    fn load(&self) -> u32 {
        self.own.borrow().load()
    }

    fn note_load(&mut self, more: bool) {
        self.own.borrow_mut().note_load(more);
    }

    fn adopts(&self) -> bool {
        self.own.borrow().adopts()
    }

    fn company(&self) -> u32 {
        self.own.borrow().company()
    }

    fn begin(&mut self) {
        self.own.borrow_mut().begin();
    }

    fn end(&mut self) {
        self.own.borrow_mut().end();
    }

    fn has_trial(&self) -> bool {
        self.own.borrow().has_trial()
    }

    fn seek_trial(&mut self, who: Tried) -> bool {
        self.own.borrow_mut().seek_trial(who)
    }

    fn end_trial(&mut self, who: Tried) {
        self.own.borrow_mut().end_trial(who);
    }

    fn claim_first_adoption(&mut self) -> Proof {
        self.program.borrow_mut().claim_first_adoption()
    }

    fn proof(&self) -> Proof {
        self.program.borrow().proof()
    }

    fn prove(&mut self, answered: bool) {
        self.program.borrow_mut().prove(answered);
    }

    fn note_idle(&mut self, change: Option<bool>) -> bool {
        self.own.borrow_mut().note_idle(change)
    }
}
