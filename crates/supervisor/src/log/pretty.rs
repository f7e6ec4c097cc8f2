//! The log for somebody who watches it: what has happened first, numbers behind it, and what
//! workers and builds say as they said it.

use std::fmt;
use std::time::Instant;

use shovel_scribe::plain::{paragraph, plain};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes events with the time since the start.
pub struct Pretty {
    colours: bool,
    start: Instant,
}

impl Pretty {
    /// `colours`: whether to use them.
    pub fn new(colours: bool) -> Self {
        Pretty { colours, start: Instant::now() }
    }

    fn paint(&self, to: &mut Writer<'_>, colour: &str, text: &str) -> fmt::Result {
        match self.colours {
            true => write!(to, "\x1b[{colour}m{text}\x1b[0m"),
            false => to.write_str(text),
        }
    }
}

const DIM: &str = "2";
const BOLD: &str = "1";

/// The mark of a level, and its colour.
fn mark(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::ERROR => ("error", "1;31"),
        Level::WARN => ("warn ", "1;33"),
        Level::INFO => ("     ", "0"),
        Level::DEBUG => ("debug", "34"),
        Level::TRACE => ("trace", "35"),
    }
}

impl<S, N> FormatEvent<S, N> for Pretty
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut found = Found::default();
        event.record(&mut found);
        self.paint(&mut to, DIM, &format!("{:8.3}s", self.start.elapsed().as_secs_f64()))?;
        if let Some(line) = &found.line {
            // Somebody else's words: who says them, and nothing added.
            let speaker = found.speaker();
            to.write_char(' ')?;
            self.paint(&mut to, "36", &speaker)?;
            return writeln!(to, " | {line}");
        }
        let (mark, colour) = mark(*event.metadata().level());
        to.write_char(' ')?;
        self.paint(&mut to, colour, mark)?;
        to.write_char(' ')?;
        self.paint(&mut to, BOLD, &found.message)?;
        for (name, value) in &found.others {
            to.write_char(' ')?;
            self.paint(&mut to, DIM, &format!("{name}="))?;
            to.write_str(value)?;
        }
        writeln!(to)
    }
}

/// The fields of an event.
#[derive(Default)]
struct Found {
    message: String,
    line: Option<String>,
    others: Vec<(&'static str, String)>,
}

impl Found {
    fn speaker(&self) -> String {
        let worker = self.others.iter().find(|(name, _)| *name == "worker");
        worker.map_or_else(|| "build".to_owned(), |(_, worker)| format!("worker {worker}"))
    }

    fn take(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = paragraph(&value).into_owned(),
            "line" => self.line = Some(plain(&value).into_owned()),
            name => self.others.push((name, plain(&value).into_owned())),
        }
    }
}

impl Visit for Found {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        if value != "None" {
            self.take(field, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of these events, without the times.
    fn written(colours: bool, events: impl FnOnce()) -> Vec<String> {
        let sink = Sink::default();
        let writer = sink.clone();
        let log = tracing_subscriber::fmt().event_format(Pretty::new(colours));
        with_default(log.with_writer(move || writer.clone()).finish(), events);
        let bytes = sink.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        // A line that goes on has none.
        let without = |line: &str| line.split_once('s').map_or(line, |(_, rest)| rest).to_owned();
        text.lines().map(without).collect()
    }

    #[test]
    fn what_happened_comes_first_and_other_peoples_words_stay_as_they_are() {
        let lines = written(false, || {
            tracing::info!(worker = %3, pid = 42, took = ?None::<u8>, "worker ready");
            tracing::warn!("beware");
            tracing::info!(worker = %3, stream = "stdout", line = "said \"so\"", "worker output");
            tracing::error!(line = "error[E0425]", "build output");
            tracing::info!(path = "/\u{1b}]0;x\u{7}", why = %"a\nb\u{9b}", "asked\nworker 1 | no");
            tracing::info!(line = "\u{202e}\r", "build output");
        });
        assert_eq!(
            lines,
            [
                "       worker ready worker=3 pid=42",
                " warn  beware",
                " worker 3 | said \"so\"",
                " build | error[E0425]",
                "       asked",
                "    worker 1 | no path=/\\u{1b}]0;x\\u{7} why=a\\u{a}b\\u{9b}",
                " build | \\u{202e}\\u{d}",
            ]
        );
    }

    #[test]
    fn colours_are_used_only_if_they_are_wanted() {
        let event = || tracing::error!("oh");
        assert_eq!(written(true, event), ["\x1b[0m \x1b[1;31merror\x1b[0m \x1b[1moh\x1b[0m"]);
        assert_eq!(written(false, event), [" error oh"]);
    }
}
