//! The log: one line per event on stderr, as text or JSON.

mod pretty;

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use self::pretty::Pretty;
use crate::config::LogFormat;

/// Starts the log. `RUST_LOG` chooses what is written, `info` by default; the access log, which has
/// a flag of its own, is written whatever else is, unless the variable names it. `watched`: somebody
/// sits before it, for whom text is made easy to read.
pub fn start(format: LogFormat, watched: bool) {
    let chosen = std::env::var("RUST_LOG").ok().filter(|chosen| !chosen.is_empty());
    let chosen = chosen.unwrap_or_else(|| "info".to_owned());
    let mut filter = EnvFilter::try_new(&chosen).unwrap_or_else(|_| EnvFilter::new("info"));
    // It is a directive, so it can be read.
    if !chosen.contains("access")
        && let Ok(access) = "access=info".parse()
    {
        filter = filter.add_directive(access);
    }
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match (format, watched) {
        (LogFormat::Text, true) => log.event_format(Pretty::new(has_colours())).init(),
        (LogFormat::Text, false) => log.with_target(false).with_ansi(has_colours()).init(),
        (LogFormat::Json, _) => log.json().init(),
    }
}

/// Whether the log is shown by something that knows colours (<https://no-color.org>).
pub fn has_colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stderr().is_terminal() && !refused
}
