//! How long a test waits.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// Long enough for any machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for something, and panics if it does not come.
///
/// By a thread rather than the runtime's clock: a test may have paused that one, and then it runs
/// ahead whenever all tasks wait.
pub(super) async fn patiently<F: Future>(what: &str, future: F) -> F::Output {
    let (_come, has_come) = mpsc::channel::<()>();
    let (expire, expired) = oneshot::channel();
    thread::spawn(move || {
        if has_come.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            // Nobody waits any more if it has come just now.
            let _ = expire.send(());
        }
    });
    // Neither branch is taken up again, so neither need be cancel-safe.
    tokio::select! {
        biased;
        output = future => output,
        _ = expired => panic!("waited {} s in vain for {what}", PATIENCE.as_secs()),
    }
}
