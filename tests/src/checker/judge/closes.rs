//! How connections ended: with the code that the client was promised, and with one close event.

use super::{Case, Rule, Violation, Violations};
use crate::checker::record::{Conversation, Note, Role};
use crate::checker::words::{TraceEvent, Word};

/// How long what was done to a worker may take to show, in nanoseconds.
const SHOWS_WITHIN: u64 = 10_000_000_000;

/// How long before the end clients come that are to be busy then, in nanoseconds.
const COMES_WITHIN: u64 = 2_000_000_000;

/// How long a client may take to read its close frame, in nanoseconds.
const CLOSES_WITHIN: u64 = 1_000_000_000;

/// What clients are told when the pool ends.
const SHUTDOWN: u16 = 1001;

pub(super) fn judge(case: &Case<'_>, conversation: &Conversation, violations: &mut Violations) {
    let mut closing = None;
    let mut end = None;
    for (at, note) in &conversation.notes {
        match note {
            Note::Refused(why) => {
                let is_harmed = case.harm(at.saturating_sub(SHOWS_WITHIN), *at) > 0;
                if !is_harmed && !case.is_terminated(*at) {
                    violations.add(Rule::Refused, conversation, *at, why.clone());
                }
                end = Some(End::NeverOpened);
            }
            Note::Closing(code) => closing = Some(*code),
            Note::Cut { .. } if conversation.opened().is_none() => end = Some(End::NeverOpened),
            Note::Cut { .. } => end = Some(End::Gone),
            Note::Closed(code) if closing == Some(*code) => end = Some(End::Own(*code)),
            Note::Closed(code) => {
                end = Some(End::Theirs(*code));
                if let Some(why) = why_not(case, conversation, *at, *code) {
                    let what = format!("closed with {code}: {why}");
                    violations.add(Rule::CloseCode, conversation, *at, what);
                }
            }
            Note::Broken(why) => {
                end = Some(End::Broken);
                // Whoever does not read for longer than a close may take, and writes then, resets
                // what it has not read.
                let is_deaf = conversation.role == Role::Slow && case.is_terminated(*at);
                // So does one that could not read within that time because nothing ran.
                let is_late = case.stalled(at.saturating_sub(CLOSES_WITHIN), *at);
                if !is_deaf && !is_late {
                    let what = format!("ended without a close frame: {why}");
                    violations.add(Rule::CloseCode, conversation, *at, what);
                }
            }
            _ => {}
        }
    }
    if let Some(end) = end {
        judge_events(case, conversation, (end, closing), violations);
    }
}

