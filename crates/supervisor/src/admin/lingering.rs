//! The end of an operator's connection, such that its answer arrives.
//!
//! To close with something unread would have the system throw away what the other side has not read
//! (RFC 9112 §9.6).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// How long one may send on after our end.
pub const LINGERS: Duration = Duration::from_secs(2);

/// The same for one whose place somebody else wants: what has come by now is dropped.
pub const LINGERS_AT_LEAST: Duration = Duration::from_millis(10);

/// Drops what comes until the other side has ended, too, for so long at most. Our side has ended
/// before.
pub async fn linger(mut from: impl AsyncRead + Unpin, patience: Duration) {
    let mut dropped = [0; 4096];
    let end = async { while from.read(&mut dropped).await.is_ok_and(|bytes| bytes > 0) {} };
    // One who sends without a pause, or never ends, is cut off.
    let _ = timeout(patience, end).await;
}
