//! Connections on their way from one worker to another: when each step begins, and what is late.
//!
//! One task per thread. Moves are parallel and bounded, so that each connection pauses for two
//! round trips to workers rather than for all the others. The walk of a connection: [`leave`] its
//! worker -> `ws:release` -> `ws:released` -> [`seek`] another -> `ws:adopt` -> `ws:adopted`.
//! What the frames in between do is in [`super::transfer`].
//!
//! [`leave`]: Router::leave
//! [`seek`]: Router::seek

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shovel_core::transfer::Phase;
use shovel_protocol::{CloseCode, LeaseId, ToWorker};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::FromThread;
use super::offer::Adopter;
use super::quarantine::RETRY;
use super::registry::Route;
use super::router::Router;

/// Connections of a thread that are on their way at once.
const UNDER_WAY: usize = 64;

/// A move that takes longer no longer keeps others waiting: its handler is slow.
const SLOW: Duration = Duration::from_millis(50);

/// How soon to tell again that a worker does not let go of a connection: its last request may have
/// ended meanwhile.
const STUCK_AGAIN: Duration = Duration::from_millis(200);

/// How soon to ask for a worker again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Moves that wait for their turn, and deadlines of those that do not.
#[derive(Default)]
pub struct Moves {
    leaving: RefCell<VecDeque<Route>>,
    seeking: RefCell<VecDeque<Route>>,
    deadlines: RefCell<BTreeMap<(Instant, u64), Deadline>>,
    next_deadline: Cell<u64>,
    under_way: Rc<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    count: Cell<usize>,
    changed: Notify,
}

/// A move under way. Dropped, it makes room for the next.
pub struct Ticket {
    under_way: Rc<UnderWay>,
    counts: Cell<bool>,
}

/// Something that is late at a time, unless its connection has got on meanwhile.
struct Deadline {
    route: Route,
    /// The lease to which it applies.
    id: LeaseId,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its move need not be waited for. Only then is a deadline for the answer set, in so long a
    /// time: most moves are over, and would leave theirs behind for seconds.
    Slow { asked: Phase, answer_in: Duration },
    /// Its worker was asked to release it, or to adopt it. A lease may see both, each once: the
    /// phase says which it was.
    Answer(Phase),
    /// Its worker was told to answer that at once. `is_told`: and the operator that it does not.
    Revoked { asked: Phase, is_told: bool },
    /// It waits for a worker.
    Owner,
    /// Others of its worker wait for it.
    Trial,
}

impl Moves {
    /// Puts a connection into the queue of those that leave their workers.
    pub(super) fn leave(&self, route: Route) {
        self.leaving.borrow_mut().push_back(route);
        self.under_way.changed.notify_one();
    }

    /// Puts a connection into the queue of those that need a worker.
    pub(super) fn seek(&self, route: Route) {
        self.seeking.borrow_mut().push_back(route);
        self.under_way.changed.notify_one();
    }

    /// Looks at both queues again: workers have come or gone.
    pub(super) fn look_again(&self) {
        self.under_way.changed.notify_one();
    }

    /// Begins a move.
    pub(super) fn ticket(&self) -> Ticket {
        self.under_way.count.set(self.under_way.count.get() + 1);
        Ticket { under_way: self.under_way.clone(), counts: Cell::new(true) }
    }

    pub(super) fn set_deadline(&self, after: Duration, route: Route, id: LeaseId, kind: Kind) {
        let number = self.next_deadline.get();
        self.next_deadline.set(number + 1);
        let deadline = Deadline { route, id, kind };
        self.deadlines.borrow_mut().insert((Instant::now() + after, number), deadline);
        self.under_way.changed.notify_one();
    }

    /// When something may be due, beside what is told by `changed`.
    fn next_look(&self) -> Option<Instant> {
        let due = self.deadlines.borrow().first_key_value().map(|((at, _), _)| *at);
        // A worker that was asked for may have been refused because others were falling asleep.
        let ask = (!self.seeking.borrow().is_empty()).then(|| Instant::now() + ASK_AGAIN);
        due.into_iter().chain(ask).min()
    }

    fn has_room(&self) -> bool {
        self.under_way.count.get() < UNDER_WAY
    }

