//! Moments, told by another clock.
//!
//! The search tells all moments relative to the present, so that equal situations are equal states.
//! Whoever reads this state back in another process has another clock too.

use super::connection::{State, Step, Wait};
use super::rest::ASKING_PAUSE;
use super::trials::Stage;
use super::{Custody, Moment};

impl<W, C, M, E> Custody<W, C, M, E> {
    /// The moment `before` is called `after` from now on, and all others move with it. Past moments
    /// that nothing depends on any more may be forgotten.
    pub fn rebase(&mut self, before: Moment, after: Moment) {
        let shift = |moment: &mut Moment| {
            let (later, earlier) = (*moment - before, before - *moment);
            *moment = Moment((after + later).0.saturating_sub(earlier));
        };
        shift(&mut self.now);
        for all in [&mut self.deadlines, &mut self.farewells] {
            let before = std::mem::take(all).into_iter();
            all.extend(before.map(|(mut at, route)| {
                shift(&mut at);
                (at, route)
            }));
        }
        self.retry_at.iter_mut().for_each(shift);
        self.work_wanted.take_if(|at| before - *at >= ASKING_PAUSE);
        self.work_wanted.iter_mut().for_each(shift);
        for connection in self.connections.values_mut() {
            match &mut connection.state {
                State::Releasing { step, .. } | State::Adopting { step, .. } => match step {
                    Step::Awaited { slow_at, late_at } => {
                        shift(slow_at);
                        shift(late_at);
                    }
                    Step::Slow { late_at: at }
                    | Step::Revoked { stuck_at: at }
                    | Step::Stuck { again_at: at } => shift(at),
                },
                State::Unowned { wait: Wait::Queued { until }, .. } => shift(until),
                State::Unowned { wait: Wait::Asleep, .. }
                | State::Offered { .. }
                | State::Owned { .. }
                | State::Over => {}
            }
        }
        for worker in self.workers.values_mut() {
            worker.rest.rebase(&shift);
            if let Some(trial) = &mut worker.trial {
                match &mut trial.stage {
                    Stage::Waiting { until } | Stage::Begun { until } => shift(until),
                }
            }
        }
    }
}
