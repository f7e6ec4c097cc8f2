//! Each kind of violation is noticed in a run that is otherwise as it should be.

mod script;

use self::script::{LISTENER, PLAIN, RESIDENT, SECOND, begun, closed, run};
use super::{Rule, judge};
use crate::checker::record::{Conversation, Deed, Failed, Note, Published, Record, Role};
use crate::checker::words::{Answer, Order, Progress, Task, Trace, TraceEvent, Word};

fn is_answer(wanted: u64) -> impl Fn(&Note) -> bool {
    move |note| matches!(note, Note::Heard(Word::Answer(Answer { n, .. })) if *n == wanted)
}

fn is_news(note: &Note) -> bool {
    matches!(note, Note::Heard(Word::News { .. }))
}

fn is_begun(trace: &Trace, key: u32, pid: u32, wanted: u64) -> bool {
    let is_it = matches!(trace.event, TraceEvent::Begun { n, .. } if n == wanted);
    is_it && (trace.key, trace.pid) == (key, pid)
}

fn is_close_event(trace: &Trace) -> bool {
    trace.key == RESIDENT && matches!(trace.event, TraceEvent::Closed { .. })
}

#[track_caller]
fn shows(change: impl FnOnce(&mut Record), rule: Rule) {
    let mut record = run();
    change(&mut record);
    let violations = judge(&record);
    assert!(violations.iter().any(|found| found.rule == rule), "not {rule:?}: {violations:#?}");
}

#[test]
fn a_run_as_it_should_be_has_no_violation() {
    assert_eq!(judge(&run()), []);
}

#[test]
fn a_lost_answer_is_noticed() {
    shows(|record| record.forget(RESIDENT, is_answer(2)), Rule::Lost);
    shows(|record| record.forget(RESIDENT, is_answer(3)), Rule::Lost);
    let is_part = |note: &Note| matches!(note, Note::Heard(Word::Part { .. }));
    shows(|record| record.forget(RESIDENT, is_part), Rule::Lost);
    shows(|record| record.of(RESIDENT).notes.push((9 * SECOND, Note::Stuck)), Rule::Lost);
}

#[test]
fn a_doubled_answer_is_noticed() {
    shows(|record| record.repeat(RESIDENT, is_answer(1)), Rule::Doubled);
    let is_part = |note: &Note| matches!(note, Note::Heard(Word::Part { .. }));
    shows(|record| record.repeat(RESIDENT, is_part), Rule::Doubled);
}

#[test]
fn an_answer_out_of_order_is_noticed() {
    let swap = |record: &mut Record| {
        let notes = &mut record.of(RESIDENT).notes;
        let at = |n| notes.iter().position(|(_, note)| is_answer(n)(note)).unwrap();
        let (second, third) = (at(2), at(3));
        let (first, rest) = notes.split_at_mut(third);
        std::mem::swap(&mut first[second].1, &mut rest[0].1);
    };
    shows(swap, Rule::OutOfOrder);
}

#[test]
fn an_invented_answer_is_noticed() {
    let word = |n| Word::Answer(Answer { n, progress: Progress::NONE, pid: 11, seq: n });
    let add = |n| {
        move |record: &mut Record| {
            record.of(RESIDENT).notes.push((3 * SECOND, Note::Heard(word(n))));
        }
    };
    shows(add(17), Rule::Invented);
    shows(add(0), Rule::Invented);
    let garbled = (SECOND, Note::Garbled("?".to_owned()));
    shows(|record| record.of(RESIDENT).notes.push(garbled), Rule::Invented);
    shows(|record| record.forget_trace(|trace| is_begun(trace, PLAIN, 10, 1)), Rule::Invented);
}

#[test]
fn an_answer_of_a_handler_that_panicked_is_noticed() {
    let answer = |record: &mut Record| {
        let (n, pid) = (2, 12);
        let progress = record.of(LISTENER).progress()[2];
        let word = Word::Answer(Answer { n, progress, pid, seq: n });
        record.of(LISTENER).notes.push((3 * SECOND, Note::Heard(word)));
    };
    shows(answer, Rule::Invented);
    let fails = |record: &mut Record| {
        record.change(LISTENER, |note| match note {
            Note::Sent(order) if order.task == Task::Panic => {
                order.task = Task::Fail;
                true
            }
            _ => false,
        });
    };
    shows(fails, Rule::Lost);
}

