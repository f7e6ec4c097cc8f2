//! What is said of the messages that wait for a client: what becomes of them when it reads too slowly,
//! and how many they are.

use std::fmt;
use std::str::FromStr;

/// What becomes of what is published to a client whose outbox is over its limit. What is sent to it
/// alone is never dropped.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bincode::Encode, bincode::BorrowDecode,
)]
pub enum SlowConsumer {
    /// The client is closed with 1008.
    #[default]
    Close,
    /// The message is dropped.
    DropNewest,
    /// Messages that wait for longer and were published make room for it; if that is not enough, it
    /// is dropped.
    DropOldest,
}

impl fmt::Display for SlowConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SlowConsumer::Close => "close",
            SlowConsumer::DropNewest => "drop-newest",
            SlowConsumer::DropOldest => "drop-oldest",
        })
    }
}

impl FromStr for SlowConsumer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "close" => Ok(SlowConsumer::Close),
            "drop-newest" => Ok(SlowConsumer::DropNewest),
            "drop-oldest" => Ok(SlowConsumer::DropOldest),
            _ => Err("expected close, drop-newest or drop-oldest"),
        }
    }
}

/// What a worker asks about the outbox of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub enum OutboxQuestion {
    /// How many bytes wait: answered at once.
    Bytes,
    /// To be told when nothing waits.
    Empty,
}
