//! The ways in which a worker loses what it has: drained, cut off, dead.

use std::rc::Rc;
use std::time::Duration;

use shovel_core::fleet::{Death, DrainReason};
use shovel_edge::{Backend, Failure};
use shovel_protocol::{Close, CloseCode, RequestId, ToWorker, WorkerId};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::FromThread;
use super::link::Link;
use super::registry::{Connection, Late, Route};
use super::requests::Outcome;
use super::router::Router;

/// How often connections are closed while they are spread over a time.
const STEP: Duration = Duration::from_millis(10);

/// What clients are told.
pub(super) fn farewell(why: DrainReason) -> (CloseCode, &'static str) {
    match why {
        DrainReason::Reload | DrainReason::Recycle | DrainReason::Sleep => {
            (CloseCode::RESTART, "server reloading")
        }
        DrainReason::Terminate => (CloseCode::GOING_AWAY, "server shutting down"),
    }
}

impl Router {
    /// Closes a worker's connections, each once what was read of it is handled, and lets its
    /// requests finish. On reload the closes are spread, so that clients do not all come back at
    /// once.
    pub fn drain(self: &Rc<Self>, worker: WorkerId, why: DrainReason) {
        let Some(link) = self.link(worker) else { return };
        let connections = self.registry.borrow().of_link(&link);
        link.drain(why);
        let spread = match why {
            DrainReason::Reload | DrainReason::Recycle => self.settings.get().close_spread,
            DrainReason::Sleep | DrainReason::Terminate => Duration::ZERO,
        };
        let (movable, others): (Vec<_>, Vec<_>) = connections.into_iter().partition(|route| {
            self.registry.borrow().at(route.slot).is_some_and(Connection::may_move)
        });
        movable.into_iter().for_each(|route| self.leave(route));
        if spread.is_zero() {
            others.into_iter().for_each(|route| self.leave_now(route));
        } else {
            spawn_local(spread_farewells(self.clone(), others, spread));
        }
    }

    /// Ends what a worker has not finished in time: responses break off, connections close, and
    /// their close events are the last that it hears of them. One that can move does not close: if
    /// its worker does not let go of it, that worker is to be ended.
    pub fn cut(self: &Rc<Self>, worker: WorkerId) {
        let Some(link) = self.link(worker) else { return };
        let why = link.draining().unwrap_or(DrainReason::Reload);
        let (code, reason) = farewell(why);
        for id in self.requests_of(&link) {
            self.break_off(id, "the worker did not finish in time", true);
        }
        let connections = self.registry.borrow().of_link(&link);
        for route in connections {
            let mut registry = self.registry.borrow_mut();
            let Some((id, connection)) = registry.on_route(route) else { continue };
            if connection.may_move() && why != DrainReason::Terminate {
                continue;
            }
            let socket = connection.socket.clone();
            drop(registry);
            socket.close_because(code, reason, "its worker did not finish in time");
            self.closed(route, Close { code, reason: reason.to_owned(), was_clean: false });
            self.registry.borrow_mut().remove(id);
        }
    }

    /// No more workers will come: connections that nobody owns and nobody needs end now.
    pub fn end_unowned(&self) {
        let (code, reason) = farewell(DrainReason::Terminate);
        let unowned = self.registry.borrow().unowned();
        for route in unowned {
            let is_idle =
                self.registry.borrow().at(route.slot).is_some_and(|found| found.state.is_idle());
            if is_idle {
                self.lose(route, code, reason);
            }
        }
        self.moves.look_again();
    }

    /// The worker's process is gone; its link is read to the end first.
    pub fn reaped(&self, worker: WorkerId, death: Death) {
        match self.link(worker) {
            Some(link) => link.reap(death),
            None => self.reports.send(FromThread::Gone { worker }),
        }
    }

    /// The worker is gone and its link read to the end: requests fail or are asked again, its
    /// connections go to other workers or close 1011.
    pub fn bury(self: &Rc<Self>, link: &Rc<Link>) {
        link.bury();
        for id in self.requests_of(link) {
            self.break_off(id, "the worker was lost", false);
        }
        let connections = self.registry.borrow().of_link(link);
        self.count_plain_company(link, &connections);
        let blame = self.blame(link);
        connections.into_iter().for_each(|route| self.orphan(route, blame));
        self.forget_put_off(link);
        self.channels.borrow_mut().forget_worker(link.worker);
        self.measures.bury(link);
        self.links.borrow_mut().remove(&link.worker);
        self.reports.send(FromThread::Gone { worker: link.worker });
    }

