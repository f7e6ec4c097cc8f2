//! What workers did to a connection: one owner at a time, each message in turn, and again only with
//! a mark.

use super::{Case, Rule, Violations};
use crate::checker::record::{Conversation, Note, Role};
use crate::checker::words::{Progress, Task, Trace, TraceEvent, Word};

pub(super) fn judge(case: &Case<'_>, conversation: &Conversation, violations: &mut Violations) {
    let traces = case.traces(conversation);
    let mut handling = Handling {
        case,
        conversation,
        violations,
        progress: conversation.progress(),
        owner: None,
        begun: 0,
        begun_at: 0,
        closing: false,
        closed: false,
        crashed: 0,
    };
    traces.iter().for_each(|trace| handling.trace(trace));
    agrees_with_answers(conversation, traces, violations);
}

/// `--handler-timeout` of a trial, in nanoseconds.
const HANDLER_TIMEOUT: u64 = 2_000_000_000;

struct Handling<'a> {
    case: &'a Case<'a>,
    conversation: &'a Conversation,
    violations: &'a mut Violations,
    progress: Vec<Progress>,
    owner: Option<u32>,
    /// The last message that was begun, and when.
    begun: u64,
    begun_at: u64,
    /// The close event was begun, by the present owner and by any.
    closing: bool,
    closed: bool,
    /// When it was last taken over from a dead worker.
    crashed: u64,
}

impl Handling<'_> {
    fn trace(&mut self, trace: &Trace) {
        let at = trace.at;
        match trace.event {
            // A request whose worker died may be another's.
            TraceEvent::Opened => self.owner = Some(trace.pid),
            TraceEvent::Adopted { progress, crash, same, subscribed } => {
                self.owner = Some(trace.pid);
                // What its worker had not told before it died is to be done again.
                self.closing = false;
                if crash {
                    self.crashed = at;
                }
                // What is closed is subscribed to nothing any more, though its client may not know.
                let is_closed = self.conversation.ended() < at || self.is_closed_by_server();
                let subscribed = subscribed || is_closed;
                self.adopted(at, progress, same && subscribed);
            }
            TraceEvent::Begun { n, seq, redelivered, .. } => {
                self.check_owner(trace);
                if n != seq {
                    self.wrong(Rule::State, at, format!("message {n} has the number {seq}"));
                }
                if self.closing {
                    self.wrong(Rule::OutOfOrder, at, format!("{n} is begun after the close"));
                }
                self.check_turn(at, n, redelivered);
                (self.begun, self.begun_at) = (self.begun.max(n), at);
            }
            TraceEvent::Closed { redelivered, .. } => {
                self.check_owner(trace);
                if self.closed && !redelivered {
                    let what = "a second close event, unmarked".to_owned();
                    self.wrong(Rule::CloseEvent, at, what);
                }
                (self.closing, self.closed) = (true, true);
            }
        }
    }

    fn adopted(&mut self, at: u64, progress: Progress, whole: bool) {
        if !whole {
            let what = "adopted with another url, header, protocol or subscription".to_owned();
            self.wrong(Rule::State, at, what);
        }
        if !self.progress.contains(&progress) {
            self.wrong(Rule::State, at, format!("{progress:?} is attached, which nothing makes"));
        }
        if progress.count > self.begun {
            let what = format!("{} messages attached, {} begun", progress.count, self.begun);
            self.wrong(Rule::State, at, what);
        }
        let words = self.conversation.words().take_while(|(heard, _)| *heard < at);
        let answered = words.filter(|(_, word)| matches!(word, Word::Answer(_))).count();
        if progress.count < answered as u64 {
            let what = format!("{} messages attached, {answered} answered", progress.count);
            self.wrong(Rule::State, at, what);
        }
    }

    fn is_closed_by_server(&self) -> bool {
        let mut notes = self.conversation.notes.iter();
        notes.any(|(_, note)| matches!(note, Note::Closed(1011)))
    }

    fn check_owner(&mut self, trace: &Trace) {
        if self.owner != Some(trace.pid) {
            let what = format!("{trace} is not of the owner {:?}", self.owner);
            self.wrong(Rule::Stranger, trace.at, what);
        }
    }

    fn check_turn(&mut self, at: u64, n: u64, redelivered: bool) {
        let next = self.begun + 1;
        if n > next {
            self.wrong(Rule::Lost, at, format!("{n} is begun after {}", self.begun));
        } else if n < next && !redelivered {
            self.wrong(Rule::Unmarked, at, format!("{n} is begun again without a mark"));
        }
        let sent = self.conversation.orders().find(|(_, order)| order.n == n).map(|(sent, _)| sent);
        match sent {
            None => self.wrong(Rule::Invented, at, format!("{n} is begun, which nobody sent")),
            Some(sent) if redelivered && !self.may_be_marked(sent, at) => {
                self.wrong(Rule::MarkedForNothing, at, format!("{n}"));
            }
            Some(_) => {}
        }
    }

    /// An owner has died since the message was sent, or was told to drop its handler: one that
    /// waits for a slow client takes longer than it may, and so does any when the machine stands
    /// still.
    fn may_be_marked(&self, sent: u64, at: u64) -> bool {
        let is_slow = self.conversation.role == Role::Slow;
        let took_long = at.saturating_sub(self.begun_at) >= HANDLER_TIMEOUT;
        self.crashed >= sent || is_slow || took_long || self.case.stalled(sent, at)
    }

    fn wrong(&mut self, rule: Rule, at: u64, what: String) {
        self.violations.add(rule, self.conversation, at, what);
    }
}

/// An answer is of the last handler of its message: what is answered is never begun again.
fn agrees_with_answers(
    conversation: &Conversation,
    traces: &[&Trace],
    violations: &mut Violations,
) {
    for (at, word) in conversation.words() {
        let Word::Answer(answer) = word else { continue };
        let mut begins = traces.iter().filter_map(|trace| match trace.event {
            TraceEvent::Begun { n, partial, .. } if n == answer.n => Some((trace, partial)),
            _ => None,
        });
        let what = match begins.next_back() {
            None => "nobody has begun",
            Some((last, _)) if last.pid != answer.pid => "was begun again after its handler",
            Some((last, _)) if last.at > at => "was begun again after its answer",
            Some(_) => continue,
        };
        violations.add(Rule::Invented, conversation, at, format!("{word}: {what}"));
    }
    let early = |wanted: u64| {
        conversation.words().filter(move |(_, word)| *word == Word::Early { n: wanted })
    };
    for (_, order) in conversation.orders() {
        let Task::Early(_) = order.task else { continue };
        let Some((at, _)) = early(order.n).nth(1) else { continue };
        let is_marked = traces.iter().any(|trace| {
            matches!(trace.event, TraceEvent::Begun { n, partial: true, .. } if n == order.n)
        });
        if !is_marked {
            let what = format!("{} let something out twice, not marked as partial", order.n);
            violations.add(Rule::Unmarked, conversation, at, what);
        }
    }
}
