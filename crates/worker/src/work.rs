//! Counts what is under way, so that a drain knows when nothing is left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use crate::lock::lock;

/// The handlers, responses and background work of a process.
#[derive(Clone, Default)]
pub(crate) struct Work(Arc<Counter>);

#[derive(Default)]
struct Counter {
    under_way: AtomicUsize,
    idle: Notify,
    /// The tasks, if they may have to end before their time.
    tasks: Option<Mutex<Vec<AbortHandle>>>,
}

/// One piece of work, until it is dropped.
pub(crate) struct Busy(Arc<Counter>);

impl Work {
    /// Work that can be cut off: of a worker that may die while its process lives on.
    pub(crate) fn mortal() -> Self {
        Work(Arc::new(Counter { tasks: Some(Mutex::default()), ..Counter::default() }))
    }

    pub(crate) fn begin(&self) -> Busy {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        Busy(self.0.clone())
    }

    /// Starts work in a task of its own, which counts as under way. Call it within a runtime.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let busy = self.begin();
        let task = tokio::spawn(async move {
            work.await;
            drop(busy);
        });
        self.note(&task);
        task
    }

    /// A task that does not count as under way, but ends with the worker.
    pub(crate) fn note(&self, task: &JoinHandle<()>) {
        if let Some(tasks) = &self.0.tasks {
            let mut tasks = lock(tasks);
            tasks.retain(|task| !task.is_finished());
            tasks.push(task.abort_handle());
        }
    }

    /// Drops all tasks where they stand. Only of [`Work::mortal`].
    pub(crate) fn cut_off(&self) {
        if let Some(tasks) = &self.0.tasks {
            lock(tasks).drain(..).for_each(|task| task.abort());
        }
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
