//! What becomes of messages that are published to a client that reads too slowly: what is chosen is a
//! [`shovel_protocol::SlowConsumer`].

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
