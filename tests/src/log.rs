//! The supervisor's log, line by line as it comes.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::watch;

use crate::PATIENCE;
use crate::checker::now;

/// One line that the supervisor wrote.
#[derive(Clone, Debug)]
pub struct Line {
    /// As written.
    pub raw: String,
    value: Value,
}

impl Line {
    fn new(raw: String) -> Self {
        let value = serde_json::from_str(&raw).unwrap_or(Value::Null);
        Line { raw, value }
    }

    /// The message; empty if the line is no log line.
    pub fn message(&self) -> &str {
        self.text("message")
    }

    /// Which part of the program wrote it.
    pub fn target(&self) -> &str {
        self.value["target"].as_str().unwrap_or_default()
    }

    /// How much it matters, such as `WARN`; empty if the line is no log line.
    pub fn level(&self) -> &str {
        self.value["level"].as_str().unwrap_or_default()
    }

    /// When it was written, as [`now`] counts, if that was within the last day.
    pub fn time(&self) -> Option<u64> {
        const DAY: u64 = 86_400_000_000_000;
        let (_, time) = self.value["timestamp"].as_str()?.split_once('T')?;
        let (whole, fraction) = time.trim_end_matches('Z').split_once('.')?;
        let seconds = whole.split(':').try_fold(0, |sum, part| {
            let part: u64 = part.parse().ok()?;
            Some(sum * 60 + part)
        })?;
        let micros: u64 = format!("{fraction:0<6}").parse().ok()?;
        let written = seconds * 1_000_000_000 + micros * 1000;
        let today = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_nanos() as u64 % DAY;
        Some(now().saturating_sub((today + DAY - written) % DAY))
    }

    /// Whether this is the message.
    pub fn is(&self, message: &str) -> bool {
        self.message() == message
    }

    /// A field as text; empty if there is none.
    pub fn text(&self, field: &str) -> &str {
        self.value["fields"][field].as_str().unwrap_or_default()
    }

    /// A field as a number, however it was written.
    pub fn number(&self, field: &str) -> Option<u64> {
        let value = &self.value["fields"][field];
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    }

    /// Whether this says `message` about that generation.
    pub fn is_of_generation(&self, message: &str, generation: u64) -> bool {
        self.is(message) && self.number("generation") == Some(generation)
    }

    /// The TCP address that this says the supervisor listens on.
    pub fn address(&self) -> Option<SocketAddr> {
        let address = match self.is("listening") {
            true => self.text("address"),
            // An app by itself logs in text.
            false => self.raw.split_once("listening on ")?.1,
        };
        address.trim_start_matches("http://").parse().ok()
    }

    /// What a worker wrote, if this is a line of a worker's: of an app by itself all that is no
    /// line of the supervisor's.
    pub fn output(&self) -> Option<&str> {
        let is_foreign = !self.value["fields"].is_object();
        let told = self.is("worker output").then(|| self.text("line"));
        told.or(is_foreign.then_some(&self.raw))
    }

    /// What a fixture tells about itself: a JSON object with the key `event`.
    pub fn event(&self) -> Option<Value> {
        let value = serde_json::from_str::<Value>(self.output()?).ok()?;
        value["event"].is_string().then_some(value)
    }
}

/// All lines so far, and those to come.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<Line>>>,
    changed: watch::Receiver<()>,
}

impl Log {
    /// Reads `source` to its end on a thread of its own, from the moment on that `begin` says it, or
    /// is dropped.
    pub(crate) fn read(source: impl Read + Send + 'static, begin: mpsc::Receiver<()>) -> Self {
        let (change, changed) = watch::channel(());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = Log { lines: Arc::clone(&lines), changed };
        std::thread::spawn(move || {
            let _ = begin.recv();
            for raw in BufReader::new(source).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(Line::new(raw));
                let _ = change.send(());
            }
        });
        log
    }

    /// The lines so far.
    pub fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first line, past or to come, out of which `pick` makes something.
    ///
    /// # Panics
    /// With the whole log, if it does not come within [`PATIENCE`] or the log ends before.
    pub async fn find<T>(&self, what: &str, mut pick: impl FnMut(&Line) -> Option<T>) -> T {
        let mut changed = self.changed.clone();
        let mut seen = 0;
        let search = async {
            loop {
                // Asked before looking: a log that ended in between is looked through once more.
                let has_ended = changed.has_changed().is_err();
                {
                    let lines = self.lines();
                    let found = lines[seen..].iter().find_map(&mut pick);
                    seen = lines.len();
                    if found.is_some() || has_ended {
                        return found;
                    }
                }
                let _ = changed.changed().await;
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(Some(found)) => found,
            Ok(None) => panic!("the log ended without {what}:\n{self}"),
            Err(_) => panic!("waited {PATIENCE:?} for {what}:\n{self}"),
        }
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{}", line.raw))
    }
}
