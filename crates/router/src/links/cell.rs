//! What all I/O threads know of one worker: the cell of [`shovel_core::custody`], in atomics.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use shovel_core::custody::{Proof, Tried, WorkerCell};

use super::link::Link;

/// What all threads know of a worker.
#[derive(Debug, Default)]
pub struct SharedCell {
    /// Connections and requests that it has now.
    pub(crate) load: AtomicU32,
    /// Requests that it was ever given.
    pub(crate) requests: AtomicU64,
    /// Requests that it has now: their answers have not ended.
    pub(crate) requests_under_way: AtomicU32,
    /// It can adopt connections. Set before it is offered.
    pub(crate) adopts: AtomicBool,
    /// It says when a body is asked for whose client waits for that.
    pub(crate) continues: AtomicBool,
    /// On how many threads it has nothing to do.
    idle_threads: AtomicU32,
    /// What it has under way and may die of.
    company: AtomicU32,
    /// The one connection with which anything may be begun: a number that its thread made, or 0.
    trial: AtomicU64,
    record: Arc<ProgramRecord>,
}

/// Whether the program of a generation has taken a connection over yet. Its workers share it.
#[derive(Debug, Default)]
pub struct ProgramRecord(AtomicU8);

impl SharedCell {
    /// Of a worker that runs this program.
    pub fn of(record: Arc<ProgramRecord>) -> Self {
        SharedCell { record, ..SharedCell::default() }
    }
}

impl ProgramRecord {
    fn proof(&self) -> Proof {
        match self.0.load(Ordering::Acquire) {
            0 => Proof::None,
            1 => Proof::Awaited,
            _ => Proof::Given,
        }
    }

    fn claim_first_adoption(&self) -> Proof {
        match self.0.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Proof::None,
            Err(_) => self.proof(),
        }
    }

    fn prove(&self, answered: bool) {
        match answered {
            true => self.0.store(2, Ordering::Release),
            // Another worker of the generation may have answered meanwhile.
            false => drop(self.0.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed)),
        }
    }
}

/// Never 0.
fn number(who: Tried) -> u64 {
    (u64::from(who.thread) + 1) << 32 | u64::from(who.slot)
}

/// A worker as custody has it: its link, which leads to the cell.
#[derive(Clone)]
pub struct Linked(pub Rc<Link>);

impl Deref for Linked {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.0
    }
}

impl WorkerCell for Linked {
    fn load(&self) -> u32 {
        self.cell.load.load(Ordering::Relaxed)
    }

    fn note_load(&mut self, more: bool) {
        match more {
            true => self.cell.load.fetch_add(1, Ordering::Relaxed),
            false => self.cell.load.fetch_sub(1, Ordering::Relaxed),
        };
    }

    fn is_full(&self) -> bool {
        self.is_over()
    }

    fn adopts(&self) -> bool {
        self.cell.adopts.load(Ordering::Relaxed)
    }

    fn company(&self) -> u32 {
        self.cell.company.load(Ordering::Acquire)
    }

    fn begin(&mut self) {
        self.cell.company.fetch_add(1, Ordering::AcqRel);
    }

    fn end(&mut self) {
        self.cell.company.fetch_sub(1, Ordering::AcqRel);
    }

    fn has_trial(&self) -> bool {
        self.cell.trial.load(Ordering::Acquire) != 0
    }

    fn seek_trial(&mut self, who: Tried) -> bool {
        let trial = &self.cell.trial;
        trial.compare_exchange(0, number(who), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn end_trial(&mut self, who: Tried) {
        // Nobody else changes it meanwhile.
        let trial = &self.cell.trial;
        let _ = trial.compare_exchange(number(who), 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn claim_first_adoption(&mut self) -> Proof {
        self.cell.record.claim_first_adoption()
    }

    fn proof(&self) -> Proof {
        self.cell.record.proof()
    }

    fn prove(&mut self, answered: bool) {
        self.cell.record.prove(answered);
    }

    fn note_idle(&mut self, change: Option<bool>) -> bool {
        let idle = &self.cell.idle_threads;
        match change {
            Some(true) => drop(idle.fetch_add(1, Ordering::AcqRel)),
            Some(false) => drop(idle.fetch_sub(1, Ordering::AcqRel)),
            None => {}
        }
        idle.load(Ordering::Acquire) >= self.links
    }
}