#[test]
fn what_is_handled_again_after_its_answer_is_noticed() {
    let again = |record: &mut Record| {
        let trace = Trace { at: 4 * SECOND, pid: 11, key: RESIDENT, event: begun(1, true, false) };
        record.traces.push(trace);
    };
    shows(again, Rule::Invented);
}

#[test]
fn another_state_than_that_of_the_finished_messages_is_noticed() {
    let answer = |record: &mut Record| {
        record.change(RESIDENT, |note| match note {
            Note::Heard(Word::Answer(answer)) if answer.n == 2 => {
                answer.progress.hash += 1;
                true
            }
            _ => false,
        });
    };
    shows(answer, Rule::State);
    let adopted = |change: fn(&mut TraceEvent)| {
        move |record: &mut Record| {
            record.change_trace(|trace| {
                let is_it = matches!(trace.event, TraceEvent::Adopted { .. });
                is_it.then(|| change(&mut trace.event)).is_some()
            });
        }
    };
    let forget = |event: &mut TraceEvent| {
        let TraceEvent::Adopted { progress, .. } = event else { return };
        *progress = Progress::NONE;
    };
    shows(adopted(forget), Rule::State);
    let resubscribe = |event: &mut TraceEvent| {
        let TraceEvent::Adopted { subscribed, .. } = event else { return };
        *subscribed = false;
    };
    shows(adopted(resubscribe), Rule::State);
    let is_bye = |note: &Note| matches!(note, Note::Heard(Word::Bye { .. }));
    shows(|record| record.forget(LISTENER, is_bye), Rule::State);
    shows(|record| record.repeat(LISTENER, is_bye), Rule::State);
}

#[test]
fn two_owners_are_noticed() {
    let late = |record: &mut Record| {
        record.change_trace(|trace| {
            let is_it = is_begun(trace, RESIDENT, 11, 3);
            is_it.then(|| trace.pid = 10).is_some()
        });
    };
    shows(late, Rule::Stranger);
    let unheard = |note: &Note| matches!(note, Note::Heard(Word::Here { .. }));
    shows(|record| record.forget(RESIDENT, unheard), Rule::Stranger);
}

#[test]
fn a_mark_that_is_missing_or_too_much_is_noticed() {
    let mark = |key: u32, pid: u32, n: u64, event: TraceEvent| {
        move |record: &mut Record| {
            record.change_trace(|trace| {
                let is_it = is_begun(trace, key, pid, n);
                is_it.then(|| trace.event = event).is_some()
            });
        }
    };
    shows(mark(RESIDENT, 11, 2, begun(2, false, true)), Rule::Unmarked);
    shows(mark(RESIDENT, 11, 2, begun(2, true, false)), Rule::Unmarked);
    shows(mark(LISTENER, 12, 1, begun(1, true, false)), Rule::MarkedForNothing);
}

#[test]
fn a_message_that_is_skipped_is_noticed() {
    let skip = |record: &mut Record| record.forget_trace(|trace| is_begun(trace, RESIDENT, 10, 1));
    shows(skip, Rule::Lost);
    let last = |record: &mut Record| {
        record.forget(RESIDENT, is_answer(3));
        record.forget_trace(|trace| is_begun(trace, RESIDENT, 11, 3));
    };
    shows(last, Rule::Lost);
}

#[test]
fn news_lost_doubled_or_invented_are_noticed() {
    shows(|record| record.forget(LISTENER, is_news), Rule::Lost);
    shows(|record| record.repeat(LISTENER, is_news), Rule::Doubled);
    let invent = |note: &mut Note| match note {
        Note::Heard(Word::News { n, .. }) => std::mem::replace(n, 2) == 3,
        _ => false,
    };
    shows(|record| record.change(LISTENER, invent), Rule::Invented);
    let (room, n, from, to) = (0, 1, 20_000, 30_000);
    let published = Published { room, n, from, to };
    shows(|record| record.published.push(published), Rule::Lost);
}

