//! The log is written by a thread of its own, so that whoever reads it holds nothing up.
//!
//! Lines are appended to one buffer in the order in which they come, and the thread writes what has
//! gathered. The buffer is bounded: lines that others cause, of which there may be any number, fill
//! half of it at most, and the program's own words have the rest. What does not fit is dropped,
//! counted, and told once what did fit is written. The caller waits for nothing but a lock, which is
//! held while a line is copied.
//!
//! [`plain`] makes words of others fit to be shown, in the log ([`PlainFields`]) and elsewhere.

mod fields;
pub mod plain;

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub use self::fields::PlainFields;

/// How much may wait to be written. As much again may be under way.
const LIMIT_BYTES: usize = 1024 * 1024;

/// How much of it may be what others cause.
const OTHERS_LIMIT_BYTES: usize = LIMIT_BYTES / 2;

/// With less, nobody need wait for room.
const ROOMY_BYTES: usize = LIMIT_BYTES / 4;

/// So much is written at once, in whole lines: to a pipe, nothing of others gets into it then
/// (PIPE_BUF).
const PIECE_BYTES: usize = 4096;

/// A log that has no room for so long is not waited for until it takes what waits in less.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the end may take if the log does take something.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Between two attempts on a descriptor that does not block.
const PAUSE: Duration = Duration::from_millis(10);

/// The target of lines of the access log.
pub const ACCESS: &str = "access";

/// The target of lines about who was turned away.
pub const REFUSALS: &str = "refusals";

/// Who causes a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This program has something to say.
    Own,
    /// Clients, or what workers print: as much as they like.
    Others,
}

/// A thread that writes a log. Dropped, it writes what is left, unless nobody reads it.
#[derive(Debug)]
pub struct Scribe(Pen);

/// The way to it; clones lead to the same.
#[derive(Clone, Debug)]
pub struct Pen(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing more will come.
    work: Condvar,
    /// The thread has ended.
    end: Condvar,
    /// There may be more room.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that did not fit.
    dropped: u64,
    /// As many of them have been told of.
    told: u64,
    /// How often something has been written.
    writes: u64,
    /// Somebody has waited in vain, and no batch has been written fast enough since.
    is_stuck: bool,
    is_ending: bool,
    has_ended: bool,
}

/// What the thread is to do.
enum Work {
    Write,
    TellDropped(u64),
    End,
}

impl Scribe {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of starting one.
    pub fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let pen = Pen(shared.clone());
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            let shared = EndsWith(shared);
            shared.0.work_until_the_end(to);
        })?;
        Ok(Scribe(pen))
    }

    /// The way to it.
    pub fn pen(&self) -> Pen {
        self.0.clone()
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        let shared = &self.0.0;
        let begun = Instant::now();
        let mut state = shared.lock();
        state.is_ending = true;
        shared.work.notify_one();
        while !state.has_ended && begun.elapsed() < LAST_PATIENCE {
            let writes = state.writes;
            let waited = shared.end.wait_timeout_while(state, PATIENCE, |state| !state.has_ended);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.writes == writes {
                break;
            }
        }
    }
}

impl Pen {
    /// A place for a line. It must be written to it whole, at once.
    pub fn line(&self, cause: Cause) -> Entry<'_> {
        let limit = match cause {
            Cause::Own => LIMIT_BYTES,
            Cause::Others => OTHERS_LIMIT_BYTES,
        };
        Entry { shared: &self.0, limit }
    }

    /// Lines that were dropped, ever.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// Waits for room, for those who would rather wait than have a line dropped. A log that takes nothing,
    /// or less than is said, is waited for once.
    pub async fn room(&self) {
        let is_crowded = || {
            let state = self.0.lock();
            state.waiting.len() >= ROOMY_BYTES && !state.is_stuck
        };
        let for_room = async {
            loop {
                // Registered before the look, so that no change is missed.
                let room = self.0.room.notified();
                if !is_crowded() {
                    return;
                }
                room.await;
            }
        };
        if tokio::time::timeout(PATIENCE, for_room).await.is_err() {
            self.0.lock().is_stuck = true;
        }
    }
}

/// A place for one line.
#[derive(Debug)]
pub struct Entry<'a> {
    shared: &'a Shared,
    limit: usize,
}

