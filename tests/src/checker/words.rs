//! What the checker's clients and its worker program say to each other, and what the program notes.
//!
//! All of it is words in a line of text, so that a log can be read as it is.

use std::fmt;
use std::str::{FromStr, SplitAsciiWhitespace};

/// What a client asks a handler to do before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Nothing.
    Answer,
    /// Sleep for so many milliseconds, and let others go on.
    Sleep(u64),
    /// Hold up the whole worker for so many milliseconds.
    Block(u64),
    /// Send so many parts first.
    Parts(u64),
    /// Publish to the room.
    Publish,
    /// Let a part out at once, then go on for so many milliseconds.
    Early(u64),
    /// Answer, and fail after that with an error.
    Fail,
    /// Answer, and panic after that: see `Conversation::is_undone`.
    Panic,
    /// Answer, and end the worker before the handler ends; not when it comes again.
    Die,
    /// Answer with so many bytes.
    Long(u64),
}

/// A message to a handler: the `n`th of its connection, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub n: u64,
    /// What to do.
    pub task: Task,
    /// Bytes that it carries for nothing.
    pub padding: usize,
}

/// What is kept of all messages that were handled: how many, and a hash of each in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many.
    pub count: u64,
    /// Of their whole texts, in order.
    pub hash: u64,
}

/// A message to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The first: this worker has accepted the connection.
    Hello {
        /// Its process.
        pid: u32,
    },
    /// This worker has taken the connection over.
    Here {
        /// Its process.
        pid: u32,
        /// How often the connection was given up in good order before.
        byes: u64,
    },
    /// The worker gives the connection up in good order.
    Bye {
        /// Its process.
        pid: u32,
        /// The how manieth time.
        byes: u64,
    },
    /// One of the parts that come before an answer.
    Part {
        /// Of this message.
        n: u64,
        /// From 0.
        part: u64,
    },
    /// A part that was let out before its handler ended.
    Early {
        /// Of this message.
        n: u64,
    },
    /// Published by another client's handler, or by its own.
    News {
        /// Which client.
        publisher: u32,
        /// Which of its messages.
        n: u64,
    },
    /// The message is handled.
    Answer(Answer),
}

/// The end of what a handler says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which message.
    pub n: u64,
    /// With it.
    pub progress: Progress,
    /// Who has handled it.
    pub pid: u32,
    /// What the SDK says is its number.
    pub seq: u64,
}

/// What the worker program notes, each before it does anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// See [`now`].
    pub at: u64,
    /// In which process.
    pub pid: u32,
    /// Of which connection.
    pub key: u32,
    /// What happened.
    pub event: TraceEvent,
}

/// What happened to a connection in a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// Its fetch handler runs.
    Opened,
    /// The handler of a message runs.
    Begun {
        /// The message's own number.
        n: u64,
        /// What the SDK says is its number.
        seq: u64,
        /// Marked as one that may have been begun before.
        redelivered: bool,
        /// Marked as one whose handler may have let something out.
        partial: bool,
    },
    /// Its adopt handler runs.
    Adopted {
        /// What was attached.
        progress: Progress,
        /// The owner before has died.
        crash: bool,
        /// Headers, url and subprotocol are as they were.
        same: bool,
        /// So are the subscriptions.
        subscribed: bool,
    },
    /// Its close handler runs.
    Closed {
        /// Of the close.
        code: u16,
        /// Of the close.
        was_clean: bool,
        /// Marked as one that may have been begun before.
        redelivered: bool,
    },
}

/// Nanoseconds of the clock that all processes of this machine share.
pub fn now() -> u64 {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    let time = nix::time::clock_gettime(clock).expect("a clock");
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

impl Progress {
    /// Before the first message.
    pub const NONE: Progress = Progress { count: 0, hash: 0xcbf2_9ce4_8422_2325 };

    /// After one more.
    #[must_use]
    pub fn with(self, text: &str) -> Progress {
        // FNV-1a, with the count as a byte between texts.
        let bytes = text.bytes().chain([self.count as u8]);
        let hash = bytes
            .fold(self.hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Progress { count: self.count + 1, hash }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, argument) = match self.task {
            Task::Answer => ("answer", 0),
            Task::Sleep(milliseconds) => ("sleep", milliseconds),
            Task::Block(milliseconds) => ("block", milliseconds),
            Task::Parts(parts) => ("parts", parts),
            Task::Publish => ("publish", 0),
            Task::Early(milliseconds) => ("early", milliseconds),
            Task::Fail => ("fail", 0),
            Task::Panic => ("panic", 0),
            Task::Die => ("die", 0),
            Task::Long(bytes) => ("long", bytes),
        };
        write!(f, "{} {name} {argument} {}", self.n, ".".repeat(self.padding))
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::Hello { pid } => write!(f, "hello {pid}"),
            Word::Here { pid, byes } => write!(f, "here {pid} {byes}"),
            Word::Bye { pid, byes } => write!(f, "bye {pid} {byes}"),
            Word::Part { n, part } => write!(f, "part {n} {part}"),
            Word::Early { n } => write!(f, "early {n}"),
            Word::News { publisher, n } => write!(f, "news {publisher} {n}"),
            Word::Answer(Answer { n, progress: Progress { count, hash }, pid, seq }) => {
                write!(f, "answer {n} {count} {hash} {pid} {seq}")
            }
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.at, self.pid, self.key)?;
        match self.event {
            TraceEvent::Opened => write!(f, "opened"),
            TraceEvent::Begun { n, seq, redelivered, partial } => {
                write!(f, "begun {n} {seq} {redelivered} {partial}")
            }
            TraceEvent::Adopted { progress, crash, same, subscribed } => {
                let Progress { count, hash } = progress;
                write!(f, "adopted {count} {hash} {crash} {same} {subscribed}")
            }
            TraceEvent::Closed { code, was_clean, redelivered } => {
                write!(f, "closed {code} {was_clean} {redelivered}")
            }
        }
    }
}

