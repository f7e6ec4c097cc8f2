//! Changing the number of workers while the pool runs.
//!
//! It holds at once for the generation that serves and for one that is being loaded, and for all
//! that come later. New places are taken by workers of their generation's image. Places that are
//! taken away are those with the highest indexes: their workers finish what they have, as in a
//! recycle, but nobody comes in their place.

use std::time::Instant;

use shovel_protocol::id::{Generation, WorkerIndex};

use super::command::DrainReason;
use super::recycle::Recycle;
use super::reload::Reload;
use super::report::Report;
use super::restart::Load;
use super::{Fleet, Phase};

impl Fleet {
    pub(super) fn on_scale_requested(&mut self, workers: u32, now: Instant) {
        if !matches!(self.phase, Phase::Running) {
            self.report(Report::ScaleIgnored);
            return;
        }
        let workers = workers.max(1);
        self.config.workers = workers;
        // Not what was wanted before: that may have changed for later generations only.
        let before = self.serving.size() as u32;
        if before == workers {
            return;
        }
        self.report(Report::Scaled { before, workers });
        if let Recycle::Starting { old, .. } = self.recycle
            && self.workers.get(&old).is_some_and(|old| old.index.0 >= workers)
        {
            self.cancel_recycle(now);
        }
        let added = self.serving.resize(workers);
        self.resize_generation(self.serving.generation, added, now);
        self.hurry_sleepers(workers, DrainReason::Recycle, now);
        self.wake_enough(now);
        if let Reload::Starting { load, .. } = &mut self.reload {
            let (generation, added) = (load.generation, load.resize(workers));
            self.resize_generation(generation, added, now);
        }
    }

    fn resize_generation(&mut self, generation: Generation, added: Vec<WorkerIndex>, now: Instant) {
        for index in added {
            self.spawn(index, generation, 0, now);
        }
        let last = self.config.workers;
        let surplus =
            self.ids_where(|worker| worker.generation == generation && worker.index.0 >= last);
        for id in surplus {
            let Some(worker) = self.workers.get(&id) else { continue };
            if worker.is_starting() {
                self.dismiss(id, now);
            } else if generation == self.serving.generation {
                self.drain(id, DrainReason::Recycle, now);
            } else {
                // Ready, but it was never offered: it has nothing to finish.
                self.dismiss(id, now);
            }
        }
    }
}

impl Load {
    /// Makes or removes places; returns those in which a worker is to be started now.
    fn resize(&mut self, workers: u32) -> Vec<WorkerIndex> {
        let before = self.size() as u32;
        self.set_size(workers);
        match self.image_loaded {
            true => (before..workers).map(WorkerIndex).collect(),
            // All are started when the image is there.
            false => Vec::new(),
        }
    }
}
