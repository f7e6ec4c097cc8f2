//! What truly happened to a connection, written down beside the state under test, and what must
//! hold of it.

use shovel_core::transfer::Blame;

use crate::frames::{AppState, Effect, Marked};

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

pub type Step = Result<(), Violation>;

/// Fails with what is said unless it holds.
pub fn demand(holds: bool, otherwise: &str) -> Step {
    if holds { Ok(()) } else { Err(Violation(otherwise.to_string())) }
}

/// Things worth having seen, so that a search which never gets there is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Another worker has taken a connection over.
    Moved,
    Redelivered,
    Partial,
    CloseRedelivered,
    Refused,
    Quarantined,
    /// It ended with its worker.
    Lost,
    /// A handler was cut at its deadline.
    Cut,
    /// An upgrade came too late.
    TooLate,
    /// A revoke and the answer to what it revokes have crossed.
    Crossed,
    /// A suspect waits for its trial.
    SuspectWaits,
    /// A suspect was handed over though something else was under way.
    SuspectInCompany,
    /// Everything was handled, and the close too.
    Finished,
}

/// Events by number, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seqs(u16);

impl Seqs {
    pub fn insert(&mut self, seq: u8) {
        self.0 |= 1 << seq;
    }

    pub fn contains(self, seq: u8) -> bool {
        self.0 & (1 << seq) != 0
    }

    pub fn up_to(self, seq: u8) -> Self {
        Seqs(self.0 & ((2 << seq) - 1))
    }

    pub fn beyond(self, seq: u8) -> Self {
        Seqs(self.0 & !((2 << seq) - 1))
    }

    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    fn first(self) -> Option<u8> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as u8)
    }

    pub fn extend(&mut self, other: Seqs) {
        self.0 |= other.0;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Witness {
    pub is_accepted: bool,
    /// Answers that the client has seen.
    answers: u8,
    /// Events that some handler has begun.
    begun: Seqs,
    /// Events that the present owner was given and has not committed.
    pub given: Seqs,
    /// Events that an ended tenure may have begun.
    maybe: Seqs,
    /// Events of which the client has seen a part.
    flushed: Seqs,
    attached: AppState,
    /// Effects that wait for a commit.
    staged: u8,
    pub close: Option<u8>,
    pub close_committed: bool,
    /// Its messages were given up: refused or quarantined.
    pub is_given_up: bool,
    /// It ended with its worker, or because none was to be had.
    pub is_lost: bool,
    pub strikes: Strikes,
}

/// Deaths that count against it. Three are too many if it was alone at the last, eight in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Strikes {
    /// The event that was first with the owner, and how often that has died with it.
    head: (u8, u8),
    /// Of workers that were to adopt it, or did not in time.
    adopts: u8,
}

impl Strikes {
    pub fn is_of(self, seq: Option<u8>) -> bool {
        seq == Some(self.head.0)
    }
}

fn is_enough(deaths: u8, last: Blame) -> bool {
    deaths >= if last == Blame::Alone { 3 } else { 8 }
}

impl Witness {
    /// An effect has reached the socket, if that is still open.
    pub fn sees(&mut self, effect: Effect, is_open: bool) -> Step {
        match effect {
            Effect::Send { message, handled } => {
                demand(message == handled, "an answer was given with another state")?;
                if is_open {
                    self.answers += 1;
                    demand(message == self.answers, "an answer is lost, doubled or out of order")?;
                }
            }
            Effect::Flushed(seq) => self.flushed.insert(seq),
            Effect::Attach(state) => {
                let is_newer =
                    state.handled >= self.attached.handled && state.ticks >= self.attached.ticks;
                demand(is_newer, "an older attachment replaces a newer one")?;
                self.attached = state;
            }
            Effect::Close => {}
        }
        Ok(())
    }

    pub fn stages(&mut self) {
        self.staged += 1;
    }

    /// What was staged takes effect, all of it.
    pub fn lets_out(&mut self, effects: usize) -> Step {
        let staged = std::mem::take(&mut self.staged);
        demand(effects == usize::from(staged), "a commit is not the whole of what was staged")
    }

    /// What was staged never happened.
    pub fn discards(&mut self) {
        self.staged = 0;
    }

    /// An event is handed over.
    pub fn is_given(&mut self, marked: Marked, messages: u8, window: u8) -> Step {
        let seq = marked.seq;
        let is_close = self.close == Some(seq);
        demand(is_close || seq <= messages, "an event was invented")?;
        demand(!self.given.contains(seq), "an event was handed over twice in one tenure")?;
        self.given.insert(seq);
        let messages_given = self.given.len() - u32::from(is_close);
        demand(messages_given <= u32::from(window), "more than the window was handed over")?;
        demand(
            marked.redelivered == self.maybe.contains(seq),
            if marked.redelivered { "marked without cause" } else { "the mark is missing" },
        )?;
        demand(
            marked.partial == self.flushed.contains(seq),
            if marked.partial { "partial without cause" } else { "the partial mark is missing" },
        )
    }

    /// A handler begins with it.
    pub fn begins(&mut self, marked: Marked) -> Step {
        let again = self.begun.contains(marked.seq);
        self.begun.insert(marked.seq);
        demand(!again || marked.redelivered, "begun again without the mark")
    }

    pub fn commits(&mut self, seq: u8) {
        self.given = self.given.beyond(seq);
        if self.strikes.head.0 <= seq {
            self.strikes.head = (0, 0);
        }
    }

    /// The owner has died. Whether that was once too often.
    pub fn loses_owner(&mut self, blame: Blame, was_adopting: bool) -> bool {
        self.discards();
        let head = std::mem::take(&mut self.given);
        self.maybe.extend(head);
        match (blame, head.first()) {
            (Blame::None, _) => false,
            (_, _) if was_adopting => self.adopt_fails(blame),
            (_, Some(head)) => {
                let before = if self.strikes.head.0 == head { self.strikes.head.1 } else { 0 };
                self.strikes.head = (head, before + 1);
                is_enough(before + 1, blame)
            }
            (_, None) => false,
        }
    }

    /// Whether that was once too often.
    pub fn adopt_fails(&mut self, blame: Blame) -> bool {
        self.strikes.adopts += 1;
        is_enough(self.strikes.adopts, blame)
    }

    /// The adoption was answered.
    pub fn adopt_ends(&mut self) {
        self.strikes.adopts = 0;
    }

    /// Whether what it has under way is a suspect.
    pub fn is_suspect(&self, is_adopting: bool) -> bool {
        let (head, deaths) = self.strikes.head;
        (deaths >= 2 && self.given.contains(head)) || (is_adopting && self.strikes.adopts >= 2)
    }

    /// The owner has given it up.
    pub fn is_released(&mut self, started: u8) {
        self.maybe.extend(std::mem::take(&mut self.given).up_to(started));
    }

    /// The close event is finished: so must be everything before it.
    pub fn ends(&mut self, read: u8, committed: u64) -> Step {
        demand(!self.close_committed, "the close was committed twice")?;
        self.close_committed = true;
        let is_whole = self.is_given_up || committed == u64::from(read);
        demand(is_whole, "the close came before the messages were handled")
    }

    pub fn answers(&self) -> u8 {
        self.answers
    }
}
