//! What truly happened to a connection, written down beside the state under test, and what must
//! hold of it.

use shovel_core::custody::Death;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// Another worker has taken a connection over.
    Moved,
    Redelivered,
    Partial,
    CloseRedelivered,
    Refused,
    Quarantined,
    /// It ended with its worker, or because none was to be had.
    Lost,
    /// No worker took it over in time.
    NoWorker,
    /// The pool has ended without its close being heard.
    EndUnheard,
    /// Its worker did not finish in time.
    CutOff,
    /// A handler was cut at its deadline.
    Cut,
    /// An upgrade came too late.
    TooLate,
    /// A revoke and the answer to what it revokes have crossed.
    Crossed,
    /// A suspect was handed over alone.
    Tried,
    /// A suspect was handed over though something else was under way.
    SuspectInCompany,
    /// A worker has nothing to do for now.
    Asleep,
    /// A worker does not give a connection up.
    Stuck,
    /// What a handler did that panicked did not happen.
    Panicked,
    /// Everything was handled, and the close too.
    Finished,
    /// The pool has ended, and everything was handled.
    Ended,
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

    pub fn first(self) -> Option<u8> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as u8)
    }

    pub fn extend(&mut self, other: Seqs) {
        self.0 |= other.0;
    }
}

/// Who has it, as the frames between the two say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Holder {
    #[default]
    Nobody,
    /// A place of a worker.
    Offered(u8),
    Owner(u8),
    Adopter(u8),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Witness {
    pub holder: Holder,
    pub is_accepted: bool,
    /// Answers that the client has seen: the number of the last.
    answered: u8,
    /// Events that some handler has begun.
    begun: Seqs,
    /// Events that the present owner was given and has not committed.
    pub given: Seqs,
    /// Events that an ended tenure may have begun.
    maybe: Seqs,
    /// Events of which the client has seen a part.
    flushed: Seqs,
    /// Messages whose handler panicked: what it did has not happened.
    panicked: Seqs,
    /// The last event that is finished.
    pub done: u8,
    pub attached: Option<AppState>,
    /// Effects that wait for a commit.
    staged: u8,
    pub close: Option<u8>,
    pub close_committed: bool,
    /// Its messages were given up: refused or quarantined.
    pub is_given_up: bool,
    /// It ended without its close being heard, as documented.
    pub is_lost: bool,
    /// Its owner was asked to give it up, and has not.
    pub is_leaving: bool,
    /// The owner was asked to give it up because nobody needed it.
    pub falls_asleep: bool,
    /// It gave it up because of that.
    pub is_asleep: bool,
    event_strikes: Strikes,
    adopt_strikes: Strikes,
    /// The head of those that it may be given up for.
    verdict: Verdict,
}

/// Deaths that count against an event, or an adoption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Strikes {
    /// The event.
    head: u8,
    /// How much speaks for a trial.
    suspicion: u8,
    deaths: u8,
    /// Deaths from outside at which it was alone, and was a suspect before.
    killed_alone: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Verdict {
    #[default]
    Innocent,
    /// It may be given up, or not.
    Open,
    Guilty,
}

impl Strikes {
    fn add(&mut self, death: Death, is_alone: bool) -> Verdict {
        let was_suspect = self.is_suspect();
        match death {
            Death::Ours => return Verdict::Innocent,
            Death::Fault => {}
            Death::Hang => self.suspicion = self.suspicion.saturating_add(1),
            Death::Killed => {
                self.suspicion = self.suspicion.saturating_add(1);
                self.killed_alone += u8::from(is_alone && was_suspect);
                return match self.killed_alone {
                    0..3 => Verdict::Innocent,
                    3..10 => Verdict::Open,
                    10.. => Verdict::Guilty,
                };
            }
        }
        self.suspicion = self.suspicion.saturating_add(1);
        self.deaths += 1;
        let is_guilty = self.deaths >= if is_alone { 3 } else { 8 };
        if is_guilty { Verdict::Guilty } else { Verdict::Innocent }
    }

    fn is_suspect(self) -> bool {
        self.suspicion >= 2
    }
}

