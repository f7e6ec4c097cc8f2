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

/// The supervisor hands over no more messages while a connection has this many bytes uncommitted.
/// The message that crosses the line still goes, so that one of any legal size passes.
pub const CONNECTION_WINDOW_BYTES: usize = 256 * 1024;

/// Longest attachment of a connection, in bytes.
pub const ATTACHMENT_BYTES: usize = 16 * 1024;

/// Most that one `ws:upgrade`, or one commit, may do to its connection, in acts. They take place in one
/// step, for which all other connections of the thread wait: some milliseconds.
pub const ACTS: usize = 64 * 1024;

/// Longest payload in pieces, in bytes: the longest message that `hello` allows, and room for what
/// may stand beside it.
pub fn payload_bytes(max_message_bytes: u64) -> usize {
    usize::try_from(max_message_bytes).unwrap_or(usize::MAX).saturating_add(CONTROL_BYTES)
}