impl Write for Entry<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        if state.waiting.len() + line.len() > self.limit {
            state.dropped += 1;
        } else {
            state.waiting.extend_from_slice(line);
            self.shared.work.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_until_the_end(&self, mut to: impl Write) {
        let mut batch = Vec::new();
        loop {
            match self.next(&mut batch) {
                Work::Write => {
                    self.room.notify_waiters();
                    let begun = Instant::now();
                    self.write(&mut to, &batch);
                    if begun.elapsed() <= PATIENCE {
                        self.lock().is_stuck = false;
                    }
                    batch.clear();
                }
                // This comes back as a line.
                Work::TellDropped(lines) => {
                    tracing::warn!(lines, "lines of the log were dropped, as nobody read it");
                }
                Work::End => return,
            }
        }
    }

    /// Waits for work; `batch` is what is to be written.
    fn next(&self, batch: &mut Vec<u8>) -> Work {
        let is_idle = |state: &mut State| {
            state.waiting.is_empty() && state.told == state.dropped && !state.is_ending
        };
        let waited = self.work.wait_while(self.lock(), is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.waiting.is_empty() {
            std::mem::swap(batch, &mut state.waiting);
            return Work::Write;
        }
        let untold = state.dropped - state.told;
        state.told = state.dropped;
        match untold {
            0 => Work::End,
            lines => Work::TellDropped(lines),
        }
    }

    /// What cannot be written is lost: there is no other place to say it.
    fn write(&self, to: &mut impl Write, mut lines: &[u8]) {
        while !lines.is_empty() {
            match to.write(&lines[..piece(lines)]) {
                Ok(0) => return,
                Ok(count) => lines = &lines[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(PAUSE);
                    continue;
                }
                Err(_) => return,
            }
            self.lock().writes += 1;
        }
    }
}

/// How much of these lines to write at once.
fn piece(lines: &[u8]) -> usize {
    if lines.len() <= PIECE_BYTES {
        return lines.len();
    }
    let end = lines[..PIECE_BYTES].iter().rposition(|byte| *byte == b'\n');
    // A long line is written whole, or what there is of it.
    let end = end.or_else(|| lines.iter().position(|byte| *byte == b'\n'));
    end.map_or(lines.len(), |end| end + 1)
}

/// Tells the end of the thread, however it ends.
struct EndsWith(Arc<Shared>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.end.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read};

    use super::*;

    const LINE: &[u8] = b"some thirty bytes of a log line\n";

    /// A scribe whose pipe is read by nobody yet, and is full; and how many lines it has taken.
    fn blocked() -> (Scribe, PipeReader, usize) {
        let (reader, writer) = io::pipe().unwrap();
        let scribe = Scribe::start(writer).unwrap();
        let pen = scribe.pen();
        let mut lines = 0;
        while pen.dropped() == 0 {
            put(&pen, Cause::Others);
            lines += 1;
        }
        (scribe, reader, lines - 1)
    }

    fn put(pen: &Pen, cause: Cause) {
        pen.line(cause).write_all(LINE).unwrap();
    }

    #[test]
    fn lines_come_in_order_and_the_last_before_the_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        let scribe = Scribe::start(writer).unwrap();
        let pen = scribe.pen();
        for number in 0..1000 {
            let cause = if number % 2 == 0 { Cause::Own } else { Cause::Others };
            writeln!(io::LineWriter::new(pen.line(cause)), "line {number}").unwrap();
        }
        drop((scribe, pen));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn what_others_cause_leaves_room_for_the_rest_and_what_is_dropped_is_counted() {
        let (scribe, mut reader, written) = blocked();
        let pen = scribe.pen();
        put(&pen, Cause::Own);
        assert_eq!(pen.dropped(), 1);
        while pen.dropped() == 1 {
            put(&pen, Cause::Own);
        }
        assert!(pen.0.lock().waiting.len() <= LIMIT_BYTES);
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text.lines().count()
        });
        drop((scribe, pen));
        assert!(reading.join().unwrap() > written);
    }

    #[test]
    fn nobody_waits_in_the_end_for_a_log_that_nobody_reads() {
        let (scribe, _reader, _) = blocked();
        let begun = Instant::now();
        drop(scribe);
        assert!(begun.elapsed() < LAST_PATIENCE, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn whoever_wants_room_waits_for_a_slow_log_and_once_for_one_that_stands_still() {
        let (scribe, mut reader, written) = blocked();
        let pen = scribe.pen();
        let waiting = tokio::spawn({
            let pen = pen.clone();
            async move { pen.room().await }
        });
        let mut text = vec![0; written * LINE.len()];
        reader.read_exact(&mut text).unwrap();
        waiting.await.unwrap();
        // Nobody reads any more, so there is no room some time.
        while !pen.0.lock().is_stuck {
            put(&pen, Cause::Others);
            pen.room().await;
        }
        let begun = Instant::now();
        pen.room().await;
        assert!(begun.elapsed() < PATIENCE);
    }

    /// J71. A pipe that is read at some 130 KiB/s.
    struct Slow;

    impl Write for Slow {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            thread::sleep(3 * PAUSE);
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn whoever_wants_room_waits_once_for_a_log_that_takes_less_than_is_said() {
        let scribe = Scribe::start(Slow).unwrap();
        let (pen, mut waited) = (scribe.pen(), Duration::ZERO);
        while pen.0.lock().writes < 100 {
            (0..100).for_each(|_| put(&pen, Cause::Others));
            let begun = Instant::now();
            pen.room().await;
            waited += begun.elapsed();
            tokio::time::sleep(PAUSE / 10).await;
        }
        assert!(pen.dropped() > 0);
        assert!(waited < 2 * PATIENCE, "{waited:?}");
        // Its end would take seconds.
        std::mem::forget(scribe);
    }

    #[test]
    fn pieces_are_whole_lines() {
        assert_eq!(piece(b"one\ntwo\n"), 8);
        let lines = b"0123456789\n".repeat(1000);
        assert_eq!(piece(&lines), PIECE_BYTES / 11 * 11);
        let long = [vec![b'x'; 2 * PIECE_BYTES], b"\nnext\n".to_vec()].concat();
        assert_eq!(piece(&long), 2 * PIECE_BYTES + 1);
    }
}
