//! How a worker's run ends, and where it logs.

use std::{fmt, io};

use shovel_protocol::BadFrame;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Why an app stopped, or never started.
///
/// `Debug` prints the same single line as `Display`, for that is what a `main` that returns it
/// shows.
///
/// ```no_run
/// use shovel_worker::{App, RunError};
///
/// fn main() {
///     match App::new(()).run() {
///         Err(RunError::NoSupervisor) => println!("start me with: shovel-pool PROGRAM"),
///         Err(error) => println!("{error}"),
///         Ok(()) => {}
///     }
/// }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Not started by a supervisor.
    #[error("this program is a worker of shovel-pool; start it with: shovel-pool PROGRAM")]
    NoSupervisor,
    /// Run by itself, the app cannot listen where it should.
    #[error("cannot listen: {0}")]
    Listen(String),
    /// Run by itself, the app finds variables that it cannot use; all of them, in one line.
    #[error("{0}")]
    Settings(String),
    /// Run by itself, the app was told to end and did not within `SHOVEL_SHUTDOWN_TIMEOUT` (25 s),
    /// or was told twice.
    #[error("ended before everything was finished")]
    CutShort,
    /// `SHOVEL_LINK_FDS` does not name links.
    #[error(
        "SHOVEL_LINK_FDS={value} does not name the links of a supervisor: {why}; \
             start the program with: shovel-pool PROGRAM"
    )]
    Links {
        /// What the variable holds.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A second app in the same process.
    #[error("an app already runs, or ran, in this process; a process has one")]
    Twice,
    /// The runtime, or a link in it, could not be set up.
    #[error("cannot set up the runtime: {0}")]
    Runtime(#[source] io::Error),
    /// The supervisor does not keep to the link protocol, or speaks another version of it.
    #[error("cannot work with this supervisor: {0}")]
    Protocol(#[from] BadFrame),
    /// The start handler failed.
    #[error("start failed: {0}")]
    Start(String),
    /// The supervisor has gone without saying so.
    #[error("the supervisor is gone")]
    SupervisorGone,
    /// A link failed.
    #[error("the link to the supervisor failed: {0}")]
    Link(#[source] io::Error),
    /// A bug of the SDK.
    #[error("the worker itself failed: {0}")]
    Internal(String),
}

impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Logs to `stderr`, unless the app logs elsewhere. A supervisor adds time and worker to each line.
/// The access log, which has a setting of its own, is always written.
pub(crate) fn log_to<W>(stderr: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let is_named = std::env::var(EnvFilter::DEFAULT_ENV).is_ok_and(|it| it.contains("access"));
    // It is a directive, so it can be read.
    if !is_named && let Ok(access) = "access=info".parse() {
        filter = filter.add_directive(access);
    }
    let log = tracing_subscriber::fmt()
        .compact()
        .with_ansi(false)
        .without_time()
        .with_writer(stderr)
        .with_env_filter(filter);
    // Behind a supervisor that does it.
    #[cfg(feature = "direct")]
    let log = log.fmt_fields(shovel_scribe::PlainFields);
    // An error only says that the app has set a subscriber of its own.
    let _ = log.try_init();
}
