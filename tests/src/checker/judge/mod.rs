//! Decides over a run that is over: was everything as promised?
//!
//! Pure: a [`Record`] in, [`Violation`]s out. `answers` looks at what each client heard,
//! `handling` at what workers did, `closes` at how connections ended, `news` at what was
//! published, `requests` at what had no connection of its own, `moves` at whether the run shows
//! anything at all.

mod answers;
mod closes;
mod handling;
mod moves;
mod news;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::record::{Conversation, Record};
use super::words::{Task, Trace, TraceEvent, Word};

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub rule: Rule,
    /// Whose connection; 0 if it is about none in particular.
    pub key: u32,
    /// When it showed.
    pub at: u64,
    /// What was seen.
    pub what: String,
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Something came that nobody said.
    Invented,
    /// Something was said and did not come.
    Lost,
    /// Something came twice.
    Doubled,
    /// Something came after what was said later.
    OutOfOrder,
    /// What is attached is not what the finished messages make.
    State,
    /// A worker acts that does not have the connection.
    Stranger,
    /// Handled again without a mark.
    Unmarked,
    /// Marked, though nothing has happened to a worker.
    MarkedForNothing,
    /// A connection ended that should not, or with another code.
    CloseCode,
    /// No close event, or one too many, or another.
    CloseEvent,
    /// An upgrade or a request was refused, though nothing has happened to a worker.
    Refused,
    /// A reload does not end.
    Stuck,
    /// Something is left that was not there before.
    Leak,
    /// Nothing is wrong, but the run does not show what it should: it does not count.
    ShowsNothing,
}

/// Everything that is wrong with a run, by time.
pub fn judge(record: &Record) -> Vec<Violation> {
    let case = Case::new(record);
    let mut violations = Violations::default();
    for conversation in &record.conversations {
        answers::judge(&case, conversation, &mut violations);
        handling::judge(&case, conversation, &mut violations);
        closes::judge(&case, conversation, &mut violations);
    }
    news::judge(&case, &mut violations);
    requests::judge(&case, &mut violations);
    match record.terminated {
        None => moves::judge(&case, &mut violations),
        Some(_) => closes::judge_end(&case, &mut violations),
    }
    violations.0.sort_by_key(|violation| violation.at);
    violations.0
}

#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, rule: Rule, conversation: &Conversation, at: u64, what: impl Into<String>) {
        self.0.push(Violation { rule, key: conversation.key, at, what: what.into() });
    }
}

/// A record in a form in which it is looked up.
struct Case<'a> {
    record: &'a Record,
    traces: HashMap<u32, Vec<&'a Trace>>,
    /// When each process noted something last.
    last_signs: BTreeMap<u32, u64>,
    /// From when to when something done to workers may show, and to how many.
    harm: Vec<(u64, u64, usize)>,
    /// Processes that ended by a client's order.
    dead_by_order: HashSet<u32>,
}

impl<'a> Case<'a> {
    fn new(record: &'a Record) -> Self {
        let mut traces = HashMap::<u32, Vec<&Trace>>::new();
        let mut last_signs = BTreeMap::new();
        for trace in &record.traces {
            traces.entry(trace.key).or_default().push(trace);
            last_signs.insert(trace.pid, trace.at);
        }
        let deeds = record.deeds.iter().filter(|deed| deed.harms);
        let harm = deeds.map(|deed| (deed.from, deed.to, deed.workers.clamp(1, MEETS)));
        let mut harm = harm.collect::<Vec<_>>();
        let deaths = deaths_by_order(record, &traces);
        harm.extend(deaths.iter().map(|death| (death.at, death.at + REAPED_WITHIN, 1)));
        let dead_by_order = deaths.iter().map(|death| death.pid).collect();
        Case { record, traces, last_signs, harm, dead_by_order }
    }

    fn traces(&self, conversation: &Conversation) -> &[&'a Trace] {
        self.traces.get(&conversation.key).map_or(&[], Vec::as_slice)
    }

    /// To how many workers something was done that may show between these times.
    fn harm(&self, from: u64, to: u64) -> usize {
        let shows = self.harm.iter().filter(|(begins, ends, _)| *begins <= to && *ends >= from);
        shows.map(|(_, _, workers)| workers).sum()
    }

    /// Whether a worker stood still between these times, so that a handler was told to end.
    fn stalled(&self, from: u64, to: u64) -> bool {
        let mut deeds = self.record.deeds.iter().filter(|deed| deed.stalls);
        deeds.any(|deed| deed.from <= to && deed.to >= from)
    }

    /// Whether a message may have ended so many workers, since the last that was answered,
    /// that it was given up with all behind it.
    fn may_be_given_up(&self, conversation: &Conversation, at: u64) -> bool {
        let answers = conversation.words().filter(|(_, word)| matches!(word, Word::Answer(_)));
        let last = answers.last().map(|(heard, _)| heard).or(conversation.opened()).unwrap_or(0);
        self.harm(last, at) >= STRIKES
    }

    /// Whether the pool was told to end before.
    fn is_terminated(&self, at: u64) -> bool {
        self.record.terminated.is_some_and(|terminated| terminated <= at)
    }

    /// Whether its last worker ended while the pool did: nobody takes over what that one had.
    fn is_left_at_the_end(&self, conversation: &Conversation) -> bool {
        let last = self.traces(conversation).last();
        self.record.terminated.is_some()
            && last.is_some_and(|trace| self.dead_by_order.contains(&trace.pid))
    }

    /// Whether so many workers may have died with it, each before it had taken the connection over,
    /// that no other was tried.
    fn may_be_adopted_by_none(&self, conversation: &Conversation, at: u64) -> bool {
        let last = self.traces(conversation).last().map_or(0, |trace| trace.at);
        let during = self.harm.iter().filter(|(begins, ..)| (last..=at).contains(begins));
        during.map(|(_, _, workers)| workers).sum::<usize>() >= STRIKES
    }

    fn reloaded_before(&self, at: u64) -> bool {
        self.record.deeds.iter().any(|deed| deed.reloads && deed.from <= at)
    }
}

/// So many of the workers that are killed at once may have one connection: its owner, and another that
/// takes it over before it dies itself.
const MEETS: usize = 2;

/// A message that has ended so many workers ends its connection.
const STRIKES: usize = 3;

/// How long a worker that has ended by itself may still seem to live, in nanoseconds.
const REAPED_WITHIN: u64 = 2_000_000_000;

/// What began a client's order to end the worker.
fn deaths_by_order<'a>(record: &Record, traces: &HashMap<u32, Vec<&'a Trace>>) -> Vec<&'a Trace> {
    let mut deaths = Vec::new();
    for conversation in &record.conversations {
        let dies = |wanted: u64| {
            conversation.orders().any(|(_, order)| order.n == wanted && order.task == Task::Die)
        };
        for trace in traces.get(&conversation.key).into_iter().flatten() {
            if let TraceEvent::Begun { n, redelivered: false, .. } = trace.event
                && dies(n)
            {
                deaths.push(*trace);
            }
        }
    }
    deaths
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, connection {}: {}", self.rule, self.key, self.what)
    }
}
