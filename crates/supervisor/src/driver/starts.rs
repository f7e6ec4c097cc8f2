//! Workers that are to be started, one in each turn of the driver.
//!
//! To start one takes a millisecond or more. What comes meanwhile is heard in between: an operator who
//! has asked for too many takes back those that have not been started.

use std::collections::VecDeque;

use shovel_protocol::control::Welcome;
use shovel_protocol::{Generation, WorkerId, WorkerIndex};
use tokio::task::yield_now;

use super::Driver;

/// Those that wait, the first first.
#[derive(Debug, Default)]
pub struct Starts(VecDeque<Absent>);

/// A worker that is to be started.
#[derive(Clone, Copy, Debug)]
pub struct Absent {
    pub worker: WorkerId,
    pub index: WorkerIndex,
    pub generation: Generation,
}

impl Starts {
    pub fn add(&mut self, worker: Absent) {
        self.0.push_back(worker);
    }

    /// Whether this worker had not been started; it will not be.
    pub fn withdraw(&mut self, worker: WorkerId) -> bool {
        let before = self.0.len();
        self.0.retain(|absent| absent.worker != worker);
        self.0.len() < before
    }

    /// Completes if one is to be started and nothing else has come to be done.
    ///
    /// # Cancel safety
    /// It only waits.
    pub async fn due(&self) {
        match self.0.is_empty() {
            true => std::future::pending().await,
            // Signals and the ends of processes are looked for meanwhile.
            false => yield_now().await,
        }
    }
}

impl Driver {
    pub(super) fn start_next(&mut self) {
        let Some(Absent { worker, index, generation }) = self.starts.0.pop_front() else { return };
        let welcome = |link| Welcome {
            worker: worker.0,
            index: index.0,
            generation: generation.0,
            link,
            links: self.threads.len() as u32,
            max_message_bytes: self.config.max_message_bytes as u64,
            body_window_bytes: shovel_router::BODY_WINDOW_BYTES,
            dev: self.config.dev,
        };
        self.operators.on_spawn(worker, index);
        let image = self.images.get(&generation);
        let events = self.workers.spawn(worker, image, welcome, &self.threads);
        events.into_iter().for_each(|event| self.handle(event));
    }
}
