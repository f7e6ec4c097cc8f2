//! What the machine does to a run: a machine that others keep busy stands still now and then, for
//! seconds. Then handlers are told to end that are not slow, and workers are taken for hung that are
//! not; both are as promised.
//!
//! It is measured by how late this process wakes, and what it explains becomes a [`Deed`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::record::Deed;
use super::words::now;
use crate::Line;

const TICK: Duration = Duration::from_millis(20);

/// From here on it counts: others may have been late by more.
const NOTED: Duration = Duration::from_millis(250);

/// Around a time in which it stood still, in nanoseconds: the others may have stood still then.
const AROUND: u64 = 1_500_000_000;

/// `--hang-timeout` of a trial and a second, in nanoseconds: a worker that is taken for hung has not
/// answered for so long.
const SILENCE: u64 = 4_000_000_000;

/// How long what was done to a worker may take to show, in nanoseconds.
const SHOWS_WITHIN: u64 = 2_000_000_000;

/// Notes when this process wakes late.
pub(super) struct Machine {
    late: Arc<Mutex<Vec<(u64, u64)>>>,
    watching: JoinHandle<()>,
}

impl Machine {
    pub(super) fn watch() -> Self {
        let late = Arc::<Mutex<Vec<_>>>::default();
        let noted = late.clone();
        let watching = tokio::spawn(async move {
            loop {
                let (from, due) = (now(), Instant::now() + TICK);
                sleep_until(due).await;
                if due.elapsed() >= NOTED {
                    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    noted.push((from, now()));
                }
            }
        });
        Machine { late, watching }
    }

    /// What it has done until now. The log tells of workers that were killed since they hung.
    pub(super) fn deeds(&self, log: &[Line]) -> Vec<Deed> {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let stalls = late.iter().map(|(from, to)| {
            let what = format!("the machine stands still for {} ms", (to - from) / 1_000_000);
            let (from, to) = (from.saturating_sub(AROUND), to + AROUND);
            Deed { from, to, harms: false, workers: 0, stalls: true, reloads: false, what }
        });
        let is_late = |from: u64, to: u64| late.iter().any(|late| late.0 <= to && late.1 >= from);
        let hung = log.iter().filter(|line| line.message().contains("has not answered for"));
        let hung = hung.filter(|line| line.message().ends_with("killing it"));
        let kills = hung.filter_map(|line| Some((line.time()?, line.message())));
        let kills = kills.filter(|(at, _)| is_late(at.saturating_sub(SILENCE), *at));
        let kills = kills.map(|(at, message)| {
            let (from, to) = (at.saturating_sub(SILENCE), at + SHOWS_WITHIN);
            let what = format!("{message}, as the machine stood still");
            Deed { from, to, harms: true, workers: 1, stalls: true, reloads: false, what }
        });
        stalls.chain(kills).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
