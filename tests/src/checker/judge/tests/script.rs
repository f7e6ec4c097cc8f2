//! A run that is as it should be, and what changes it.

use crate::checker::record::{Conversation, Deed, Note, Record, Role};
use crate::checker::words::{Answer, Order, Progress, Task, Trace, TraceEvent, Word};

pub(super) const SECOND: u64 = 1_000_000_000;

/// Connections of [`run`].
pub(super) const RESIDENT: u32 = 1;
pub(super) const LISTENER: u32 = 2;
pub(super) const PLAIN: u32 = 3;

/// A connection whose messages 2 and 3 are under way when its worker 10 is killed: 2 was begun
/// there. Worker 11 has it then, and publishes 3 to another connection, whose own last message makes its
/// handler panic.
/// A plain connection ends with worker 10.
pub(super) fn run() -> Record {
    let mut script = Script::default();
    script.record.answered = 1;
    script.open(RESIDENT, Role::Resident, 10);
    script.open(LISTENER, Role::Resident, 11);
    script.open(PLAIN, Role::Plain, 10);
    script.handle(PLAIN, 10, 1, Task::Answer, false);
    script.handle(RESIDENT, 10, 1, Task::Parts(1), false);
    script.send(RESIDENT, 2, Task::Early(1));
    script.begin(RESIDENT, 10, 2, false);
    script.hear(RESIDENT, Word::Early { n: 2 });
    script.send(RESIDENT, 3, Task::Publish);
    script.send(LISTENER, 1, Task::Answer);
    script.deed("kill 10", true);
    script.note(PLAIN, Note::Closed(1011));
    script.adopt(RESIDENT, 11, 1, true);
    script.trace(RESIDENT, 11, begun(2, true, true));
    script.hear(RESIDENT, Word::Early { n: 2 });
    script.answer(RESIDENT, 11, 2);
    script.begin(RESIDENT, 11, 3, true);
    script.hear(RESIDENT, Word::News { publisher: RESIDENT, n: 3 });
    script.hear(LISTENER, Word::News { publisher: RESIDENT, n: 3 });
    script.answer(RESIDENT, 11, 3);
    script.deed("reload", false);
    script.hear(LISTENER, Word::Bye { pid: 11, byes: 1 });
    script.adopt(LISTENER, 12, 0, false);
    script.begin(LISTENER, 12, 1, false);
    script.answer(LISTENER, 12, 1);
    script.send(LISTENER, 2, Task::Panic);
    script.begin(LISTENER, 12, 2, false);
    script.time += 3 * SECOND;
    for (key, pid) in [(RESIDENT, 11), (LISTENER, 12)] {
        script.note(key, Note::Closing(4000));
        script.trace(key, pid, closed(4000, false));
        script.note(key, Note::Closed(4000));
    }
    script.record
}

#[derive(Default)]
struct Script {
    record: Record,
    time: u64,
    byes: [u64; 4],
}

pub(super) fn begun(n: u64, redelivered: bool, partial: bool) -> TraceEvent {
    TraceEvent::Begun { n, seq: n, redelivered, partial }
}

pub(super) fn closed(code: u16, redelivered: bool) -> TraceEvent {
    TraceEvent::Closed { code, was_clean: true, redelivered }
}

impl Script {
    fn now(&mut self) -> u64 {
        self.time += 1000;
        self.time
    }

    fn note(&mut self, key: u32, note: Note) {
        let at = self.now();
        self.record.of(key).notes.push((at, note));
    }

    fn trace(&mut self, key: u32, pid: u32, event: TraceEvent) {
        let at = self.now();
        self.record.traces.push(Trace { at, pid, key, event });
    }

    fn deed(&mut self, what: &str, harms: bool) {
        let from = self.now();
        let (what, stalls, reloads) = (what.to_owned(), false, !harms);
        self.record.deeds.push(Deed { from, to: from, harms, workers: 1, stalls, reloads, what });
    }

    fn open(&mut self, key: u32, role: Role, pid: u32) {
        let room = role.is_portable().then_some(0);
        self.record.conversations.push(Conversation { key, role, room, notes: Vec::new() });
        self.trace(key, pid, TraceEvent::Opened);
        self.note(key, Note::Opened);
        self.hear(key, Word::Hello { pid });
    }

    fn hear(&mut self, key: u32, word: Word) {
        if let Word::Bye { byes, .. } = word {
            self.byes[key as usize] = byes;
        }
        self.note(key, Note::Heard(word));
    }

    fn send(&mut self, key: u32, n: u64, task: Task) {
        self.note(key, Note::Sent(Order { n, task, padding: 0 }));
    }

    fn begin(&mut self, key: u32, pid: u32, n: u64, redelivered: bool) {
        self.trace(key, pid, begun(n, redelivered, false));
    }

    fn answer(&mut self, key: u32, pid: u32, n: u64) {
        let conversation = self.record.of(key);
        let progress = match conversation.role.is_portable() {
            true => conversation.progress()[n as usize],
            false => Progress::NONE.with(&conversation.orders().last().unwrap().1.to_string()),
        };
        self.hear(key, Word::Answer(Answer { n, progress, pid, seq: n }));
    }

    fn handle(&mut self, key: u32, pid: u32, n: u64, task: Task, redelivered: bool) {
        self.send(key, n, task);
        self.begin(key, pid, n, redelivered);
        if let Task::Parts(parts) = task {
            (0..parts).for_each(|part| self.hear(key, Word::Part { n, part }));
        }
        self.answer(key, pid, n);
    }

    fn adopt(&mut self, key: u32, pid: u32, count: usize, crash: bool) {
        let progress = self.record.of(key).progress()[count];
        let (same, subscribed) = (true, true);
        self.trace(key, pid, TraceEvent::Adopted { progress, crash, same, subscribed });
        let byes = self.byes[key as usize];
        self.hear(key, Word::Here { pid, byes });
    }
}

impl Record {
    pub(super) fn of(&mut self, key: u32) -> &mut Conversation {
        self.conversations.iter_mut().find(|one| one.key == key).unwrap()
    }

    pub(super) fn forget(&mut self, key: u32, is_it: impl Fn(&Note) -> bool) {
        let notes = &mut self.of(key).notes;
        let at = notes.iter().position(|(_, note)| is_it(note)).expect("such a note");
        notes.remove(at);
    }

    pub(super) fn repeat(&mut self, key: u32, is_it: impl Fn(&Note) -> bool) {
        let notes = &mut self.of(key).notes;
        let at = notes.iter().position(|(_, note)| is_it(note)).expect("such a note");
        notes.insert(at, notes[at].clone());
    }

    pub(super) fn change(&mut self, key: u32, is_it: impl Fn(&mut Note) -> bool) {
        let notes = self.of(key).notes.iter_mut();
        assert!({ notes }.any(|(_, note)| is_it(note)), "such a note");
    }

    pub(super) fn change_trace(&mut self, is_it: impl Fn(&mut Trace) -> bool) {
        assert!(self.traces.iter_mut().any(is_it), "such a trace");
    }

    pub(super) fn forget_trace(&mut self, is_it: impl Fn(&Trace) -> bool) {
        let before = self.traces.len();
        self.traces.retain(|trace| !is_it(trace));
        assert!(self.traces.len() < before, "such a trace");
    }
}