    fn take_due(&self, now: Instant) -> Option<Deadline> {
        let mut deadlines = self.deadlines.borrow_mut();
        let first = deadlines.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}

impl Ticket {
    /// Others need not wait for this move any longer.
    fn uncount(&self) {
        if self.counts.replace(false) {
            self.under_way.count.set(self.under_way.count.get() - 1);
            self.under_way.changed.notify_one();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.uncount();
    }
}

/// Begins moves as there is room, and sees to those that are late.
pub async fn run(router: Rc<Router>) {
    loop {
        let changed = router.moves.under_way.changed.notified();
        let retry = router.has_put_off().then(|| Instant::now() + RETRY);
        let next = router.moves.next_look().into_iter().chain(retry).min();
        // Cancel-safe: a notification that was not taken is kept, and the rest only waits.
        tokio::select! {
            () = changed => {}
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            waited = router.keeper.room() => {
                waited.into_iter().for_each(|route| router.look_at_route(route));
            }
        }
        while let Some(deadline) = router.moves.take_due(Instant::now()) {
            router.on_deadline(&deadline);
        }
        router.look_at_all_put_off();
        router.begin_moves();
    }
}

impl Router {
    /// Begins as many moves as there is room for. Those that wait for a worker pause already, so
    /// they come first.
    fn begin_moves(self: &Rc<Self>) {
        let mut seeking = self.moves.seeking.borrow().len();
        if !self.offer.has_ended() && matches!(self.offer.adopter(None), Adopter::None) {
            if seeking > 0 {
                self.want_work();
            }
            // They are looked at again when there is a worker.
            seeking = 0;
        }
        for _ in 0..seeking {
            if !self.moves.has_room() {
                return;
            }
            let Some(route) = self.moves.seeking.borrow_mut().pop_front() else { break };
            self.find_owner(route);
        }
        while self.moves.has_room() {
            let Some(route) = self.moves.leaving.borrow_mut().pop_front() else { return };
            self.leave_now(route);
        }
    }

    fn on_deadline(self: &Rc<Self>, deadline: &Deadline) {
        let mut registry = self.registry.borrow_mut();
        let Some((id, connection)) = registry.on_route(deadline.route) else { return };
        if id != deadline.id {
            return;
        }
        let phase = connection.state.phase();
        match deadline.kind {
            Kind::Slow { asked, answer_in } if asked == phase => {
                if let Some(ticket) = &connection.ticket {
                    ticket.uncount();
                }
                self.moves.set_deadline(answer_in, deadline.route, id, Kind::Answer(asked));
            }
            Kind::Answer(asked) if asked == phase => {
                if let Some(link) = connection.link().cloned()
                    && connection.state.revoke()
                {
                    tracing::debug!(connection = %connection.uuid, worker = %link.worker, "revoked");
                    link.send(&ToWorker::Revoke { connection: id });
                    let patience = self.settings.get().handler_timeout;
                    let kind = Kind::Revoked { asked: phase, is_told: false };
                    self.moves.set_deadline(patience, deadline.route, id, kind);
                }
            }
            Kind::Revoked { asked, is_told } if asked == phase => {
                let Some(link) = connection.link() else { return };
                if !is_told && connection.state.is_under_way() {
                    tracing::warn!(
                        connection = %connection.uuid, worker = %link.worker,
                        "a handler does not let go of its connection"
                    );
                }
                let has_requests = link.counters.asked.load(Ordering::Relaxed) > 0;
                self.reports.send(FromThread::Stuck { worker: link.worker, has_requests });
                let kind = Kind::Revoked { asked, is_told: true };
                self.moves.set_deadline(STUCK_AGAIN, deadline.route, id, kind);
            }
            Kind::Owner if phase == Phase::Unowned && connection.state.is_idle() => {
                // Nothing is overdue yet; but as long as it waits, something may come.
                let patience = self.settings.get().owner_wait;
                if connection.asked {
                    self.moves.set_deadline(patience, deadline.route, id, Kind::Owner);
                }
            }
            Kind::Owner if phase == Phase::Unowned => {
                drop(registry);
                let why = "no worker could take the connection over";
                self.lose(deadline.route, CloseCode::INTERNAL_ERROR, why);
            }
            Kind::Trial => self.on_trial_over(&mut registry, deadline.route),
            Kind::Slow { .. } | Kind::Answer(_) | Kind::Revoked { .. } | Kind::Owner => {}
        }
    }

    /// Sets the deadline of a step that a worker has to answer.
    pub(super) fn expect_answer(&self, after: Duration, route: Route, id: LeaseId, asked: Phase) {
        let slow = SLOW.min(after);
        self.moves.set_deadline(slow, route, id, Kind::Slow { asked, answer_in: after - slow });
    }
}
