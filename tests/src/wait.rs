//! Waiting for facts, each time with a bound.

use std::time::{Duration, Instant};

/// How long a test waits for something that should happen soon. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Awaits `future`, but no longer than [`PATIENCE`].
///
/// # Panics
/// When the time is over, naming `what`.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Asks again and again until there is an answer: for facts that announce themselves to nobody.
///
/// # Panics
/// When [`PATIENCE`] is over, naming `what`.
pub async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// As [`eventually`].
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || condition().then_some(())).await;
}
