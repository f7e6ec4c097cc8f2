//! Two threads that have a worker in common, on a clock that stands.

use shovel_core::fleet::Death;
use shovel_edge::Backend;
use shovel_protocol::control::AdoptCause;
use shovel_protocol::{Close, CloseCode, MessageKind, WorkerId};
use tokio::time::sleep;

use super::*;
use crate::link::Holding;
use crate::testing::{Thread, WORKER, run};

/// Two threads that have a worker in common.
struct Common {
    threads: Vec<Thread>,
    links: Vec<Rc<Link>>,
}

impl Common {
    fn new() -> Self {
        let (threads, counters) = (Thread::several(2), Default::default());
        let links = threads.iter().map(|thread| thread.join(WORKER, &counters)).collect();
        Common { threads, links }
    }

    fn portable(&self, thread: usize) -> Route {
        self.threads[thread].portable(&self.links[thread])
    }

    /// Two workers have died with its first message.
    fn suspect(&self, thread: usize) -> Route {
        let route = self.portable(thread);
        self.threads[thread].receive(route);
        self.threads[thread].with(route, |_, connection| {
            connection.doing = None;
            for _ in 0..2 {
                connection.state.next();
                connection.state.orphan(Blame::InCompany, worker_lost());
                connection.state.adopt(Holding::new(&self.links[thread]));
                connection.state.adopted().unwrap();
            }
            assert!(connection.state.suspect().is_some());
        });
        route
    }

    fn is_begun(&self, thread: usize, route: Route) -> bool {
        self.threads[thread].with(route, |_, connection| connection.state.is_under_way())
    }

    fn pump(&self, thread: usize, route: Route) {
        let id = self.threads[thread].with(route, |id, _| id);
        let router = &self.threads[thread].router;
        router.pump(&mut router.registry.borrow_mut(), id);
    }
}

fn worker_lost() -> Close {
    let (code, reason) = (CloseCode::INTERNAL_ERROR, String::new());
    Close { code, reason, was_clean: false }
}

#[test]
fn a_suspect_waits_for_what_is_under_way_on_any_thread_and_others_wait_for_it() {
    run(async || {
        let common = Common::new();
        let [ours, theirs] = &common.threads[..] else { unreachable!() };
        let (neighbour, stranger) = (common.portable(0), common.portable(1));
        let suspects = [common.suspect(0), common.suspect(0)];
        theirs.receive(stranger);
        suspects.iter().for_each(|suspect| common.pump(0, *suspect));
        ours.receive(neighbour);
        sleep(RETRY * 2).await;
        assert!(!common.is_begun(0, suspects[0]) && !common.is_begun(0, neighbour));

        theirs.commit(&common.links[1], stranger);
        theirs.receive(stranger);
        assert!(!common.is_begun(1, stranger));
        sleep(RETRY * 2).await;
        assert!(common.is_begun(0, suspects[0]) && !common.is_begun(0, suspects[1]));

        // One suspect after the other, without a pause.
        ours.commit(&common.links[0], suspects[0]);
        assert!(common.is_begun(0, suspects[1]));
        assert!(!common.is_begun(0, neighbour) && !common.is_begun(1, stranger));
        ours.commit(&common.links[0], suspects[1]);
        assert!(common.is_begun(0, neighbour));
        sleep(RETRY * 2).await;
        assert!(common.is_begun(1, stranger));
    });
}

#[test]
fn neither_a_trial_nor_the_wait_for_it_lasts_longer_than_it_may() {
    run(async || {
        let common = Common::new();
        let [ours, theirs] = &common.threads[..] else { unreachable!() };
        let (neighbour, endless) = (common.portable(0), common.portable(1));
        let suspect = common.suspect(0);
        theirs.receive(endless);
        common.pump(0, suspect);
        ours.receive(neighbour);
        sleep(COMPANY_ENDS_IN - RETRY).await;
        assert!(!common.is_begun(0, suspect));
        sleep(RETRY * 2).await;
        assert!(common.is_begun(0, suspect) && !common.is_begun(0, neighbour));
        sleep(Duration::from_secs(1)).await;
        assert!(common.is_begun(0, neighbour) && common.is_begun(0, suspect));
    });
}

