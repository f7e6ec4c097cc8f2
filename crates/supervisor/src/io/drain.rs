//! The ways in which a worker loses what it has: drained, cut off, dead.

use std::rc::Rc;
use std::time::Duration;

use shovel_core::pool::DrainReason;
use shovel_edge::Backend;
use shovel_protocol::{Close, CloseCode, ConnectionId, RequestId, ToWorker, WorkerId};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::FromThread;
use super::link::Link;
use super::registry::Late;
use super::requests::Outcome;
use super::router::Router;

/// How often connections are closed while they are spread over a time.
const STEP: Duration = Duration::from_millis(10);

/// What clients are told.
fn farewell(why: DrainReason) -> (CloseCode, &'static str) {
    match why {
        DrainReason::Reload | DrainReason::Recycle => (CloseCode::RESTART, "server reloading"),
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
            DrainReason::Reload | DrainReason::Recycle => self.settings.close_spread,
            DrainReason::Terminate => Duration::ZERO,
        };
        if spread.is_zero() {
            connections.into_iter().for_each(|id| self.say_farewell(id, why));
        } else {
            spawn_local(spread_farewells(self.clone(), connections, why, spread));
        }
    }

    /// Closes one connection of a draining worker. Decided now: it may have closed or moved since.
    pub fn say_farewell(&self, id: ConnectionId, why: DrainReason) {
        let (code, reason) = farewell(why);
        let registry = self.registry.borrow();
        // One that is only offered gets its farewell when it is accepted.
        if let Some(connection) = registry.get(id).filter(|found| found.state.is_owned()) {
            connection.socket.finish(code, reason);
        }
    }

    /// Ends what a worker has not finished in time: responses break off, connections close, and
    /// their close events are the last that it hears of them.
    pub fn cut(self: &Rc<Self>, worker: WorkerId) {
        let Some(link) = self.link(worker) else { return };
        let (code, reason) = farewell(link.draining().unwrap_or(DrainReason::Reload));
        for id in self.requests_of(&link) {
            self.break_off(id, "the worker did not finish in time", true);
        }
        let connections = self.registry.borrow().of_link(&link);
        for id in connections {
            let socket = self.registry.borrow().get(id).map(|found| found.socket.clone());
            if let Some(socket) = socket {
                socket.close(code, reason);
            }
            self.closed(id, Close { code, reason: reason.to_owned(), was_clean: false });
            self.registry.borrow_mut().remove(id);
        }
    }

    /// The worker's process is gone; its link is read to the end first.
    pub fn reaped(&self, worker: WorkerId) {
        match self.link(worker) {
            Some(link) => link.reaped.notify_one(),
            None => self.reports.send(FromThread::Gone { worker }),
        }
    }

    /// The worker is gone and its link read to the end: requests fail or are asked again, its
    /// connections close 1011.
    pub fn bury(self: &Rc<Self>, link: &Rc<Link>) {
        link.end();
        for id in self.requests_of(link) {
            self.break_off(id, "the worker was lost", false);
        }
        let connections = self.registry.borrow().of_link(link);
        for id in connections {
            self.share_channels_of(id);
            let mut registry = self.registry.borrow_mut();
            self.channels.borrow_mut().unsubscribe_all(id.0.slot, &mut *registry);
            if let Some(connection) = registry.remove(id) {
                connection.socket.close(CloseCode::INTERNAL_ERROR, "worker lost");
            }
        }
        self.channels.borrow_mut().forget_worker(link.worker);
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
        request.answer(if tell { Outcome::Bad(why) } else { Outcome::WorkerGone });
    }
}

async fn spread_farewells(
    router: Rc<Router>,
    mut connections: Vec<ConnectionId>,
    why: DrainReason,
    spread: Duration,
) {
    fastrand::shuffle(&mut connections);
    let (start, count) = (Instant::now(), connections.len());
    let steps = (spread.as_millis() / STEP.as_millis()).max(1) as usize;
    for step in 0..steps {
        for id in &connections[count * step / steps..count * (step + 1) / steps] {
            router.say_farewell(*id, why);
        }
        sleep_until(start + STEP * (step as u32 + 1)).await;
    }
}
