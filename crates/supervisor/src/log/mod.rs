//! The log: one line per event on stderr, as text or JSON, written by a thread of its own
//! ([`shovel_scribe`]).

mod pretty;

use std::io::{self, IsTerminal, Write, stderr};
use std::sync::OnceLock;

use shovel_scribe::plain::plain_json;
use shovel_scribe::{ACCESS, Cause, Entry, Pen, PlainFields, REFUSALS, Scribe};
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use self::pretty::Pretty;
use crate::config::LogFormat;
use crate::worker::output;

/// The log of this process is one, as tracing's is.
static PEN: OnceLock<Pen> = OnceLock::new();

/// Starts the log; it is written as long as what is returned lives. `RUST_LOG` chooses what is
/// written, `info` by default. The access log has a flag of its own, and is written too unless the
/// variable names it. `watched`: somebody reads it on a terminal, so text is made easy to read.
///
/// # Errors
/// Those of starting a thread.
pub fn start(format: LogFormat, watched: bool) -> io::Result<Scribe> {
    let scribe = Scribe::start(stderr())?;
    let pen = PEN.get_or_init(|| scribe.pen()).clone();
    let chosen = std::env::var("RUST_LOG").ok().filter(|chosen| !chosen.is_empty());
    let chosen = chosen.unwrap_or_else(|| "info".to_owned());
    let mut filter = EnvFilter::try_new(&chosen).unwrap_or_else(|_| EnvFilter::new("info"));
    // It is a directive, so it can be read.
    if !chosen.contains(ACCESS)
        && let Ok(access) = format!("{ACCESS}=info").parse()
    {
        filter = filter.add_directive(access);
    }
    let is_json = format == LogFormat::Json;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines { pen, is_json });
    match (format, watched) {
        (LogFormat::Text, true) => log.event_format(Pretty::new(has_colours())).init(),
        (LogFormat::Text, false) => {
            log.with_target(false).with_ansi(has_colours()).fmt_fields(PlainFields).init();
        }
        (LogFormat::Json, _) => log.json().init(),
    }
    Ok(scribe)
}

/// Waits until there is room in the log, for those who have much to tell and time to wait.
pub async fn room() {
    if let Some(pen) = PEN.get() {
        pen.room().await;
    }
}

/// Lines that the log has lost, since nobody read it.
pub fn dropped() -> u64 {
    PEN.get().map_or(0, Pen::dropped)
}

/// Gives each event a place for its line.
struct Lines {
    pen: Pen,
    is_json: bool,
}

impl Lines {
    fn place(&self, cause: Cause) -> EntryWriter<'_> {
        EntryWriter { entry: self.pen.line(cause), is_json: self.is_json }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = EntryWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        self.place(Cause::Own)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        self.place(match event.target() {
            ACCESS | REFUSALS | output::TARGET => Cause::Others,
            _ => Cause::Own,
        })
    }
}

/// A place for a line. In text, fields are plain before they come here; in JSON, what is not plain
/// stands within strings, and is escaped in the line as a whole.
struct EntryWriter<'a> {
    entry: Entry<'a>,
    is_json: bool,
}

impl Write for EntryWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(json) if self.is_json => {
                let body = json.strip_suffix('\n').unwrap_or(json);
                let plain = plain_json(body);
                let end = &json[body.len()..];
                // It takes all, or counts it as lost.
                self.entry.write_all([&plain, end].concat().as_bytes())?;
            }
            _ => self.entry.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the log is shown by something that knows colours (<https://no-color.org>).
pub fn has_colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stderr().is_terminal() && !refused
}
