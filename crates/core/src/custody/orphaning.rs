//! Connections whose worker has died, and the end of those that no worker will have.
//!
//! What the dead worker had under way may come again, marked, and one at a time; what the running
//! handler had done and not committed never happened.

use shovel_protocol::WorkerId;
use shovel_protocol::control::AdoptCause;

use super::connection::{Record, State, Wait};
use super::strikes::Blame;
use super::{
    ClientHandle, Command, Connection, Custody, GiveUpCause, Loss, Moment, Route, WorkerCell,
};
use crate::fleet::{Death, DrainReason};

/// What becomes of a connection whose worker has died.
enum Orphaned {
    /// It waits for another worker.
    Unowned,
    /// It waits for another worker, to hear of its close. The event that ended its workers was given
    /// up together with all messages behind it, so many in all.
    Quarantined { given_up: u64 },
    /// It ends here.
    Lost(Loss),
}

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// The worker of a connection is dead, and its link read to the end.
    pub(super) fn orphan(&mut self, route: Route, blame: Blame, now: Moment) {
        let Some((_, connection)) = self.on_route(route) else { return };
        let (was_closed, worker) = (connection.is_closed(), connection.owner());
        let queued = Wait::Queued { until: now + self.settings.owner_wait };
        let Some(outcome) = self.change(route.slot, |its| its.orphan(blame, queued)) else {
            return;
        };
        match outcome {
            Orphaned::Lost(loss) => {
                // Whoever has not finished when the pool's time is up is killed for it.
                let is_time_up = self.is_ending() && blame.death == Death::Ours;
                let time_up = Loss::TimeUp(DrainReason::Terminate);
                return self.end(route, if is_time_up { time_up } else { loss }, worker);
            }
            Orphaned::Unowned => {}
            Orphaned::Quarantined { given_up } => {
                let cause = GiveUpCause::Poison;
                let give_up = Command::GiveUp { route, cause, given_up, worker, was_closed };
                self.commands.push_back(give_up);
            }
        }
        self.connections.renew(route.slot);
        self.seek(route);
        self.commands.push_back(Command::CheckReader { route });
    }

    /// Ends a connection that nobody can have any more. Its close event is not delivered.
    pub(super) fn lose(&mut self, route: Route, loss: Loss) {
        self.end(route, loss, None);
    }

    fn end(&mut self, route: Route, loss: Loss, worker: Option<WorkerId>) {
        self.change(route.slot, |its| its.state = State::Over);
        self.connections.renew(route.slot);
        self.commands.push_back(Command::End { route, loss, worker });
    }
}

impl<C, M, E: Default> Connection<C, M, E> {
    fn orphan(&mut self, blame: Blame, queued: Wait) -> Orphaned {
        let (sent, acked) = (self.sent, self.acked);
        let was_adopting = matches!(self.state, State::Adopting { .. });
        let is_offered = !self.is_accepted();
        let Record::Portable(portable) = &mut self.record else {
            return Orphaned::Lost(Loss::WorkerDied);
        };
        if portable.attachment.is_none() || is_offered {
            return Orphaned::Lost(Loss::WorkerDied);
        }
        portable.staged = E::default();
        portable.maybe = portable.maybe.max(sent);
        self.sent = acked;
        self.state = State::Unowned { cause: AdoptCause::Crash, wait: queued };
        let is_guilty = if was_adopting {
            portable.adopt_strikes.add(blame)
        } else {
            sent > acked && portable.strikes.add(blame)
        };
        match (is_guilty, was_adopting) {
            (false, _) => Orphaned::Unowned,
            // Another worker would have to adopt it to hear of its close.
            (true, true) => Orphaned::Lost(Loss::PoisonAdopt),
            (true, false) if self.close == Some(acked + 1) => Orphaned::Lost(Loss::Poison),
            (true, false) => {
                Orphaned::Quarantined { given_up: self.give_up_messages(GiveUpCause::Poison) }
            }
        }
    }

    /// Leaves the close as the only event.
    pub(super) fn give_up_messages(&mut self, cause: GiveUpCause) -> u64 {
        self.append_close(cause.loss().close());
        let Record::Portable(portable) = &mut self.record else { return 0 };
        let given_up = portable.log.drop_messages();
        if given_up > 0 {
            portable.strikes.clear();
        }
        self.acked += given_up;
        self.sent = self.acked;
        given_up
    }
}
