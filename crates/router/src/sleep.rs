//! Which workers nobody needs for now, and when somebody is needed.
//!
//! A worker is idle on a thread if it has no request there, only connections that can do without
//! it, and has done nothing for as long as `--sleep-after` says. Idle on all threads, it is told to
//! the driver, which decides. Connections of workers that sleep stay open and subscribed; the next
//! message of one, or a request, asks for a worker.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::FromThread;
use super::link::Link;
use super::router::Router;

/// How often to look, and how often to ask for workers.
const SHORTEST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// From so many requests and connections on of the least busy worker, one more is asked for.
const MUCH: u32 = 8;

/// When a worker last did anything, as its link shows.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// All that was counted of it.
    activity: u64,
    since: Instant,
    /// It is counted among the threads on which it is idle.
    is_idle: bool,
}

impl Default for Rest {
    fn default() -> Self {
        Rest { activity: 0, since: Instant::now(), is_idle: false }
    }
}

/// Looks for idle workers as long as the thread runs.
pub async fn run(router: Rc<Router>) {
    loop {
        let Some(sleep_after) = router.settings.get().sleep_after else {
            // It may be set by another configuration.
            sleep(LONGEST_PAUSE).await;
            continue;
        };
        sleep((sleep_after / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
        let links: Vec<_> = router.links.borrow().values().cloned().collect();
        for link in links {
            router.look_for_rest(&link, sleep_after);
        }
    }
}

impl Router {
    /// Asks for a worker, now and then.
    pub(super) fn want_work(&self) {
        let now = Instant::now();
        let is_new = self
            .work_wanted
            .get()
            .is_none_or(|before| now.duration_since(before) >= SHORTEST_PAUSE);
        if is_new {
            self.work_wanted.set(Some(now));
            self.reports.send(FromThread::WorkWanted);
        }
    }

    /// Asks for one worker more if the least busy one has much to do.
    pub(super) fn want_help(&self, least_busy: &Link) {
        // Without it nobody sleeps, but for those that did before it was switched off.
        let may_sleep = self.settings.get().sleep_after.is_some();
        if may_sleep && least_busy.counters.load.load(Ordering::Relaxed) >= MUCH {
            self.want_work();
        }
    }

    fn look_for_rest(&self, link: &Rc<Link>, sleep_after: Duration) {
        let mut rest = link.rest.get();
        let activity = link.tally.sums().total();
        let now = Instant::now();
        if activity != rest.activity {
            rest.activity = activity;
            rest.since = now;
        }
        let is_idle =
            now.duration_since(rest.since) >= sleep_after && link.adopts() && self.can_spare(link);
        let idle = &link.counters.idle_threads;
        if is_idle != rest.is_idle {
            rest.is_idle = is_idle;
            match is_idle {
                true => idle.fetch_add(1, Ordering::AcqRel),
                false => idle.fetch_sub(1, Ordering::AcqRel),
            };
        }
        link.rest.set(rest);
        if is_idle && link.takes_work() && idle.load(Ordering::Acquire) >= link.links {
            self.reports.send(FromThread::Idle { worker: link.worker });
        }
    }

    /// Whether all that a worker has here are connections that can do without it.
    fn can_spare(&self, link: &Rc<Link>) -> bool {
        let connections = self.registry.borrow().of_link(link);
        let has_requests = link.holdings() != connections.len();
        let mut registry = self.registry.borrow_mut();
        !has_requests
            && connections.into_iter().all(|route| {
                registry.on_route(route).is_some_and(|(_, connection)| {
                    connection.state.is_portable()
                        && connection.state.is_idle()
                        && connection.socket.is_open()
                })
            })
    }
}
