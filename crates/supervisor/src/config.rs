//! What an operator has chosen, read and checked.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use shovel_core::pool;
use shovel_edge::ws;

use shovel_router::Settings;

/// Everything that can be chosen. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct Config {
    pub workers: u32,
    pub io_threads: u32,
    pub listen: Vec<Address>,
    pub request_timeout: Duration,
    pub upgrade_timeout: Duration,
    pub queue_timeout: Duration,
    pub ready_timeout: Duration,
    pub hang_timeout: Duration,
    pub drain_timeout: Duration,
    pub shutdown_timeout: Duration,
    pub close_spread: Duration,
    pub ping_interval: Duration,
    pub pong_timeout: Duration,
    pub max_message_bytes: usize,
    pub outbox_limit_bytes: usize,
    pub worker_max_requests: Option<u64>,
    pub worker_max_age: Option<Duration>,
    pub worker_max_rss_bytes: Option<usize>,
    pub log_format: LogFormat,
    pub dev: bool,
    pub program: OsString,
    pub args: Vec<OsString>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A descriptor that was inherited, already listening.
    Inherited(RawFd),
}

impl Address {
    /// Reads `IP:PORT`, `unix:PATH` or `fd:N`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.is_empty() {
                true => Err("unix: needs a path".into()),
                false => Ok(Address::Unix(path.into())),
            };
        }
        if let Some(number) = text.strip_prefix("fd:") {
            let number: RawFd = number.parse().map_err(|_| "fd: needs a number")?;
            return match number {
                3.. => Ok(Address::Inherited(number)),
                _ => Err("descriptors below 3 are not for listening".into()),
            };
        }
        let expected = "an address is IP:PORT, unix:PATH or fd:N";
        text.parse().map(Address::Tcp).map_err(|_| expected.into())
    }
}

impl Config {
    /// What concerns the life of workers.
    pub fn pool(&self) -> pool::Config {
        pool::Config {
            workers: self.workers,
            ready_timeout: self.ready_timeout,
            hang_timeout: self.hang_timeout,
            drain_timeout: self.drain_timeout,
            shutdown_timeout: self.shutdown_timeout,
            max_age: self.worker_max_age,
            seed: fastrand::u64(..),
        }
    }

    /// What concerns I/O threads. `descriptors`: how many this process may have.
    pub fn io(&self, descriptors: u64) -> Settings {
        Settings {
            ws: ws::Settings {
                max_message_bytes: self.max_message_bytes,
                outbox_limit_bytes: self.outbox_limit_bytes,
                ping_interval: self.ping_interval,
                pong_timeout: self.pong_timeout,
            },
            request_timeout: self.request_timeout,
            upgrade_timeout: self.upgrade_timeout,
            queue_timeout: self.queue_timeout,
            close_spread: self.close_spread,
            max_requests: self.worker_max_requests,
            client_limit: self.client_limit(descriptors),
        }
    }

    /// How many clients each I/O thread may have, so that there are descriptors for the links and
    /// output of two generations of workers, with some to spare.
    fn client_limit(&self, descriptors: u64) -> usize {
        let links = u64::from(self.io_threads) * 3;
        let others = 64 + 2 * u64::from(self.workers) * (links + 4);
        let clients = descriptors.saturating_sub(others).max(16);
        usize::try_from(clients).unwrap_or(usize::MAX) / self.io_threads as usize
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_flags_default_to_what_an_app_without_a_supervisor_has() {
        let config = Cli::parse_from(["shovel-pool", "app"]).into_config().unwrap();
        let flags = Settings { client_limit: usize::MAX, ..config.io(u64::MAX) };
        assert_eq!(flags, Settings::default());
    }

    #[test]
    fn addresses_are_read_as_written() {
        let tcp = Address::Tcp("127.0.0.1:80".parse().unwrap());
        assert_eq!(Address::parse("127.0.0.1:80"), Ok(tcp));
        assert_eq!(Address::parse("unix:/run/x"), Ok(Address::Unix("/run/x".into())));
        assert_eq!(Address::parse("fd:3"), Ok(Address::Inherited(3)));
        for text in ["", "localhost", "8080", "unix:", "fd:", "fd:1", "fd:x"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
