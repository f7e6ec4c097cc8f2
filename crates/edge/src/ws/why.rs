//! Why a connection has ended, in words for the log. What the other ends are told is a code and a
//! reason, which say less.

use std::{fmt, io};

use super::decoder::Violation;

/// Why a connection has ended, or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The client sent a close frame.
    Client,
    /// The app closed it.
    App,
    /// Whoever holds the socket closed it, for this reason.
    Given(&'static str),
    /// The client left too much unread.
    TooSlow,
    /// The client broke the protocol.
    Violation(Violation),
    /// The client did not answer a ping.
    NoPong,
    /// The client took nothing of what waited for it.
    NotTaken,
    /// The client began a message and did not go on with it.
    Unfinished,
    /// The client held too much of the memory that all clients together may hold.
    HeldTooMuch,
    /// The client's stream ended without a close frame.
    Gone,
    /// The client's stream failed.
    Failed(io::ErrorKind),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Client => f.write_str("closed by the client"),
            Why::App => f.write_str("closed by the app"),
            Why::Given(why) => f.write_str(why),
            Why::TooSlow => f.write_str("client reads too slowly"),
            Why::Violation(violation @ Violation::TooBig(_)) => write!(f, "{violation}"),
            Why::Violation(violation) => write!(f, "client broke the protocol: {violation}"),
            Why::NoPong => f.write_str("client did not answer a ping"),
            Why::NotTaken => f.write_str("client took nothing of what waited for it"),
            Why::Unfinished => f.write_str("client did not go on with its message"),
            Why::HeldTooMuch => f.write_str("client held too much of the pool's memory"),
            Why::Gone => f.write_str("client went away without a close frame"),
            Why::Failed(kind) => write!(f, "client's stream failed: {kind}"),
        }
    }
}