#[test]
fn news_that_a_client_leaves_unread_when_it_cuts_its_socket_are_not_lost() {
    let mut record = run();
    record.forget(LISTENER, is_news);
    let cut = |note: &mut Note| match note {
        Note::Closing(_) => {
            *note = Note::Cut { reset: false };
            true
        }
        _ => false,
    };
    record.change(LISTENER, cut);
    let violations = judge(&record);
    assert!(violations.iter().all(|found| found.rule != Rule::Lost), "{violations:#?}");
}

#[test]
fn a_wrong_close_code_is_noticed() {
    let close = |key: u32, code: u16| {
        move |record: &mut Record| {
            record.change(key, |note| match note {
                Note::Closed(was) => std::mem::replace(was, code) != code,
                _ => false,
            });
        }
    };
    shows(close(PLAIN, 1006), Rule::CloseCode);
    // No reload before it.
    shows(close(PLAIN, 1012), Rule::CloseCode);
    shows(close(RESIDENT, 1012), Rule::CloseCode);
    shows(close(RESIDENT, 1011), Rule::CloseCode);
    let broken = |note: &mut Note| match note {
        Note::Closed(_) => std::mem::replace(note, Note::Broken(String::new())) != *note,
        _ => false,
    };
    shows(|record| record.change(RESIDENT, broken), Rule::CloseCode);
    // Its worker was not killed at all.
    let spared = |record: &mut Record| {
        let trace = Trace { at: SECOND, pid: 10, key: 77, event: TraceEvent::Opened };
        record.traces.push(trace);
    };
    shows(spared, Rule::CloseCode);
    let refused = |record: &mut Record| {
        let notes = vec![(30 * SECOND, Note::Refused("502".to_owned()))];
        let (key, role, room) = (4, Role::Visitor, None);
        record.conversations.push(Conversation { key, role, room, notes });
    };
    shows(refused, Rule::Refused);
}

#[test]
fn a_close_event_that_is_missing_doubled_or_another_is_noticed() {
    shows(|record| record.forget_trace(is_close_event), Rule::CloseEvent);
    let event = |event: TraceEvent| {
        move |record: &mut Record| {
            let trace = Trace { at: 4 * SECOND, pid: 11, key: RESIDENT, event };
            record.traces.push(trace);
        }
    };
    shows(event(closed(4000, false)), Rule::CloseEvent);
    shows(event(closed(1006, true)), Rule::CloseEvent);
    shows(event(begun(3, true, false)), Rule::OutOfOrder);
}

#[test]
fn a_run_without_moves_or_crashes_does_not_count() {
    let unmoved = |record: &mut Record| {
        let is_adopted = |trace: &Trace| matches!(trace.event, TraceEvent::Adopted { .. });
        record.forget_trace(|trace| trace.key == LISTENER && is_adopted(trace));
    };
    shows(unmoved, Rule::ShowsNothing);
    // Moved while nothing was under way.
    let idle = |record: &mut Record| {
        record.change_trace(|trace| {
            let is_it = trace.key == LISTENER && matches!(trace.event, TraceEvent::Adopted { .. });
            is_it.then(|| trace.at = 2 * SECOND).is_some()
        });
    };
    shows(idle, Rule::ShowsNothing);
    let unharmed = |record: &mut Record| {
        record
            .traces
            .retain(|trace| !matches!(trace.event, TraceEvent::Begun { redelivered: true, .. }));
    };
    shows(unharmed, Rule::ShowsNothing);
}

#[test]
fn a_failed_request_is_noticed_unless_its_worker_may_have_died() {
    let failed = |from, to| Failed { from, to, why: "502 Bad Gateway".to_owned() };
    let mut record = run();
    let (from, to) =
        record.deeds.iter().find(|deed| deed.harms).map(|it| (it.from, it.to)).unwrap();
    record.failed.push(failed(from, from + 1));
    record.failed.push(failed(0, to));
    assert_eq!(judge(&record), []);
    shows(|record| record.failed.push(failed(to + 1, to + 2)), Rule::Refused);
    shows(|record| record.answered = 0, Rule::ShowsNothing);
}

