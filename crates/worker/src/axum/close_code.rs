//! Codes of close frames by name, as axum names them (RFC 6455 §7.4.1).

use super::CloseCode;

/// The purpose of the connection is fulfilled.
pub const NORMAL: CloseCode = 1000;
/// An end goes away, such as a server that is shut down.
pub const AWAY: CloseCode = 1001;
/// The peer broke the protocol.
pub const PROTOCOL: CloseCode = 1002;
/// The peer sent a kind of data that is not accepted.
pub const UNSUPPORTED: CloseCode = 1003;
/// The close frame held no code. Cannot be sent.
pub const STATUS: CloseCode = 1005;
/// The socket ended without a close frame. Cannot be sent.
pub const ABNORMAL: CloseCode = 1006;
/// The data is not what its message says, such as text that is not UTF-8.
pub const INVALID: CloseCode = 1007;
/// The peer broke a rule for which there is no other code.
pub const POLICY: CloseCode = 1008;
/// The message is too big.
pub const SIZE: CloseCode = 1009;
/// The server did not agree upon an extension that the client needs.
pub const EXTENSION: CloseCode = 1010;
/// The server failed.
pub const ERROR: CloseCode = 1011;
/// The server restarts.
pub const RESTART: CloseCode = 1012;
/// The server is overloaded: try again later.
pub const AGAIN: CloseCode = 1013;
