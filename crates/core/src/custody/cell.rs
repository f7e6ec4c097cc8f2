//! What all I/O threads know of one worker.
//!
//! Custody is one value per thread, and a worker has a link to each. Some things must be known of a
//! worker on all threads at once, without a round trip between them: how busy it is, what it has
//! under way when it dies, whether one connection is tried alone with it, whether its program has
//! taken a connection over yet, and on how many threads it rests. They are this one small cell;
//! nothing else is shared.

use serde::{Deserialize, Serialize};

/// Who is tried: a thread and one of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tried {
    /// Counted from 0.
    pub thread: u32,
    /// The place of the connection.
    pub slot: u32,
}

/// What all threads know of one worker.
pub trait WorkerCell {
    /// Connections and requests that it has now, on all threads.
    fn load(&self) -> u32;

    /// It has one more, or one less.
    fn note_load(&mut self, more: bool);

    /// So much waits for it on this thread that nothing more is to be given to it. Of all that is
    /// here, this alone is not known to other threads.
    fn is_full(&self) -> bool {
        false
    }

    /// It can adopt connections.
    fn adopts(&self) -> bool;

    /// How much it has under way that it may die of: events and adoptions of portable connections,
    /// and requests without an answer.
    fn company(&self) -> u32;

    /// It has one more thing under way.
    fn begin(&mut self);

    /// It has one thing less under way.
    fn end(&mut self);

    /// Whether one connection is to be alone with it.
    fn has_trial(&self) -> bool;

    /// Makes this one the connection that is alone with it. `false` if another one is.
    fn seek_trial(&mut self, who: Tried) -> bool;

    /// Ends the trial of this connection.
    fn end_trial(&mut self, who: Tried);

    /// Claims the first adoption of its generation, and returns what was known before: whoever finds
    /// [`Proof::None`] has it, and everybody else waits for the answer.
    fn claim_first_adoption(&mut self) -> Proof;

    /// Whether its generation has answered an adoption yet.
    fn proof(&self) -> Proof;

    /// The first adoption was answered (`true`), or its worker died before (`false`).
    fn prove(&mut self, answered: bool);

    /// It has nothing to do on one thread more, or one less; returns whether it has nothing to do
    /// on any thread.
    fn note_idle(&mut self, change: Option<bool>) -> bool;
}

/// Whether a program has taken a connection over yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Proof {
    /// Nobody has asked it to.
    #[default]
    None,
    /// It was asked, and has not answered.
    Awaited,
    /// It has answered.
    Given,
}

/// The cell of a worker with a single link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LoneCell {
    /// See [`WorkerCell::adopts`].
    pub adopts: bool,
    load: u32,
    company: u32,
    trial: Option<Tried>,
    /// Of this worker alone.
    proof: Proof,
    is_idle: bool,
}

impl LoneCell {
    /// Of a worker that has just started.
    pub fn new(adopts: bool) -> Self {
        LoneCell { adopts, ..LoneCell::default() }
    }
}

impl WorkerCell for LoneCell {
    fn load(&self) -> u32 {
        self.load
    }

    fn note_load(&mut self, more: bool) {
        self.load = if more { self.load + 1 } else { self.load.saturating_sub(1) };
    }

    fn adopts(&self) -> bool {
        self.adopts
    }

    fn company(&self) -> u32 {
        self.company
    }

    fn begin(&mut self) {
        self.company += 1;
    }

    fn end(&mut self) {
        self.company = self.company.saturating_sub(1);
    }

    fn has_trial(&self) -> bool {
        self.trial.is_some()
    }

    fn seek_trial(&mut self, who: Tried) -> bool {
        let is_free = self.trial.is_none();
        if is_free {
            self.trial = Some(who);
        }
        is_free
    }

    fn end_trial(&mut self, who: Tried) {
        self.trial.take_if(|tried| *tried == who);
    }

    fn claim_first_adoption(&mut self) -> Proof {
        let before = self.proof;
        if before == Proof::None {
            self.proof = Proof::Awaited;
        }
        before
    }

    fn proof(&self) -> Proof {
        self.proof
    }

    fn prove(&mut self, answered: bool) {
        self.proof = if answered { Proof::Given } else { Proof::None };
    }

    fn note_idle(&mut self, change: Option<bool>) -> bool {
        self.is_idle = change.unwrap_or(self.is_idle);
        self.is_idle
    }
}
