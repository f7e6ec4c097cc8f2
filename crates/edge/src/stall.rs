//! Deadlines that strike when the whole thread, or machine, has stood still.
//!
//! What came meanwhile has not been read when they do: it must be before anybody is blamed.

use std::time::Duration;

use tokio::time::Instant;

/// A deadline that strikes so late does so after a stall.
const STALL: Duration = Duration::from_millis(250);

/// What has come meanwhile is read within this.
const RESPITE: Duration = Duration::from_millis(100);

/// Until when to wait in place of `due` if that is so.
pub fn respite(due: Instant) -> Option<Instant> {
    let now = Instant::now();
    (now >= due + STALL).then(|| now + RESPITE)
}