#[test]
fn a_death_is_the_fault_of_what_was_alone_on_all_threads() {
    run(async || {
        let common = Common::new();
        let [ours, theirs] = &common.threads[..] else { unreachable!() };
        let blame = || ours.router.blame(&common.links[0]);
        let (one, other) = (common.portable(0), common.portable(1));
        ours.receive(one);
        theirs.receive(other);
        assert_eq!(blame(), Blame::None, "its process lives");
        common.links.iter().for_each(|link| link.reap(Death::Fault));
        // Whichever thread learns of it first.
        theirs.router.bury(&common.links[1]);
        assert_eq!(blame(), Blame::InCompany);
    });
    run(async || {
        let common = Common::new();
        let [ours, theirs] = &common.threads[..] else { unreachable!() };
        let (one, other) = (common.portable(0), common.portable(1));
        ours.receive(one);
        theirs.receive(other);
        theirs.commit(&common.links[1], other);
        common.links.iter().for_each(|link| link.reap(Death::Fault));
        theirs.router.bury(&common.links[1]);
        assert_eq!(ours.router.blame(&common.links[0]), Blame::Alone);
    });
}

#[test]
fn a_message_of_a_connection_that_ends_with_its_worker_is_company_too() {
    for is_finished in [false, true] {
        run(async || {
            let common = Common::new();
            let [ours, theirs] = &common.threads[..] else { unreachable!() };
            ours.receive(common.portable(0));
            let plain = theirs.subscriber(&common.links[1], "news");
            theirs.router.message(plain, MessageKind::Text, b"message");
            if is_finished {
                theirs.commit(&common.links[1], plain);
            }
            common.links.iter().for_each(|link| link.reap(Death::Fault));
            theirs.router.bury(&common.links[1]);
            let expected = if is_finished { Blame::Alone } else { Blame::InCompany };
            assert_eq!(ours.router.blame(&common.links[0]), expected);
        });
    }
}

#[test]
fn whoever_needs_a_worker_takes_one_without_a_trial_or_waits_for_its_end() {
    run(async || {
        let common = Common::new();
        let (ours, link) = (&common.threads[0], &common.links[0]);
        let waiting = || {
            let route = common.portable(0);
            ours.with(route, |_, connection| {
                connection.state.release(AdoptCause::Reload);
                connection.state.released(0, 0).unwrap();
            });
            ours.router.seek(route);
            route
        };
        let owner =
            |route| ours.with(route, |_, connection| connection.link().map(|link| link.worker));
        link.counters.adopts.store(true, Ordering::Relaxed);
        ours.router.set_offer(&[WORKER]);
        common.pump(0, common.suspect(0));
        let first = waiting();
        sleep(RETRY * 2).await;
        assert_eq!(owner(first), None);

        let other = ours.join(WorkerId(2), &Default::default());
        other.counters.adopts.store(true, Ordering::Relaxed);
        other.counters.load.store(1000, Ordering::Relaxed);
        ours.router.set_offer(&[WORKER, other.worker]);
        let second = waiting();
        sleep(RETRY * 2).await;
        // Neither has a handshake to tell of, so that the worker is told nothing; it counts as
        // the adopter all the same.
        assert_eq!((owner(first), owner(second)), (None, Some(other.worker)));

        link.reap(Death::Fault);
        ours.router.bury(link);
        ours.router.set_offer(&[other.worker]);
        sleep(RETRY * 2).await;
        assert_eq!(owner(first), Some(other.worker));
    });
}

#[test]
fn a_suspect_whose_worker_dies_before_its_trial_has_begun_takes_another() {
    run(async || {
        let common = Common::new();
        let [ours, theirs] = &common.threads[..] else { unreachable!() };
        let link = &common.links[0];
        let other = ours.join(WorkerId(2), &Default::default());
        for link in [link, &other] {
            link.counters.adopts.store(true, Ordering::Relaxed);
        }
        // Two workers have died while they took it over.
        let suspect = common.portable(0);
        ours.with(suspect, |_, connection| {
            for _ in 0..3 {
                connection.state.orphan(Blame::InCompany, worker_lost());
                connection.state.adopt(Holding::new(link));
            }
            connection.state.orphan(Blame::None, worker_lost());
            assert!(connection.state.suspect().is_some());
        });
        let owner =
            || ours.with(suspect, |_, connection| connection.link().map(|link| link.worker));
        theirs.receive(common.portable(1));
        ours.router.set_offer(&[WORKER]);
        ours.router.seek(suspect);
        sleep(RETRY * 2).await;
        assert!(link.has_trial() && owner().is_none(), "it waits for what is under way");

        common.links.iter().for_each(|link| link.reap(Death::Fault));
        ours.router.bury(link);
        theirs.router.bury(&common.links[1]);
        ours.router.set_offer(&[other.worker]);
        sleep(RETRY * 2).await;
        assert_eq!(owner(), Some(other.worker));
    });
}
