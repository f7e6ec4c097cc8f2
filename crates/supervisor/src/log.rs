//! The log: one line per event on stderr, as text or JSON.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts the log. `RUST_LOG` chooses what is written, `info` by default.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match format {
        LogFormat::Text => log.with_target(false).with_ansi(stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}