#[test]
fn whom_nobody_could_take_over_has_no_close_event() {
    let without_event = |deaths: u64, workers: usize| {
        let mut record = run();
        record.forget_trace(is_close_event);
        let last = record.traces.iter().rfind(|trace| trace.key == RESIDENT).unwrap().at;
        for death in 1..=deaths {
            let (from, what) = (last + death, "kill".to_owned());
            let (harms, stalls, reloads) = (true, false, false);
            let deed = Deed { from, to: from, harms, workers, stalls, reloads, what };
            record.deeds.push(deed);
        }
        judge(&record).iter().any(|found| found.rule == Rule::CloseEvent)
    };
    assert!(without_event(2, 1));
    assert!(!without_event(3, 1));
    // Killed at once: one has it, another takes it over before it dies.
    assert!(without_event(1, 8));
    assert!(!without_event(2, 8));
}

/// The pool is told to end while the resident waits for an answer.
fn end() -> Record {
    let mut record = run();
    let is_own = |note: &Note| matches!(note, Note::Closing(_) | Note::Closed(_));
    for key in [RESIDENT, LISTENER] {
        record.of(key).notes.retain(|(_, note)| !is_own(note));
    }
    record.conversations.retain(|conversation| conversation.key != PLAIN);
    record.forget_trace(|trace| {
        trace.key == PLAIN || matches!(trace.event, TraceEvent::Closed { .. })
    });
    record.terminated = Some(20 * SECOND);
    for key in [RESIDENT, LISTENER] {
        let n = record.of(key).orders().count() as u64 + 1;
        let order = Order { n, task: Task::Answer, padding: 0 };
        let at = 21 * SECOND;
        record.of(key).notes.extend([(at, Note::Sent(order)), (at + 1, Note::Closed(1001))]);
        let pid = record.traces.iter().rfind(|trace| trace.key == key).unwrap().pid;
        record.traces.push(Trace { at: at + 2, pid, key, event: closed(1001, false) });
    }
    record
}

#[track_caller]
fn end_shows(change: impl FnOnce(&mut Record), rule: Rule) {
    let mut record = end();
    change(&mut record);
    let violations = judge(&record);
    assert!(violations.iter().any(|found| found.rule == rule), "not {rule:?}: {violations:#?}");
}

#[test]
fn at_the_end_of_the_pool_everyone_is_told_1001_and_has_a_close_event() {
    assert_eq!(judge(&end()), []);
    let with = |code: u16| {
        move |record: &mut Record| {
            let notes = &mut record.of(RESIDENT).notes;
            notes.retain(|(_, note)| *note != Note::Closed(1001));
            notes.push((22 * SECOND, Note::Closed(code)));
        }
    };
    end_shows(with(1011), Rule::CloseCode);
    end_shows(with(1012), Rule::CloseCode);
    let broken = |record: &mut Record| {
        record.of(RESIDENT).notes.retain(|(_, note)| *note != Note::Closed(1001));
        record.of(RESIDENT).notes.push((22 * SECOND, Note::Broken("reset".to_owned())));
    };
    end_shows(broken, Rule::CloseCode);
    let mut deaf = end();
    broken(&mut deaf);
    deaf.of(RESIDENT).role = Role::Slow;
    assert_eq!(judge(&deaf), []);
    end_shows(|record| record.forget_trace(is_close_event), Rule::CloseEvent);
    let died = |record: &mut Record| {
        let (at, task) = (21 * SECOND, Task::Die);
        for (_, note) in &mut record.of(RESIDENT).notes {
            if let Note::Sent(order) = note
                && order.n == 4
            {
                order.task = task;
            }
        }
        record.change_trace(|trace| {
            let is_it = trace.key == RESIDENT && is_close_event(trace);
            is_it.then(|| (trace.at, trace.event) = (at, begun(4, false, false))).is_some()
        });
    };
    // A worker is started for what a dead one had; a connection that is not portable ends with it.
    end_shows(died, Rule::CloseEvent);
    let mut dead = end();
    died(&mut dead);
    dead.of(RESIDENT).role = Role::Plain;
    assert!(judge(&dead).iter().all(|violation| violation.rule != Rule::CloseEvent));
    end_shows(|record| record.terminated = Some(22 * SECOND), Rule::CloseCode);
    let idle = |record: &mut Record| {
        for key in [RESIDENT, LISTENER] {
            record.forget(key, |note| *note == Note::Closed(1001));
        }
    };
    end_shows(idle, Rule::ShowsNothing);
}
