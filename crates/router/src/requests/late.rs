//! Requests whose worker does not answer, while others do.
//!
//! Requests that their clients do not wait for any more make a worker that stands still the least busy
//! of all, so each next one goes to it. So the driver is told whose answers are waited for; `core::fleet`
//! pings these, and offers those that answer.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use shovel_core::custody::LateUpgrade;
use shovel_protocol::{RequestId, WorkerId};
use tokio::time::sleep;

use super::table::Outcome;
use crate::counts::OfThread;
use crate::driver::FromThread;
use crate::router::Router;

/// How often the driver is told.
const INTERVAL: Duration = Duration::from_secs(1);

impl Router {
    /// A worker is late, and others are not: they are asked what it has not answered and may be done
    /// again.
    pub(crate) fn ask_others(self: &Rc<Self>, worker: WorkerId) {
        let requests = self.requests.borrow();
        let its = requests.iter().filter(|(_, request)| {
            request.link.worker == worker && request.may_ask_another && request.waiting.is_some()
        });
        let its: Vec<_> = its.map(|(id, _)| RequestId(id)).collect();
        drop(requests);
        for id in its {
            let Some(mut request) = self.take_request(id, LateUpgrade::Refused) else { continue };
            request.link.cancel(id);
            self.measures.tally.add(OfThread::Repeated, 1);
            request.answer(Outcome::WorkerLate);
        }
    }

    fn tell_awaited(&self) {
        let requests = self.requests.borrow();
        let waiting = requests.iter().filter(|(_, request)| request.waiting.is_some());
        let awaited: BTreeSet<_> = waiting.map(|(_, request)| request.link.worker).collect();
        awaited.into_iter().for_each(|worker| self.news.send(FromThread::Awaited { worker }));
    }
}

/// Tells the driver whose answers are waited for, as long as the thread runs.
pub async fn tell_awaited(router: Rc<Router>) {
    loop {
        sleep(INTERVAL).await;
        router.tell_awaited();
    }
}
