//! What happens to a connection past its deadline: asked, then told, then reported.

use std::time::Duration;

use shovel_protocol::{LeaseId, WorkerId};

use super::connection::{State, Step, Wait};
use super::workers::Adopter;
use super::{ClientHandle, Command, Custody, Loss, Moment, Route, WorkerCell};

/// A move that takes longer no longer keeps others waiting: its handler is slow.
const SLOW: Duration = Duration::from_millis(50);

/// How soon to tell again that a worker is stuck: its last request may have ended meanwhile.
const TELL_AGAIN: Duration = Duration::from_millis(200);

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// A connection's deadline has come.
    pub(super) fn on_deadline(&mut self, route: Route, now: Moment) {
        let Some((id, connection)) = self.on_route(route) else { return };
        let (state, is_idle) = (connection.state, connection.is_idle());
        match state {
            State::Releasing { owner, cause, step } => {
                let patience = self.settings.handler_timeout;
                let step = self.be_impatient(owner, id, step, patience, now);
                self.change(route.slot, |its| {
                    its.state = State::Releasing { owner, cause, step };
                });
            }
            State::Adopting { owner, cause, step } => {
                let patience = self.settings.handler_timeout;
                let step = self.be_impatient(owner, id, step, patience, now);
                self.change(route.slot, |its| its.state = State::Adopting { owner, cause, step });
            }
            // It has nothing to handle, so nothing is late.
            State::Unowned { wait: Wait::Queued { .. }, .. } if is_idle => {
                self.wait(route, Wait::Asleep);
            }
            // Somebody serves: what it waits for there comes, a turn or the end of a trial.
            State::Unowned { wait: Wait::Queued { .. }, .. } if self.has_adopter() => {
                self.wait(route, Wait::Queued { until: now + self.settings.owner_wait });
            }
            State::Unowned { wait: Wait::Queued { .. }, .. } => self.lose(route, Loss::NoWorker),
            State::Unowned { wait: Wait::Asleep, .. }
            | State::Offered { .. }
            | State::Owned { .. }
            | State::Over => {}
        }
    }

    fn has_adopter(&mut self) -> bool {
        matches!(self.adopter(None), Adopter::Ready(_))
    }

    fn be_impatient(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
        step: Step,
        patience: Duration,
        now: Moment,
    ) -> Step {
        match step {
            Step::Awaited { late_at, .. } => {
                self.is_unsettled = true;
                Step::Slow { late_at }
            }
            Step::Slow { .. } => {
                self.commands.push_back(Command::Revoke { worker, connection });
                Step::Revoked { stuck_at: now + patience }
            }
            Step::Revoked { .. } | Step::Stuck { .. } => {
                let is_first = matches!(step, Step::Revoked { .. });
                self.commands.push_back(Command::Stuck { worker, connection, is_first });
                Step::Stuck { again_at: now + TELL_AGAIN }
            }
        }
    }

    /// The first step of a move that its worker may take so long for.
    pub(super) fn asked(&self, patience: Duration) -> Step {
        let (slow_at, late_at) = (self.now + SLOW.min(patience / 2), self.now + patience);
        Step::Awaited { slow_at, late_at }
    }
}