/// Text that is none of what may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

impl FromStr for Order {
    type Err = Garbled;

    fn from_str(text: &str) -> Result<Self, Garbled> {
        let mut words = Words(text.split_ascii_whitespace());
        let n = words.next()?;
        let (name, argument) = (words.word()?, words.next()?);
        let task = match name {
            "answer" => Task::Answer,
            "sleep" => Task::Sleep(argument),
            "block" => Task::Block(argument),
            "parts" => Task::Parts(argument),
            "publish" => Task::Publish,
            "early" => Task::Early(argument),
            "fail" => Task::Fail,
            "panic" => Task::Panic,
            "die" => Task::Die,
            "long" => Task::Long(argument),
            _ => return Err(Garbled),
        };
        Ok(Order { n, task, padding: words.word().map_or(0, str::len) })
    }
}

impl FromStr for Word {
    type Err = Garbled;

    fn from_str(text: &str) -> Result<Self, Garbled> {
        let mut words = Words(text.split_ascii_whitespace());
        Ok(match words.word()? {
            "hello" => Word::Hello { pid: words.next()? },
            "here" => Word::Here { pid: words.next()?, byes: words.next()? },
            "bye" => Word::Bye { pid: words.next()?, byes: words.next()? },
            "part" => Word::Part { n: words.next()?, part: words.next()? },
            "early" => Word::Early { n: words.next()? },
            "news" => Word::News { publisher: words.next()?, n: words.next()? },
            "answer" => Word::Answer(Answer {
                n: words.next()?,
                progress: Progress { count: words.next()?, hash: words.next()? },
                pid: words.next()?,
                seq: words.next()?,
            }),
            _ => return Err(Garbled),
        })
    }
}

impl FromStr for Trace {
    type Err = Garbled;

    fn from_str(text: &str) -> Result<Self, Garbled> {
        let mut words = Words(text.split_ascii_whitespace());
        let (at, pid, key) = (words.next()?, words.next()?, words.next()?);
        let event = match words.word()? {
            "opened" => TraceEvent::Opened,
            "begun" => TraceEvent::Begun {
                n: words.next()?,
                seq: words.next()?,
                redelivered: words.next()?,
                partial: words.next()?,
            },
            "adopted" => TraceEvent::Adopted {
                progress: Progress { count: words.next()?, hash: words.next()? },
                crash: words.next()?,
                same: words.next()?,
                subscribed: words.next()?,
            },
            "closed" => TraceEvent::Closed {
                code: words.next()?,
                was_clean: words.next()?,
                redelivered: words.next()?,
            },
            _ => return Err(Garbled),
        };
        Ok(Trace { at, pid, key, event })
    }
}

struct Words<'a>(SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    fn word(&mut self) -> Result<&'a str, Garbled> {
        self.0.next().ok_or(Garbled)
    }

    fn next<T: FromStr>(&mut self) -> Result<T, Garbled> {
        self.word()?.parse().map_err(|_| Garbled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for (task, padding) in [(Task::Sleep(20), 3), (Task::Publish, 0), (Task::Long(7), 1)] {
            let order = Order { n: 12, task, padding };
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        let progress = Progress::NONE.with("a").with("b");
        let answer = Answer { n: 2, progress, pid: 7, seq: 2 };
        for word in
            [Word::Hello { pid: 1 }, Word::News { publisher: 3, n: 4 }, Word::Answer(answer)]
        {
            assert_eq!(word.to_string().parse(), Ok(word));
        }
        let event = TraceEvent::Begun { n: 1, seq: 1, redelivered: true, partial: false };
        let trace = Trace { at: now(), pid: 1, key: 2, event };
        assert_eq!(trace.to_string().parse(), Ok(trace));
        assert_eq!("answer 1".parse::<Word>(), Err(Garbled));
    }

    #[test]
    fn progress_knows_order_and_bounds_of_texts() {
        assert_ne!(Progress::NONE.with("a").with("b"), Progress::NONE.with("b").with("a"));
        assert_ne!(Progress::NONE.with("ab").with("c"), Progress::NONE.with("a").with("bc"));
    }
}