impl Witness {
    /// An effect has reached the socket, if that is still open.
    pub fn sees(&mut self, effect: Effect, is_open: bool) -> Step {
        match effect {
            Effect::Send { message, handled } => {
                demand(message == handled, "an answer was given with another state")?;
                if is_open {
                    let is_next = message > self.answered
                        && (self.answered + 1..message).all(|seq| self.panicked.contains(seq));
                    demand(is_next, "an answer is lost, doubled or out of order")?;
                    self.answered = message;
                }
            }
            Effect::Flushed(seq) => self.flushed.insert(seq),
            Effect::Attach(state) => {
                let is_newer = self.attached.is_none_or(|before| {
                    state.handled >= before.handled && state.ticks >= before.ticks
                });
                demand(is_newer, "an older attachment replaces a newer one")?;
                self.attached = Some(state);
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
    pub fn is_given(&mut self, marked: Marked, read: u8, window: u8) -> Step {
        let seq = marked.seq;
        let is_close = self.close == Some(seq);
        demand(matches!(self.holder, Holder::Owner(_)), "handed to one that does not own it")?;
        demand(is_close || seq <= read, "an event was invented")?;
        demand(!self.given.contains(seq), "an event was handed over twice in one tenure")?;
        let before = self.given.first();
        self.given.insert(seq);
        let messages_given = self.given.len() - u32::from(is_close);
        demand(messages_given <= u32::from(window), "more than the window was handed over")?;
        let is_head_known = before.is_some_and(|head| self.maybe.contains(head));
        demand(!is_head_known, "an event is handed over behind one that comes again")?;
        demand(
            marked.redelivered == self.maybe.contains(seq),
            if marked.redelivered { "marked without cause" } else { "the mark is missing" },
        )?;
        demand(
            marked.partial == (self.flushed.contains(seq) && marked.redelivered),
            if marked.partial { "partial without cause" } else { "the partial mark is missing" },
        )
    }

    /// A handler begins with it.
    pub fn begins(&mut self, marked: Marked) -> Step {
        let again = self.begun.contains(marked.seq);
        self.begun.insert(marked.seq);
        demand(!again || marked.redelivered, "begun again without the mark")
    }

    pub fn commits(&mut self, seq: u8, panicked: bool) {
        if panicked {
            self.panicked.insert(seq);
        }
        self.done = self.done.max(seq);
        self.given = self.given.beyond(seq);
        if self.event_strikes.head <= seq {
            self.event_strikes = Strikes::default();
        }
    }

    /// What an attachment says of the messages before it, if the last of them were handled.
    pub fn handled_by(&self, done: u8) -> u8 {
        (1..=done).rev().find(|seq| !self.panicked.contains(*seq)).unwrap_or(0)
    }

    /// The owner has died. `is_alone`: it had nothing else under way.
    pub fn loses_owner(&mut self, death: Death, is_alone: bool) {
        self.discards();
        self.is_leaving = false;
        let given = std::mem::take(&mut self.given);
        self.maybe.extend(given);
        self.verdict = match (self.holder, given.first()) {
            (Holder::Adopter(_), _) => self.adopt_strikes.add(death, is_alone),
            (_, Some(head)) => {
                if self.event_strikes.head != head {
                    self.event_strikes = Strikes { head, ..Strikes::default() };
                }
                self.event_strikes.add(death, is_alone)
            }
            (_, None) => Verdict::Innocent,
        };
        self.holder = Holder::Nobody;
    }

    /// The event that its deaths speak against, 0 for the adoption.
    pub fn is_convicted(&mut self, adopting: bool) -> Result<u8, Violation> {
        let verdict = std::mem::take(&mut self.verdict);
        demand(verdict != Verdict::Innocent, "it is given up for too few deaths")?;
        Ok(if adopting { 0 } else { self.event_strikes.head })
    }

    /// Once all has been done that follows from a death.
    pub fn has_been_judged(&mut self) -> Step {
        let verdict = std::mem::take(&mut self.verdict);
        demand(verdict != Verdict::Guilty, "what kills its workers is not given up")
    }

    /// It was told to give up an adoption that took too long. Whether that was once too often.
    pub fn adopts_slowly(&mut self) -> bool {
        self.adopt_strikes.add(Death::Fault, true) == Verdict::Guilty
    }

    /// The adoption was answered.
    pub fn adopt_ends(&mut self) {
        self.adopt_strikes = Strikes::default();
    }

    /// Whether what it has under way is a suspect.
    pub fn is_suspect(&self) -> bool {
        let event = self.event_strikes;
        match self.holder {
            Holder::Adopter(_) => self.adopt_strikes.is_suspect() || event.is_suspect(),
            Holder::Owner(_) => event.is_suspect() && self.given.contains(event.head),
            Holder::Offered(_) | Holder::Nobody => false,
        }
    }

    /// Whether its holder has something of it to do.
    pub fn is_under_way(&self) -> bool {
        match self.holder {
            Holder::Adopter(_) | Holder::Offered(_) => true,
            Holder::Owner(_) => self.given.len() > 0,
            Holder::Nobody => false,
        }
    }

    /// The owner has given it up.
    pub fn is_released(&mut self, started: u8) {
        self.is_leaving = false;
        self.maybe.extend(std::mem::take(&mut self.given).up_to(started));
        self.holder = Holder::Nobody;
    }

    /// The close event is finished: so must be everything before it.
    pub fn ends(&mut self, read: u8, committed: u64) -> Step {
        demand(!self.close_committed, "the close was committed twice")?;
        self.close_committed = true;
        self.holder = Holder::Nobody;
        let is_whole = self.is_given_up || committed == u64::from(read);
        demand(is_whole, "the close came before the messages were handled")
    }

    /// Its messages were given up, and what they did with them.
    pub fn is_given_up(&mut self, read: u8) {
        self.discards();
        self.is_given_up = true;
        self.close.get_or_insert(read + 1);
        if self.event_strikes.head <= read {
            self.event_strikes = Strikes::default();
        }
    }

    /// Whether all that the client has sent was answered.
    pub fn has_answered(&self, messages: u8) -> bool {
        (self.answered + 1..=messages).all(|seq| self.panicked.contains(seq))
    }

    pub fn answered(&self) -> u8 {
        self.answered
    }

    pub fn place(&self) -> Option<usize> {
        match self.holder {
            Holder::Nobody => None,
            Holder::Offered(place) | Holder::Owner(place) | Holder::Adopter(place) => {
                Some(usize::from(place))
            }
        }
    }
}
