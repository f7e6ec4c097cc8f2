//! How the message and the fields of an event are written in a log in text: all of it plain.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::plain::{Plain, paragraph};

/// Writes the message as it is, then each field as `name=value`, with texts in quotes.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainFields;

impl<'w> FormatFields<'w> for PlainFields {
    fn format_fields<R: RecordFields>(&self, to: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = FieldWriter { to, is_begun: false, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct FieldWriter<'w> {
    to: Writer<'w>,
    is_begun: bool,
    result: fmt::Result,
}

impl FieldWriter<'_> {
    fn put(&mut self, field: &Field, value: &dyn Debug) -> fmt::Result {
        if std::mem::replace(&mut self.is_begun, true) {
            self.to.write_char(' ')?;
        }
        if field.name() == "message" {
            return self.to.write_str(&paragraph(&format!("{value:?}")));
        }
        let name = field.name().trim_start_matches("r#");
        match self.to.has_ansi_escapes() {
            true => write!(self.to, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
            false => write!(self.to, "{name}=")?,
        }
        write!(Plain(&mut self.to), "{value:?}")
    }
}

impl Visit for FieldWriter<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_ok() {
            self.result = self.put(field, value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
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

    fn written(events: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let log = tracing_subscriber::fmt().fmt_fields(PlainFields).without_time();
        let log = log.with_target(false).with_ansi(false);
        with_default(log.with_writer(move || writer.clone()).finish(), events);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_others_say_commands_no_terminal_and_forges_no_line() {
        let said = "a\n\u{9b}2J\u{202e}";
        let text = written(|| {
            tracing::info!(number = 1, raw = %said, quoted = said, "told {said}");
            tracing::error!("{said}");
        });
        assert_eq!(
            text,
            " INFO told a\n    \\u{9b}2J\\u{202e} number=1 raw=a\\u{a}\\u{9b}2J\\u{202e} \
             quoted=\"a\\n\\u{9b}2J\\u{202e}\"\n\
             ERROR a\n    \\u{9b}2J\\u{202e}\n"
        );
    }
}