/// Whether the end of the pool shows what it should: connections with messages under way are told.
pub(super) fn judge_end(case: &Case<'_>, violations: &mut Violations) {
    let is_told = |conversation: &&Conversation| {
        let mut notes = conversation.notes.iter();
        let answered =
            conversation.words().filter(|(_, word)| matches!(word, Word::Answer(_))).count();
        notes.any(|(_, note)| *note == Note::Closed(SHUTDOWN))
            && conversation.questions().count() > answered
    };
    let conversations = case.record.conversations.iter();
    let is_there = |one: &&Conversation| one.opened().is_some() && case.is_terminated(one.ended());
    let (there, told) =
        (conversations.clone().filter(is_there).count(), conversations.filter(is_told).count());
    // Nor do clients come and ask while nothing runs.
    let end = case.record.terminated.unwrap_or_default();
    let has_stood_still = case.stalled(end.saturating_sub(COMES_WITHIN), end);
    if (told == 0 || told < there / 2) && !has_stood_still {
        let what =
            format!("{told} of {there} connections were busy at the end: this run does not count");
        violations.0.push(Violation { rule: Rule::ShowsNothing, key: 0, at: 0, what });
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client closed with this code.
    Own(u16),
    /// The server closed with this code.
    Theirs(u16),
    /// The client ended its socket.
    Gone,
    Broken,
    NeverOpened,
}

/// Why the server must not close a connection so.
fn why_not(case: &Case<'_>, conversation: &Conversation, at: u64, code: u16) -> Option<String> {
    if code == SHUTDOWN && case.is_terminated(at) {
        return None;
    }
    if conversation.role.is_portable() {
        let is_quarantined = code == 1011 && case.may_be_given_up(conversation, at);
        return (!is_quarantined).then(|| "it is portable".to_owned());
    }
    let hello = conversation.words().find_map(|(_, word)| match word {
        Word::Hello { pid } => Some(pid),
        _ => None,
    });
    match (code, hello.and_then(|pid| case.last_signs.get(&pid))) {
        (1012, _) if case.reloaded_before(at) => None,
        (1011, Some(sign)) if *sign > at => Some("its worker lives".to_owned()),
        (1011, _) if case.harm(at.saturating_sub(SHOWS_WITHIN), at) > 0 => None,
        (1011 | 1012, _) => Some("nothing has happened to its worker".to_owned()),
        _ => Some("it is neither 1011 nor 1012".to_owned()),
    }
}

fn judge_events(
    case: &Case<'_>,
    conversation: &Conversation,
    (end, closing): (End, Option<u16>),
    violations: &mut Violations,
) {
    let ended = conversation.ended();
    let traces = case.traces(conversation);
    let events = traces.iter().filter_map(|trace| match trace.event {
        TraceEvent::Closed { code, was_clean, .. } => Some((trace.at, code, was_clean)),
        _ => None,
    });
    let events = events.collect::<Vec<_>>();
    let is_portable = conversation.role.is_portable();
    let opened = conversation.opened().unwrap_or(ended);
    // What ended with its worker has no close event; neither has what nobody could take over.
    let may_be_missing = match end {
        End::NeverOpened | End::Broken => true,
        End::Theirs(1011) => true,
        End::Own(_) | End::Gone | End::Theirs(_) => {
            let is_left = case.is_left_at_the_end(conversation);
            match is_portable {
                true => case.may_be_adopted_by_none(conversation, ended),
                false => is_left || case.harm(opened, ended + SHOWS_WITHIN) > 0,
            }
        }
    };
    if events.is_empty() && !may_be_missing {
        violations.add(Rule::CloseEvent, conversation, ended, "no close event");
    }
    for (at, code, was_clean) in events {
        let is_promised = match end {
            End::Own(own) => code == own && was_clean,
            End::Gone | End::Broken => code == 1006 && !was_clean,
            End::Theirs(theirs) => code == theirs,
            End::NeverOpened => true,
        };
        // Its worker was about to close it, too.
        let is_crossed = !is_portable && code == 1012 && case.reloaded_before(at);
        let is_ended = case.is_terminated(at) && (code == SHUTDOWN || Some(code) == closing);
        if !is_promised && !is_crossed && !is_ended {
            let what = format!("a close event with {code}, clean: {was_clean}");
            violations.add(Rule::CloseEvent, conversation, at, what);
        }
    }
    // What comes behind a close frame of ours is not read.
    if let (End::Own(_), true, None) = (end, is_portable, case.record.terminated) {
        all_was_handled(case, conversation, ended, violations);
    }
}

/// What the client sent before its close frame has come before it.
fn all_was_handled(
    case: &Case<'_>,
    conversation: &Conversation,
    ended: u64,
    violations: &mut Violations,
) {
    let (mut begun, mut closed) = (0, ended);
    for trace in case.traces(conversation) {
        match trace.event {
            TraceEvent::Begun { n, .. } => begun = begun.max(n),
            TraceEvent::Closed { .. } => closed = closed.max(trace.at),
            TraceEvent::Opened | TraceEvent::Adopted { .. } => {}
        }
    }
    let sent = conversation.orders().count() as u64;
    if begun < sent && !case.may_be_given_up(conversation, closed) {
        let what = format!("{sent} messages sent before the close, {begun} begun");
        violations.add(Rule::Lost, conversation, ended, what);
    }
}
