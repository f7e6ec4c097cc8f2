//! Keeping a generation whole: its places, and what happens when a worker fails.
//!
//! A failure costs its place a pause that doubles while it goes on failing. While no worker has
//! ever been ready, and in a generation that does not serve yet, failures are also counted for
//! the generation as a whole: a program that cannot start is not worth trying for ever.

use std::time::{Duration, Instant};

use shovel_protocol::id::{Generation, WorkerId, WorkerIndex};

use super::command::Outcome;
use super::event::Exit;
use super::reload::Reload;
use super::report::Report;
use super::worker::{State, Worker};
use super::{Fleet, Phase};

/// How many failed starts end a pool that has never been ready, or a reload.
pub const START_FAILURES_ALLOWED: u32 = 3;
/// How long a worker must have been ready for the earlier failures of its place to be forgotten.
pub(super) const HEALTHY_AFTER: Duration = Duration::from_secs(30);

const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// A generation that serves or is about to.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) generation: Generation,
    pub(super) image_loaded: bool,
    /// Workers that have failed since the generation began.
    pub(super) failures: u32,
    /// By index.
    places: Vec<Place>,
}

/// Where workers of one index follow each other.
#[derive(Clone, Debug, Default)]
struct Place {
    /// Failures without a time of health between them.
    failures_in_a_row: u32,
    restarts: u32,
    restart_at: Option<Instant>,
    /// No worker is needed here for now.
    asleep: bool,
}

impl Load {
    pub(super) fn new(generation: Generation, workers: u32) -> Self {
        let places = vec![Place::default(); workers as usize];
        Load { generation, image_loaded: false, failures: 0, places }
    }

    pub(super) fn size(&self) -> usize {
        self.places.len()
    }

    pub(super) fn set_size(&mut self, workers: u32) {
        self.places.resize(workers as usize, Place::default());
    }

    /// The places that wait for the end of their pause, and when that is.
    pub(super) fn pauses(&self) -> impl Iterator<Item = (WorkerIndex, Instant)> {
        let places = (0..).zip(&self.places);
        places.filter_map(|(index, place)| Some((WorkerIndex(index), place.restart_at?)))
    }

    pub(super) fn set_asleep(&mut self, index: WorkerIndex, asleep: bool) {
        if let Some(place) = self.places.get_mut(index.0 as usize) {
            place.asleep = asleep;
        }
    }

    pub(super) fn first_asleep(&self) -> Option<WorkerIndex> {
        let place = self.places.iter().position(|place| place.asleep)?;
        Some(WorkerIndex(place as u32))
    }

    pub(super) fn asleep(&self) -> usize {
        self.places.iter().filter(|place| place.asleep).count()
    }

    pub(super) fn restarts(&self, index: WorkerIndex) -> u32 {
        self.places.get(index.0 as usize).map_or(0, |place| place.restarts)
    }

    pub(super) fn next_restart(&self) -> Option<Instant> {
        self.places.iter().filter_map(|place| place.restart_at).min()
    }

    pub(super) fn cancel_restarts(&mut self) {
        for place in &mut self.places {
            place.restart_at = None;
        }
    }

    /// The places whose pause is over, each with its count of restarts, this one included.
    fn take_due(&mut self, now: Instant) -> Vec<(WorkerIndex, u32)> {
        let mut due = Vec::new();
        for (index, place) in (0..).zip(&mut self.places) {
            if place.restart_at.take_if(|at| *at <= now).is_some() {
                place.restarts += 1;
                due.push((WorkerIndex(index), place.restarts));
            }
        }
        due
    }
}

/// A splitmix64 generator: jitter needs spread, not secrecy.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The pause after this many failures in a row (from 1): by the jitter up to a quarter less than
/// the nominal one, so that workers that failed together do not all come back together.
fn backoff(failures_in_a_row: u32, jitter: u64) -> Duration {
    let doublings = failures_in_a_row.saturating_sub(1).min(16);
    let nominal = (SHORTEST_BACKOFF * (1 << doublings)).min(LONGEST_BACKOFF);
    nominal - nominal / 4 * (jitter % 1024) as u32 / 1024
}

impl Fleet {
    pub(super) fn on_image_loaded(&mut self, generation: Generation, now: Instant) {
        let Some(load) = self.active_load_mut(generation) else { return };
        if load.image_loaded {
            return;
        }
        load.image_loaded = true;
        for index in 0..load.size() as u32 {
            self.spawn(WorkerIndex(index), generation, 0, now);
        }
    }

    pub(super) fn on_image_failed(&mut self, generation: Generation, why: String, now: Instant) {
        if self.active_load_mut(generation).is_none_or(|load| load.image_loaded) {
            return;
        }
        if generation != self.serving.generation {
            self.abandon_reload(why, now);
        } else if self.config.waits_for_a_better_program {
            self.report(Report::StartFailed { why });
        } else {
            self.leave(Outcome::Failure { why }, now);
        }
    }

    pub(super) fn on_spawn_failed(&mut self, id: WorkerId, why: &str, now: Instant) {
        let Some(worker) = self.workers.remove(&id) else { return };
        // One that was dismissed before was never tried.
        if let Reload::Starting { load, .. } = &mut self.reload
            && load.generation == worker.generation
            && worker.is_starting()
        {
            // The old generation is there to go on, so a program that cannot even be started is
            // not tried again.
            load.failures = START_FAILURES_ALLOWED;
        }
        self.on_ended(worker, format!("could not be started: {why}"), now);
    }

