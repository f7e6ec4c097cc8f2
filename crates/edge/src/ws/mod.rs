//! The WebSocket engine (RFC 6455): a codec without IO, and the sockets that it serves.
//!
//! [`decoder`], [`encoder`] and [`handshake`] are bytes in, values out. [`Socket`] is what a
//! backend holds of a connection; the reader task reads for it; [`Deadlines`] keeps its
//! pings and closes on time; [`Fanout`] shares one encoded frame among many sockets.
//!
//! permessage-deflate will have its place between `decoder` and `reader`, and in `handshake`.

mod deadlines;
pub mod decoder;
pub mod encoder;
mod fanout;
pub mod handshake;
mod pace;
mod progress;
mod rate;
pub(crate) mod reader;
mod slow;
mod socket;
mod utf8;
mod why;

use std::time::Duration;

pub use deadlines::Deadlines;
pub use fanout::Fanout;
pub use shovel_protocol::SlowConsumer;
pub use slow::Takes;
pub use socket::{Sent, Socket};
pub use why::Why;

/// What an operator can set about connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Longest message, in either direction.
    pub max_message_bytes: usize,
    /// How many messages a client may send in a second; beyond that it is not read.
    pub max_messages_per_second: Option<u32>,
    /// A client whose outbox holds this much reads too slowly.
    pub outbox_limit_bytes: usize,
    /// What becomes of what is published to a client that reads too slowly.
    pub slow_consumer: SlowConsumer,
    /// A client that has not been heard of for so long is sent a ping.
    pub ping_interval: Duration,
    /// A client that does not answer the ping for so long, and takes nothing of what is ahead of
    /// it, is taken for dead.
    pub pong_timeout: Duration,
    /// A client may not go on with its message for so long.
    pub read_timeout: Duration,
    /// A client may take nothing of what waits for it for so long.
    pub write_timeout: Duration,
    /// How long a client that is closed may take for what waits ahead of its close frame.
    pub close_timeout: Duration,
}

/// How long the other end may take to answer a close frame that it has.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
