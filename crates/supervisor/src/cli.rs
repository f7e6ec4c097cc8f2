//! The command line, as clap reads it. What it means is [`crate::config`]'s business.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, Parser};
use shovel_edge::listener::address_of_environment;

use crate::config::{Address, Config, LogFormat};
use crate::units;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default());

/// Runs PROGRAM as a pool of workers behind sockets that outlive them.
///
/// The supervisor owns the listener and every client socket; workers are processes of PROGRAM,
/// linked with shovel-worker. SIGHUP loads PROGRAM anew without a failed request, SIGTERM and
/// SIGINT finish what is under way and end.
///
/// Durations are written 250ms, 5s, 2m; sizes 64KiB, 16MiB.
#[derive(Debug, Parser)]
#[command(name = "shovel-pool", version, styles = STYLES, max_term_width = 100)]
pub struct Cli {
    /// How many worker processes to run [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<u32>,

    /// How many threads read and write client sockets
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    io_threads: u32,

    /// Where to listen: IP:PORT, unix:PATH or fd:N; may be repeated [default: 127.0.0.1:8080, or
    /// what the variables HOST and PORT say]
    #[arg(long, value_name = "ADDRESS", value_parser = Address::parse)]
    listen: Vec<Address>,

    /// A request without a response by then is answered 504
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::some_duration)]
    request_timeout: Duration,

    /// An upgrade without a response by then is answered 504
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::some_duration)]
    upgrade_timeout: Duration,

    /// How long a request waits for a ready worker before it is answered 503
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::duration)]
    queue_timeout: Duration,

    /// A worker that is not ready by then is killed
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::some_duration)]
    ready_timeout: Duration,

    /// A worker that does not answer for so long is killed
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::some_duration)]
    hang_timeout: Duration,

    /// How long a worker that is replaced may finish what it has
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = units::duration)]
    drain_timeout: Duration,

    /// How long all workers may finish what they have when the pool ends
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = units::duration)]
    shutdown_timeout: Duration,

    /// Over how long a time WebSockets are closed on reload, so that clients come back one by one
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = units::duration)]
    close_spread: Duration,

    /// A client that was quiet for so long is sent a ping
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::some_duration)]
    ping_interval: Duration,

    /// A client that does not answer a ping for so long is taken for dead
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::some_duration)]
    pong_timeout: Duration,

    /// Longest WebSocket message that a client may send
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = units::size)]
    max_message_size: usize,

    /// How much may wait for one client; one that is over it is closed with 1008
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = units::size)]
    outbox_limit: usize,

    /// Replace a worker after so many requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    worker_max_requests: Option<u64>,

    /// Replace a worker after so long a time
    #[arg(long, value_name = "DURATION", value_parser = units::some_duration)]
    worker_max_age: Option<Duration>,

    /// Replace a worker that holds so much memory
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    worker_max_rss: Option<usize>,

    /// How to write the log, on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// For development: errors of the app are told to its clients
    #[arg(long)]
    dev: bool,

    /// The program that workers run; without a slash it is looked for in PATH
    #[arg(value_name = "PROGRAM")]
    program: OsString,

    /// Arguments of the program; those with dashes after --
    #[arg(value_name = "ARGS")]
    args: Vec<OsString>,
}

impl Cli {
    /// Checks what concerns several flags or the environment.
    ///
    /// # Errors
    /// As clap would tell it.
    pub fn into_config(self) -> Result<Config, clap::Error> {
        let listen = match self.listen.is_empty() {
            false => self.listen,
            true => vec![Address::Tcp(address_of_environment().map_err(|why| {
                Cli::command().error(clap::error::ErrorKind::ValueValidation, why)
            })?)],
        };
        let processors = || std::thread::available_parallelism().map_or(1, usize::from) as u32;
        Ok(Config {
            workers: self.workers.unwrap_or_else(processors),
            io_threads: self.io_threads,
            listen,
            request_timeout: self.request_timeout,
            upgrade_timeout: self.upgrade_timeout,
            queue_timeout: self.queue_timeout,
            ready_timeout: self.ready_timeout,
            hang_timeout: self.hang_timeout,
            drain_timeout: self.drain_timeout,
            shutdown_timeout: self.shutdown_timeout,
            close_spread: self.close_spread,
            ping_interval: self.ping_interval,
            pong_timeout: self.pong_timeout,
            max_message_bytes: self.max_message_size,
            outbox_limit_bytes: self.outbox_limit,
            worker_max_requests: self.worker_max_requests,
            worker_max_age: self.worker_max_age,
            worker_max_rss_bytes: self.worker_max_rss,
            log_format: self.log_format,
            dev: self.dev,
            program: self.program,
            args: self.args,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_of_the_program_are_not_ours() {
        let cli = Cli::parse_from(["shovel-pool", "--workers", "2", "app", "--", "--workers", "x"]);
        assert_eq!(cli.program, "app");
        assert_eq!(cli.args, ["--workers", "x"]);
    }
}