    /// The link is of no more use, so neither is the worker.
    pub(super) fn on_link_ended(&mut self, id: WorkerId, why: Option<String>, now: Instant) {
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.state {
            State::Stopping { .. } if why.is_none() => self.expect_exit(id, now),
            _ => self.fail(id, why, now),
        }
    }

    pub(super) fn on_gone(&mut self, id: WorkerId, exit: Exit, now: Instant) {
        if let Some(worker) = self.workers.remove(&id) {
            self.on_ended(worker, exit.to_string(), now);
        }
    }

    pub(super) fn on_ready_timeout(&mut self, id: WorkerId, now: Instant) {
        let why = format!("was not ready within {:?}", self.config.ready_timeout);
        self.fail(id, Some(why.clone()), now);
        if self.reload.incoming() == self.workers.get(&id).map(|worker| worker.generation) {
            self.abandon_reload(format!("worker {id} {why}"), now);
        }
    }

    pub(super) fn on_restarts_due(&mut self, now: Instant) {
        let serving = self.serving.generation;
        for (index, restarts) in self.serving.take_due(now) {
            self.spawn(index, serving, restarts, now);
        }
        if let Reload::Starting { load, .. } = &mut self.reload {
            let incoming = load.generation;
            for (index, restarts) in load.take_due(now) {
                self.spawn(index, incoming, restarts, now);
            }
        }
    }

    fn on_ended(&mut self, worker: Worker, how: String, now: Instant) {
        let id = worker.id;
        let was_healthy = worker.ready_for(now) >= HEALTHY_AFTER;
        let (why, was_healthy, held_place) = match worker.state {
            State::Starting { .. } | State::Ready { .. } => (how, was_healthy, true),
            State::Draining { .. } => (how, false, false),
            State::Stopping { .. } | State::Killed { fault: None } => {
                self.report(Report::WorkerStopped { worker: id, how });
                return;
            }
            State::Killed { fault: Some(fault) } => {
                let why = fault.why.unwrap_or_else(|| format!("ended its link, then {how}"));
                (why, fault.was_healthy, fault.holds_place)
            }
        };
        if !held_place {
            self.report(Report::WorkerFailed { worker: id, why, restart_in: None });
        } else if matches!(self.phase, Phase::Terminating(_)) {
            self.on_last_start_failed(id, worker.index, why, now);
        } else if !self.on_replacement_failed(id, &why, now) {
            self.on_place_failed(id, worker.index, worker.generation, why, was_healthy, now);
        }
    }

    fn on_place_failed(
        &mut self,
        id: WorkerId,
        index: WorkerIndex,
        generation: Generation,
        why: String,
        was_healthy: bool,
        now: Instant,
    ) {
        let is_serving = generation == self.serving.generation;
        let is_patient = self.ever_ready || self.config.waits_for_a_better_program;
        let is_counted = !is_serving || !is_patient;
        let Some(load) = self.active_load_mut(generation) else {
            self.report(Report::WorkerFailed { worker: id, why, restart_in: None });
            return;
        };
        load.failures = load.failures.saturating_add(1);
        if !is_counted || load.failures < START_FAILURES_ALLOWED {
            let restart_in = self.plan_restart(index, generation, was_healthy, now);
            self.report(Report::WorkerFailed { worker: id, why, restart_in });
            return;
        }
        let verdict = format!("worker {id} {why}");
        self.report(Report::WorkerFailed { worker: id, why, restart_in: None });
        if is_serving {
            let why = format!("no worker became ready; the last to fail: {verdict}");
            self.leave(Outcome::Failure { why }, now);
        } else {
            self.abandon_reload(verdict, now);
        }
    }

    /// Has the place taken again after its pause, unless another worker has it.
    pub(super) fn plan_restart(
        &mut self,
        index: WorkerIndex,
        generation: Generation,
        was_healthy: bool,
        now: Instant,
    ) -> Option<Duration> {
        let is_held = self.workers.values().any(|worker| {
            worker.generation == generation && worker.index == index && worker.holds_place()
        });
        let jitter = self.random.next();
        let place = self.active_load_mut(generation)?.places.get_mut(index.0 as usize)?;
        place.failures_in_a_row =
            if was_healthy { 1 } else { place.failures_in_a_row.saturating_add(1) };
        if is_held {
            return None;
        }
        let delay = backoff(place.failures_in_a_row, jitter);
        place.restart_at = Some(now + delay);
        Some(delay)
    }

    /// The generation, if it serves or is about to and workers may still be started.
    fn active_load_mut(&mut self, generation: Generation) -> Option<&mut Load> {
        if matches!(self.phase, Phase::Leaving { .. } | Phase::Exited) {
            return None;
        }
        if self.serving.generation == generation {
            return Some(&mut self.serving);
        }
        match &mut self.reload {
            Reload::Starting { load, .. } if load.generation == generation => Some(load),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_100_ms_to_10_s_and_jitter_takes_at_most_a_quarter() {
        let mut random = Random(1);
        for (failures, nominal_ms) in
            [(1, 100), (2, 200), (3, 400), (7, 6400), (8, 10_000), (u32::MAX, 10_000)]
        {
            let nominal = Duration::from_millis(nominal_ms);
            for _ in 0..1000 {
                let pause = backoff(failures, random.next());
                assert!(pause <= nominal && pause >= nominal * 3 / 4, "{pause:?}");
            }
        }
    }

    #[test]
    fn equal_seeds_give_equal_jitter_and_different_ones_do_not() {
        let backoffs = |seed| {
            let mut random = Random(seed);
            (1..9).map(|failures| backoff(failures, random.next())).collect::<Vec<_>>()
        };
        assert_eq!(backoffs(5), backoffs(5));
        assert_ne!(backoffs(5), backoffs(6));
    }
}
