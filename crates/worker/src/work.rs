//! Counts what is under way, so that a drain knows when nothing is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The handlers, responses and background work of a process.
#[derive(Clone, Default)]
pub(crate) struct Work(Arc<Counter>);

#[derive(Default)]
struct Counter {
    under_way: AtomicUsize,
    idle: Notify,
}

/// One piece of work, until it is dropped.
pub(crate) struct Busy(Arc<Counter>);

impl Work {
    pub(crate) fn begin(&self) -> Busy {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        Busy(self.0.clone())
    }

    /// Starts work that no event waits for. Call it within a runtime.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let busy = self.begin();
        tokio::spawn(async move {
            work.await;
            drop(busy);
        });
    }

    /// Waits until nothing is under way.
    pub(crate) async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.0.idle.notified());
            idle.as_mut().enable();
            if self.0.under_way.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
