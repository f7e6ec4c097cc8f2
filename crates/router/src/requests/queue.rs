//! Requests that no worker has yet, since none is ready.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use shovel_edge::Failure;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::links::link::Link;

/// Requests of one thread that may wait for a ready worker.
const QUEUE_LIMIT: usize = 1024;

/// What a client without an answer is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How soon to ask for a worker again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Requests that wait for a ready worker; `--queue-timeout` says how long.
#[derive(Default)]
pub struct RequestQueue {
    changed: Notify,
    count: Cell<usize>,
    has_ended: Cell<bool>,
}

impl RequestQueue {
    /// Workers have come or gone.
    pub fn look_again(&self) {
        self.changed.notify_waiters();
    }

    /// No more workers will come, so nobody waits for one any longer.
    pub fn end(&self) {
        self.has_ended.set(true);
        self.changed.notify_waiters();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.count.get()
    }

    /// What `pick` gives; waits for it if it gives nothing.
    ///
    /// # Errors
    /// [`Failure::Crowded`] if too many wait already, [`Failure::Unavailable`] if none comes in time
    /// or at all.
    pub async fn pick(
        &self,
        timeout: Duration,
        pick: impl Fn() -> Option<Rc<Link>>,
    ) -> Result<Rc<Link>, Failure> {
        if let Some(link) = pick() {
            return Ok(link);
        }
        if self.count.get() >= QUEUE_LIMIT {
            return Err(Failure::Crowded { retry_after: RETRY_AFTER });
        }
        let unavailable = Failure::Unavailable { retry_after: RETRY_AFTER };
        let _counted = Counted::new(&self.count);
        let picked = async {
            loop {
                // Registered before the look, so that no change is missed.
                let changed = self.changed.notified();
                if let Some(link) = pick() {
                    return Some(link);
                }
                if self.has_ended.get() {
                    return None;
                }
                // Cancel-safe: what has changed is looked for again. A worker that was asked for may have
                // been refused, because others were falling asleep.
                tokio::select! {
                    () = changed => {}
                    () = sleep(ASK_AGAIN) => {}
                }
            }
        };
        // Apart: each request would carry what only those need that wait.
        let picked = Box::pin(tokio::time::timeout(timeout, picked));
        picked.await.ok().flatten().ok_or(unavailable)
    }
}

struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
