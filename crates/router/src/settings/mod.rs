//! What an operator can set about an I/O thread: how values are written ([`units`]), how an app
//! without a supervisor reads them ([`variables`]), and how much [`memory`] there is.

pub mod memory;
pub mod units;
pub mod variables;

use std::time::Duration;

use shovel_core::{channels, custody};
use shovel_edge::ws;

/// What an operator can set about an I/O thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// About connections.
    pub ws: ws::Settings,
    /// From the hand-over of a request until the head of its response.
    pub request_timeout: Duration,
    /// The same for an upgrade.
    pub upgrade_timeout: Duration,
    /// How long a request waits for a ready worker.
    pub queue_timeout: Duration,
    /// Over how long a time connections are closed on reload.
    pub close_spread: Duration,
    /// How long a running handler may hold up the move of its connection.
    pub handler_timeout: Duration,
    /// How long a worker may take to adopt a connection.
    pub adopt_timeout: Duration,
    /// How long a connection with something to handle may wait for a worker.
    pub owner_wait: Duration,
    /// A worker that has had nothing to do for so long is not needed, if its connections can do
    /// without it.
    pub sleep_after: Option<Duration>,
    /// A worker is replaced after so many requests.
    pub max_requests: Option<u64>,
    /// How many channels may be subscribed to.
    pub channels: channels::Limits,
    /// So much memory clients may make it hold.
    pub client_memory_bytes: usize,
    /// Clients beyond this wait to be accepted: links and new workers need descriptors too.
    pub client_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            ws: ws::Settings {
                max_message_bytes: 16 * 1024 * 1024,
                max_messages_per_second: None,
                outbox_limit_bytes: 1024 * 1024,
                slow_consumer: ws::SlowConsumer::Close,
                ping_interval: Duration::from_secs(30),
                pong_timeout: Duration::from_secs(10),
                read_timeout: Duration::from_secs(60),
                write_timeout: Duration::from_secs(60),
                close_timeout: Duration::from_secs(20),
            },
            request_timeout: Duration::from_secs(30),
            upgrade_timeout: Duration::from_secs(10),
            queue_timeout: Duration::from_secs(10),
            close_spread: Duration::from_secs(3),
            handler_timeout: Duration::from_secs(5),
            adopt_timeout: Duration::from_secs(5),
            owner_wait: Duration::from_secs(30),
            sleep_after: None,
            max_requests: None,
            channels: channels::Limits {
                per_connection: 1000,
                per_worker: 10_000,
                in_all: 1_000_000,
            },
            client_memory_bytes: usize::MAX,
            client_limit: usize::MAX,
        }
    }
}

impl Settings {
    /// Those of custody.
    pub(crate) fn of_custody(&self) -> custody::Settings {
        custody::Settings {
            handler_timeout: self.handler_timeout,
            adopt_timeout: self.adopt_timeout,
            owner_wait: self.owner_wait,
            close_spread: self.close_spread,
            sleep_after: self.sleep_after,
        }
    }
}

/// How long a client that is closed may take, so that the end of all does not come before.
pub fn close_within(close_timeout: Duration, shutdown_timeout: Duration) -> Duration {
    close_timeout.min(shutdown_timeout * 4 / 5)
}
