//! What becomes of messages that are published to a client that reads too slowly.

use std::str::FromStr;

/// What becomes of what is published to a client whose outbox is over its limit. What is sent to it
/// alone is never dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// What becomes of the next message that is published to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It is queued.
    Whole,
    /// It is queued, and as much as it needs is dropped of what was published before.
    InPlaceOfOlder,
    /// It is dropped.
    Nothing,
    /// The client is to be closed, since it reads too slowly.
    NoMore,
    /// The connection closes already.
    Closed,
}
