//! What a client heard on its connection: each answer once, in order, whole, and with the state of
//! exactly the messages before it.

use std::collections::BTreeSet;

use super::{Case, Rule, Violations};
use crate::checker::record::{Conversation, Note};
use crate::checker::words::{Answer, Order, Progress, Task, Word};

pub(super) fn judge(_case: &Case<'_>, conversation: &Conversation, violations: &mut Violations) {
    let progress = conversation.progress();
    let mut hearing = Hearing {
        conversation,
        violations,
        orders: Vec::new(),
        progress,
        answered: 0,
        missing: BTreeSet::new(),
        parts: 0,
        speaker: None,
        byes: 0,
    };
    let mut last = 0;
    for (at, note) in &conversation.notes {
        last = *at;
        match note {
            Note::Sent(order) => hearing.orders.push(*order),
            Note::Heard(word) => hearing.word(*at, word),
            Note::Garbled(text) => hearing.wrong(Rule::Invented, *at, format!("{text:?}")),
            _ => {}
        }
    }
    hearing.end(last);
}

struct Hearing<'a> {
    conversation: &'a Conversation,
    violations: &'a mut Violations,
    orders: Vec<Order>,
    progress: Vec<Progress>,
    /// The last that was answered.
    answered: u64,
    /// Before it, but not answered.
    missing: BTreeSet<u64>,
    /// Parts that have come since.
    parts: u64,
    /// The worker that has introduced itself last.
    speaker: Option<u32>,
    byes: u64,
}

impl Hearing<'_> {
    fn word(&mut self, at: u64, word: &Word) {
        match *word {
            Word::Hello { pid } => self.speaker = Some(pid),
            Word::Here { pid, byes } => {
                self.speaker = Some(pid);
                if byes != self.byes {
                    let what = format!("given up {byes} times, of which {} showed", self.byes);
                    self.wrong(Rule::State, at, what);
                }
                self.byes = byes;
            }
            Word::Bye { pid, byes } => {
                self.byes += 1;
                if (Some(pid), byes) != (self.speaker, self.byes) {
                    let what = format!("{word} comes as number {}", self.byes);
                    self.wrong(Rule::State, at, what);
                }
                self.byes = byes;
            }
            Word::Part { n, part } => {
                if n != self.next() || part != self.parts {
                    let (n, parts) = (self.next(), self.parts);
                    let rule = if part < parts { Rule::Doubled } else { Rule::OutOfOrder };
                    self.wrong(rule, at, format!("{word} instead of part {n} {parts}"));
                }
                self.parts = part + 1;
            }
            Word::Early { n } if n != self.next() => {
                self.wrong(Rule::OutOfOrder, at, format!("{word} behind {}", self.answered));
            }
            Word::Early { .. } | Word::News { .. } => {}
            Word::Answer(answer) => self.answer(at, answer),
        }
    }

    fn answer(&mut self, at: u64, answer: Answer) {
        let Answer { n, progress, pid, seq } = answer;
        let ordered = n.checked_sub(1).and_then(|index| self.orders.get(index as usize));
        let Some(order) = ordered.copied() else {
            return self.wrong(Rule::Invented, at, format!("answer {n} to nothing"));
        };
        if self.conversation.is_undone(order) {
            return self.wrong(
                Rule::Invented,
                at,
                format!("answer {n} of a handler that panicked"),
            );
        }
        if n <= self.answered {
            let rule = match self.missing.remove(&n) {
                true => Rule::OutOfOrder,
                false => Rule::Doubled,
            };
            return self.wrong(rule, at, format!("answer {n} after {}", self.answered));
        }
        let (before, orders) = (self.answered as usize, &self.orders[..n as usize - 1]);
        let passed = orders[before..].iter().filter(|order| !self.conversation.is_undone(**order));
        self.missing.extend(passed.map(|order| order.n));
        self.answered = n;
        let parts = if let Task::Parts(parts) = order.task { parts } else { 0 };
        if std::mem::take(&mut self.parts) != parts {
            self.wrong(Rule::Lost, at, format!("parts of {n}"));
        }
        if seq != n {
            self.wrong(Rule::State, at, format!("message {n} has the number {seq}"));
        }
        if self.speaker != Some(pid) {
            let what = format!("{pid} answers {n}, but {:?} has introduced itself", self.speaker);
            self.wrong(Rule::Stranger, at, what);
        }
        let expected = match self.conversation.role.is_portable() {
            true => self.progress[n as usize],
            false => Progress::NONE.with(&order.to_string()),
        };
        if progress != expected {
            self.wrong(Rule::State, at, format!("{progress:?} after {n} instead of {expected:?}"));
        }
    }

    /// The next that is to be answered.
    fn next(&self) -> u64 {
        let rest = self.orders[self.answered as usize..].iter();
        let undone = rest.take_while(|order| self.conversation.is_undone(**order)).count();
        self.answered + undone as u64 + 1
    }

    /// Who stayed to the end, and ended the connection itself, has waited for all answers.
    fn end(&mut self, last: u64) {
        for n in std::mem::take(&mut self.missing) {
            self.wrong(Rule::Lost, last, format!("answer {n}, before {}", self.answered));
        }
        let notes = &self.conversation.notes;
        let waited = notes.iter().any(|(_, note)| matches!(note, Note::Closing(_)));
        let rest = self.orders[self.answered as usize..].iter();
        let unanswered = rest.filter(|order| !self.conversation.is_undone(**order)).count();
        if self.conversation.role.stays() && waited && unanswered > 0 {
            self.wrong(Rule::Lost, last, format!("the last {unanswered} answers"));
        }
        if let Some((at, _)) = notes.iter().find(|(_, note)| *note == Note::Stuck) {
            self.wrong(Rule::Lost, *at, format!("no answer after {}", self.answered));
        }
    }

    fn wrong(&mut self, rule: Rule, at: u64, what: String) {
        self.violations.add(rule, self.conversation, at, what);
    }
}
