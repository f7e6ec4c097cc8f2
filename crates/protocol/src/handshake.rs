//! Who is at the other end of a link, and in which version it can be spoken with.
//!
//! `hello` and `ready` both begin with the same 16 bytes, laid out by hand so that any two
//! versions can read them: `magic "SHVL" · version u16 · oldest u16 · capabilities u64`,
//! little-endian. What follows is a control payload of the lower of both versions.

/// The version of the link protocol that this crate speaks.
pub const VERSION: u16 = 1;

/// The oldest version that this crate still speaks.
pub const OLDEST_VERSION: u16 = 1;

/// Bytes of a [`Greeting`] on the wire.
pub const GREETING_BYTES: usize = 16;

const MAGIC: [u8; 4] = *b"SHVL";

/// Optional things that an end can do, one bit each. Unknown bits are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// The worker can adopt connections; the supervisor can have them adopted.
    pub const ADOPT: Capabilities = Capabilities(1);

    /// The worker says when a handler asks for a body whose client waits for that (`Expect:
    /// 100-continue`); the supervisor takes it from there.
    pub const CONTINUE: Capabilities = Capabilities(2);

    /// The supervisor takes `ws:slow-consumer`, by itself and within `ws:upgrade`, and answers
    /// `ws:ask`; the worker may send them.
    pub const OUTBOX: Capabilities = Capabilities(4);

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }

    /// What both have.
    #[must_use]
    pub const fn in_common(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 & other.0)
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Capabilities) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What each end says of itself first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Newest version that the end speaks.
    pub version: u16,
    /// Oldest version that the end speaks.
    pub oldest: u16,
    /// What it can do beside.
    pub capabilities: Capabilities,
}

/// Why two ends cannot work together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The first frame is something else.
    #[error("the other end does not speak the link protocol of shovel-pool")]
    NotOurs,
    /// The versions of both ends do not meet.
    #[error(
        "the other end speaks versions {oldest} to {version} of the link protocol, this one {OLDEST_VERSION} to {VERSION}"
    )]
    Version {
        /// Of the other end.
        version: u16,
        /// Of the other end.
        oldest: u16,
    },
}

impl Greeting {
    /// What this crate says.
    pub const fn ours(capabilities: Capabilities) -> Self {
        Greeting { version: VERSION, oldest: OLDEST_VERSION, capabilities }
    }

    /// As it stands on the wire.
    pub fn to_bytes(self) -> [u8; GREETING_BYTES] {
        let mut bytes = [0; GREETING_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&self.version.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.oldest.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.capabilities.0.to_le_bytes());
        bytes
    }

    /// Reads the greeting at the front of a payload and returns it with the rest.
    ///
    /// # Errors
    /// [`Refusal`] if the other end does not speak this protocol, or no version that we speak.
    pub fn read(payload: &[u8]) -> Result<(Greeting, &[u8]), Refusal> {
        let (bytes, rest) =
            payload.split_first_chunk::<GREETING_BYTES>().ok_or(Refusal::NotOurs)?;
        if bytes[0..4] != MAGIC {
            return Err(Refusal::NotOurs);
        }
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let (version, oldest) = (half(4), half(6));
        if oldest > VERSION || version < OLDEST_VERSION {
            return Err(Refusal::Version { version, oldest });
        }
        let capabilities =
            bytes[8..16].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok((Greeting { version, oldest, capabilities: Capabilities(capabilities) }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_comes_back_as_it_went() {
        let greeting = Greeting::ours(Capabilities(0x0102_0304_0506_0708));
        assert_eq!(Greeting::read(&greeting.to_bytes()), Ok((greeting, &[][..])));
    }

    #[test]
    fn versions_that_do_not_meet_are_refused_in_one_line() {
        let future = Greeting { version: 9, oldest: 8, capabilities: Capabilities::default() };
        let refusal = Greeting::read(&future.to_bytes()).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "the other end speaks versions 8 to 9 of the link protocol, this one 1 to 1"
        );
    }

    #[test]
    fn strangers_are_refused() {
        for payload in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n"] {
            assert_eq!(Greeting::read(payload), Err(Refusal::NotOurs));
        }
    }
}
