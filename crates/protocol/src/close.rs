//! Close codes and reasons (RFC 6455 §7.4).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::CLOSE_REASON_BYTES;

/// Why a connection closed, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose was fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// An end goes away; on terminate.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// The close frame held no code. Never on the wire.
    pub const NO_STATUS: CloseCode = CloseCode(1005);
    /// The socket ended without a close frame. Never on the wire.
    pub const ABNORMAL: CloseCode = CloseCode(1006);
    /// Text that is not UTF-8.
    pub const INVALID_DATA: CloseCode = CloseCode(1007);
    /// The peer broke a rule of ours, such as reading too slowly.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A message over the limit.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// The server failed: the owner crashed.
    pub const INTERNAL_ERROR: CloseCode = CloseCode(1011);
    /// The server restarts; on reload (IANA WebSocket Close Code registry).
    pub const RESTART: CloseCode = CloseCode(1012);

    /// Whether an endpoint may put this code into a close frame: 1000-1003, 1007-1014 and
    /// 3000-4999 (RFC 6455 §7.4.1, §7.4.2 and the IANA registry).
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How a connection ended, as its close event tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Close {
    /// The code of the close frame that decided, 1005 if it held none, 1006 if there was no frame.
    pub code: CloseCode,
    /// The reason of that frame; at most 123 bytes.
    pub reason: String,
    /// Whether both close frames were exchanged.
    pub was_clean: bool,
}

/// A code or reason that may not stand in a close frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClose {
    /// See [`CloseCode::is_sendable`].
    #[error("close code {0} may not be sent; use 1000 to 1003, 1007 to 1014 or 3000 to 4999")]
    Code(CloseCode),
    /// Longer than [`CLOSE_REASON_BYTES`].
    #[error("close reason has {0} bytes; at most {CLOSE_REASON_BYTES} fit into a close frame")]
    Reason(usize),
}

/// Checks what an app wants to put into a close frame.
///
/// # Errors
/// [`InvalidClose`] if the code may not be sent or the reason is too long.
pub fn check(code: CloseCode, reason: &str) -> Result<(), InvalidClose> {
    if !code.is_sendable() {
        return Err(InvalidClose::Code(code));
    }
    if reason.len() > CLOSE_REASON_BYTES {
        return Err(InvalidClose::Reason(reason.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_not_be_sent_are_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
            assert_eq!(check(CloseCode(code), ""), Err(InvalidClose::Code(CloseCode(code))));
        }
        for code in [1000, 1003, 1007, 1014, 3000, 4999] {
            assert_eq!(check(CloseCode(code), ""), Ok(()));
        }
    }

    #[test]
    fn a_reason_has_room_for_123_bytes() {
        assert_eq!(check(CloseCode::NORMAL, &"r".repeat(123)), Ok(()));
        assert_eq!(check(CloseCode::NORMAL, &"r".repeat(124)), Err(InvalidClose::Reason(124)));
    }
}
