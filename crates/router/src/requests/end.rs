//! The ways in which a request ends other than by its response.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use shovel_core::custody::LateUpgrade;
use shovel_edge::Failure;
use shovel_protocol::{RequestId, WorkerId};

use super::body::Cancel;
use super::table::{Outcome, Request};
use crate::router::Router;

impl Router {
    /// A request fails on both sides: its client and its worker are told.
    pub(crate) fn fail(self: &Rc<Self>, id: RequestId, failure: Failure) {
        if let Some(mut request) = self.take_request(id, LateUpgrade::ClientGone) {
            request.link.cancel(id);
            if let Some(download) = &request.download {
                download.abort("the request was broken off");
            }
            request.answer(Outcome::Failed(failure));
        }
    }

    /// Ends all requests that a worker has. `tell`: it lives, and is told.
    pub(crate) fn break_off_all(self: &Rc<Self>, worker: WorkerId, why: &'static str, tell: bool) {
        let requests = self.requests.borrow();
        let its = requests.iter().filter(|(_, request)| request.link.worker == worker);
        let its: Vec<_> = its.map(|(id, _)| RequestId(id)).collect();
        drop(requests);
        its.into_iter().for_each(|id| self.break_off(id, why, tell));
    }

    fn break_off(self: &Rc<Self>, id: RequestId, why: &'static str, tell: bool) {
        let Some(mut request) = self.take_request(id, LateUpgrade::Refused) else { return };
        if tell {
            request.link.cancel(id);
        }
        if let Some(download) = &request.download {
            download.abort(why);
        }
        request.answer(match tell {
            true => Outcome::Failed(Failure::BadGateway(why)),
            false => Outcome::WorkerGone,
        });
    }

    /// Forgets a request, and the connection that was reserved with it.
    pub(crate) fn take_request(
        self: &Rc<Self>,
        id: RequestId,
        late: LateUpgrade,
    ) -> Option<Request> {
        let request = self.forget_request(id)?;
        if let Some(connection) = request.connection {
            self.custody.borrow_mut().withdraw(connection, late);
        }
        self.go_on_if_needed();
        Some(request)
    }

    /// The worker has done with a request.
    pub(crate) fn forget_request(&self, id: RequestId) -> Option<Request> {
        let request = self.requests.borrow_mut().remove(id.0)?;
        request.link.cell.requests_under_way.fetch_sub(1, Ordering::Relaxed);
        let mut custody = self.custody.borrow_mut();
        if request.waiting.is_some() {
            custody.answer_request(request.link.worker);
        }
        custody.end_request(request.link.worker);
        Some(request)
    }
}

impl Request {
    /// Tells whoever waits for the head.
    pub(crate) fn answer(&mut self, outcome: Outcome) {
        if let Some(waiting) = self.waiting.take() {
            // Whoever has stopped waiting has cancelled.
            let _ = waiting.send(outcome);
        }
    }
}

impl Cancel for Router {
    fn cancel(self: Rc<Self>, id: RequestId) {
        if let Some(request) = self.take_request(id, LateUpgrade::ClientGone) {
            request.link.cancel(id);
        }
    }
}
