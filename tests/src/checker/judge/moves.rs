//! Whether a run shows what it should: each connection that stayed was moved while messages were
//! under way, and something was handled again.

use super::{Case, Rule, Violation, Violations};
use crate::checker::record::Conversation;
use crate::checker::words::{Trace, TraceEvent, Word};

/// Who has come by then was there from the beginning, in nanoseconds.
const EARLY: u64 = 5_000_000_000;

pub(super) fn judge(case: &Case<'_>, violations: &mut Violations) {
    let conversations = &case.record.conversations;
    let begin = conversations.iter().filter_map(Conversation::opened).min().unwrap_or(0);
    // One that came later, in the place of one that was given up, may not have been there for long.
    let is_early = |one: &&Conversation| one.opened().is_some_and(|at| at < begin + EARLY);
    let staying = conversations.iter().filter(|one| one.role.stays());
    for conversation in staying.filter(is_early) {
        if moves_under_way(conversation, case.traces(conversation)) == 0 {
            let what = "it was never moved with messages under way: this run does not count";
            violations.add(Rule::ShowsNothing, conversation, conversation.ended(), what);
        }
    }
    let is_again =
        |trace: &&Trace| matches!(trace.event, TraceEvent::Begun { redelivered: true, .. });
    if !case.record.traces.iter().any(|trace| is_again(&trace)) {
        let what = "no message was handled again: this run does not count".to_owned();
        violations.0.push(Violation { rule: Rule::ShowsNothing, key: 0, at: 0, what });
    }
}

/// How often another process took the connection over while a message was sent and not answered.
pub(super) fn moves_under_way(conversation: &Conversation, traces: &[&Trace]) -> usize {
    let mut owner = None;
    let mut moves = 0;
    for trace in traces {
        let before = owner.replace(trace.pid);
        let TraceEvent::Adopted { .. } = trace.event else { continue };
        let orders = conversation.questions().take_while(|(sent, _)| *sent < trace.at);
        let words = conversation.words().take_while(|(heard, _)| *heard < trace.at);
        let answered = words.filter(|(_, word)| matches!(word, Word::Answer(_))).count();
        if before != Some(trace.pid) && orders.count() > answered {
            moves += 1;
        }
    }
    moves
}
