//! Sizes that both ends rely on. What an operator can change is sent in `hello`; what stands here
//! is part of the protocol.

/// Longest payload of one frame, in bytes. Longer payloads are cut into pieces of this size, so
/// that one big message does not hold up the rest of the link.
pub const FRAME_PAYLOAD_BYTES: usize = 64 * 1024;

/// Most that a control payload may make its reader allocate, in bytes: heads of requests and
/// responses with their headers.
pub const CONTROL_BYTES: usize = 1024 * 1024;

/// Longest name of a channel, in bytes.
pub const CHANNEL_NAME_BYTES: usize = 1024;

/// Longest reason of a close, in bytes: a close frame holds 125 bytes, two of them the code (RFC
/// 6455 §5.5).
pub const CLOSE_REASON_BYTES: usize = 123;

/// What one message counts against its connection's window beside its bytes, so that empty
/// messages are bounded too.
pub const MESSAGE_OVERHEAD_BYTES: usize = 64;
