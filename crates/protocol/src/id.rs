//! Ids. Each kind of number has a type of its own, so that none is taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One worker process. Counted up from 1 for as long as the supervisor lives; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
pub struct WorkerId(pub u32);

/// A worker's place in its generation, from 0. A restarted worker takes the index of the one
/// that it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
pub struct WorkerIndex(pub u32);

/// The workers of one load of the program, counted from 1; each reload makes the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
pub struct Generation(pub u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for WorkerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A place in a table and the lease under which it is taken: a look-up is an index, and an id
/// whose lease has ended is caught by comparing one number.
///
/// On the wire the slot is the low half of the `u64` and the lease the high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leased {
    /// Index into the table.
    pub slot: u32,
    /// Goes up whenever the slot changes hands.
    pub lease: u32,
}

impl Leased {
    const fn from_wire(wire: u64) -> Self {
        Leased { slot: wire as u32, lease: (wire >> 32) as u32 }
    }

    const fn to_wire(self) -> u64 {
        self.slot as u64 | (self.lease as u64) << 32
    }
}

macro_rules! leased_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct $name(pub Leased);

        impl $name {
            /// From the header of a frame.
            pub const fn from_wire(wire: u64) -> Self {
                $name(Leased::from_wire(wire))
            }

            /// For the header of a frame.
            pub const fn to_wire(self) -> u64 {
                self.0.to_wire()
            }
        }
    };
}

leased_id! {
    /// A connection as a link names it: valid on that link and for one tenure of its owner.
    /// Reserved by the supervisor and sent with the request that offers the upgrade. Outside the
    /// link a connection is known by its [`ConnectionUuid`].
    LeaseId
}

leased_id! {
    /// A request as a link names it: valid on that link until its response has ended.
    RequestId
}

/// A connection as apps and logs name it: a UUIDv7 (RFC 9562 §5.7), so that ids sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
pub struct ConnectionUuid(pub Uuid);

impl fmt::Display for ConnectionUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Chosen by a worker for each publish. The high half names the object that published (0: none),
/// so that the worker can leave that one out when the message comes back; the low half is a count
/// that matches `channel:published` to its publish, or 0 if no answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PublishToken {
    /// The publishing object within its worker, or 0.
    pub publisher: u32,
    /// Matches the answer to its question; 0 asks for none.
    pub question: u32,
}

impl PublishToken {
    /// Nobody in particular publishes, and no answer is wanted.
    pub const NONE: PublishToken = PublishToken { publisher: 0, question: 0 };

    /// From the header of a frame.
    pub const fn from_wire(wire: u64) -> Self {
        PublishToken { publisher: (wire >> 32) as u32, question: wire as u32 }
    }

    /// For the header of a frame.
    pub const fn to_wire(self) -> u64 {
        (self.publisher as u64) << 32 | self.question as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_from_the_wire_as_they_went() {
        let id = LeaseId(Leased { slot: 7, lease: u32::MAX });
        assert_eq!(LeaseId::from_wire(id.to_wire()), id);
        let token = PublishToken { publisher: 3, question: 9 };
        assert_eq!(PublishToken::from_wire(token.to_wire()), token);
    }
}