    fn requests_of(&self, link: &Rc<Link>) -> Vec<RequestId> {
        let requests = self.requests.borrow();
        let its = requests.iter().filter(|(_, request)| Rc::ptr_eq(request.holding.link(), link));
        its.map(|(id, _)| RequestId(id)).collect()
    }

    fn break_off(&self, id: RequestId, why: &'static str, tell: bool) {
        let Some(mut request) = self.take_request(id, Late::TimedOut) else { return };
        if tell {
            request.holding.link().send(&ToWorker::Cancel { request: id });
        }
        if let Some(download) = &request.download {
            download.abort(why);
        }
        request.answer(if tell {
            Outcome::Failed(Failure::BadGateway(why))
        } else {
            Outcome::WorkerGone
        });
    }
}

async fn spread_farewells(router: Rc<Router>, mut connections: Vec<Route>, spread: Duration) {
    fastrand::shuffle(&mut connections);
    let (start, count) = (Instant::now(), connections.len());
    let steps = (spread.as_millis() / STEP.as_millis()).max(1) as usize;
    for step in 0..steps {
        // When the pool ends there is nothing to come back to, and no time.
        let is_end = router.offer.has_ended();
        let steps_done = if is_end { steps } else { step + 1 };
        for route in &connections[count * step / steps..count * steps_done / steps] {
            router.leave_now(*route);
        }
        if is_end {
            return;
        }
        sleep_until(start + STEP * (step as u32 + 1)).await;
    }
}

impl Connection {
    /// Whether another worker could go on with it, as things are.
    fn may_move(&self) -> bool {
        self.state.is_portable() && !self.state.is_closed()
    }

    /// Closes it, once what was read of it is handled.
    pub(super) fn say_farewell(&self, why: DrainReason) {
        let (code, reason) = farewell(why);
        self.socket.finish(code, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Holding;
    use crate::testing::{Thread, WORKER, run};

    #[test]
    fn a_late_close_leaves_the_next_connection_in_its_slot_alone() {
        run(async || {
            let thread = Thread::alone();
            let link = thread.join(WORKER, &Default::default());
            let lost = thread.subscriber(&link, "news");
            thread.router.cut(WORKER);
            let next = thread.subscriber(&link, "news");
            assert_eq!(lost.slot, next.slot);
            thread.router.abandon(lost);
            assert!(thread.router.channels.borrow().find("news").is_some());
        });
    }

    #[test]
    fn a_link_says_once_that_it_is_drained_and_then_takes_no_work() {
        run(async || {
            let mut thread = Thread::alone();
            let link = thread.join(WORKER, &Default::default());
            let holding = Holding::new(&link);
            thread.router.drain(WORKER, DrainReason::Reload);
            assert!(thread.reports.try_recv().is_none());
            assert!(link.takes_work());
            drop(holding);
            assert!(!link.takes_work());
            drop(Holding::new(&link));
            let report = thread.reports.try_recv().map(|report| report.what);
            assert!(matches!(report, Some(FromThread::Drained { worker: WORKER })));
            assert!(thread.reports.try_recv().is_none());
        });
    }

    #[test]
    fn a_drained_link_of_a_pool_that_ends_takes_over_what_others_leave_until_it_leaves_itself() {
        run(async || {
            let mut thread = Thread::alone();
            let link = thread.join(WORKER, &Default::default());
            let mut report = || thread.reports.try_recv().map(|report| report.what);
            thread.router.drain(WORKER, DrainReason::Terminate);
            assert!(matches!(report(), Some(FromThread::Drained { worker: WORKER })));
            assert!(link.takes_work());
            let holding = Holding::new(&link);
            assert!(matches!(report(), Some(FromThread::Occupied { worker: WORKER })));
            drop(Holding::new(&link));
            assert!(report().is_none());
            drop(holding);
            assert!(matches!(report(), Some(FromThread::Drained { worker: WORKER })));
            thread.router.shutdown(WORKER);
            assert!(!link.takes_work());
        });
    }
}
