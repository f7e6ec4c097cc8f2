//! Trials: a suspect is handed over alone. Two threads have a worker in common.

use std::time::Duration;

use shovel_core::custody::{COMPANY_ENDS_IN, Death, Phase, Route, Tried, WorkerCell};
use shovel_core::fleet::DrainReason;
use shovel_protocol::WorkerId;

use crate::cell::SharedCell;
use crate::house::{FIRST, House, MOMENT, OWNER_WAIT, SECOND, THIRD};

/// Two threads that have two workers in common; the first worker is not offered.
struct Common {
    ours: House<SharedCell>,
    theirs: House<SharedCell>,
}

impl Common {
    fn new() -> Self {
        let ours = House::of(&[FIRST, SECOND]);
        let mut theirs = House::new(1);
        for worker in [FIRST, SECOND] {
            theirs.join(worker, ours.cell(worker).clone());
        }
        let mut common = Common { ours, theirs };
        common.offer(&[SECOND]);
        common
    }

    fn offer(&mut self, workers: &[WorkerId]) {
        self.ours.offer(workers);
        self.theirs.offer(workers);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.ours.now + time;
        while self.ours.now < end {
            let step = Duration::from_millis(1).min(end - self.ours.now);
            self.ours.pass(step);
            self.theirs.pass(step);
        }
    }
}

/// Connections of our thread whose first messages a worker hung with; they have no owner yet.
fn suspects(house: &mut House<SharedCell>, count: usize) -> Vec<Route> {
    suspects_beside(house, FIRST, count)
}

/// The same, of another worker of the program that this one runs.
fn suspects_beside(house: &mut House<SharedCell>, sibling: WorkerId, count: usize) -> Vec<Route> {
    house.join_sibling(THIRD, sibling);
    let routes: Vec<_> = (0..count).map(|_| house.portable(THIRD)).collect();
    routes.iter().for_each(|route| house.messages(*route, 1));
    house.offer(&[]);
    house.die(THIRD, Death::Hang);
    house.given.clear();
    routes
}

/// The same, adopted by the second worker with other things under way with it.
fn adopted_suspect(common: &mut Common) -> Route {
    let suspect = suspects(&mut common.ours, 1)[0];
    common.ours.offer(&[SECOND]);
    common.ours.pass(MOMENT);
    common.ours.adopt(suspect);
    suspect
}

#[test]
fn a_suspect_waits_for_what_is_under_way_on_any_thread_and_others_wait_for_it() {
    let mut common = Common::new();
    let (neighbour, stranger) = (common.ours.portable(SECOND), common.theirs.portable(SECOND));
    common.theirs.message(stranger);
    let suspect = suspects(&mut common.ours, 1)[0];
    common.offer(&[SECOND]);
    common.ours.message(neighbour);
    common.pass(MOMENT);
    assert_eq!(common.ours.phase(suspect), Phase::Unowned);
    assert!(!common.ours.get(neighbour).is_handling());

    common.theirs.commit(stranger, 1);
    common.theirs.message(stranger);
    assert!(!common.theirs.get(stranger).is_handling());
    common.pass(MOMENT);
    assert_eq!(common.ours.phase(suspect), Phase::Adopting);
    common.ours.adopt(suspect);
    assert!(common.ours.get(suspect).is_handling());
    assert!(!common.ours.get(neighbour).is_handling());
    assert!(!common.theirs.get(stranger).is_handling());

    common.ours.commit(suspect, 1);
    assert!(common.ours.get(neighbour).is_handling());
    common.pass(MOMENT);
    assert!(common.theirs.get(stranger).is_handling());
}

#[test]
fn one_suspect_is_tried_after_the_other() {
    let mut house = House::of(&[FIRST, SECOND]);
    let routes = suspects(&mut house, 2);
    house.offer(&[SECOND]);
    house.pass(MOMENT);
    assert_eq!(house.phase(routes[0]), Phase::Adopting);
    assert_eq!(house.phase(routes[1]), Phase::Unowned);
    house.adopt(routes[0]);
    house.pass(MOMENT);
    assert_eq!(house.phase(routes[1]), Phase::Unowned);
    house.commit(routes[0], 1);
    house.pass(MOMENT);
    assert_eq!(house.phase(routes[1]), Phase::Adopting);
}

#[test]
fn neither_a_trial_nor_the_wait_for_it_lasts_longer_than_it_may() {
    let mut common = Common::new();
    let (neighbour, endless) = (common.ours.portable(SECOND), common.theirs.portable(SECOND));
    common.theirs.message(endless);
    let suspect = suspects(&mut common.ours, 1)[0];
    common.offer(&[SECOND]);
    common.ours.message(neighbour);
    common.pass(COMPANY_ENDS_IN - MOMENT);
    assert_eq!(common.ours.phase(suspect), Phase::Unowned);
    common.pass(MOMENT * 2);
    assert_eq!(common.ours.phase(suspect), Phase::Adopting);
    common.ours.adopt(suspect);
    assert!(common.ours.get(suspect).is_handling());
    assert!(!common.ours.get(neighbour).is_handling());
    common.pass(Duration::from_secs(1));
    assert!(common.ours.get(neighbour).is_handling() && common.ours.get(suspect).is_handling());
}

#[test]
fn a_suspects_successors_are_not_handed_over_within_its_trial() {
    let mut common = Common::new();
    let suspect = suspects(&mut common.ours, 1)[0];
    common.ours.messages(suspect, 2);
    common.offer(&[SECOND]);
    common.pass(MOMENT);
    common.ours.adopt(suspect);
    assert_eq!(common.ours.given(suspect), [(1, true, false)]);
    common.pass(Duration::from_millis(900));
    common.ours.messages(suspect, 1);
    assert!(common.ours.given(suspect).is_empty());
    common.ours.commit(suspect, 1);
    assert_eq!(common.ours.numbers(suspect), [2, 3, 4]);
}

#[test]
fn an_owned_suspect_has_its_trial_like_one_without_an_owner() {
    // It was adopted, and released again, before its event was handed over.
    let mut common = Common::new();
    let stranger = common.theirs.portable(SECOND);
    let suspect = adopted_suspect(&mut common);
    common.ours.commit(suspect, 1);
    assert!(!common.ours.cell(SECOND).has_trial());
    common.theirs.message(stranger);
    common.ours.message(suspect);
    assert!(common.ours.get(suspect).is_handling(), "it is no suspect any more");
}

#[test]
fn whoever_needs_a_worker_takes_one_without_a_trial_or_waits_for_its_end() {
    let mut house = House::of(&[FIRST, SECOND]);
    let healthy = [house.portable(FIRST), house.portable(FIRST)];
    let suspect = suspects(&mut house, 1)[0];
    house.offer(&[SECOND]);
    house.pass(MOMENT);
    house.adopt(suspect);
    house.drain(FIRST, DrainReason::Reload);
    house.release(healthy[0]);
    house.pass(MOMENT);
    assert_eq!(house.phase(healthy[0]), Phase::Unowned);

    house.join_sibling(THIRD, SECOND);
    for _ in 0..20 {
        house.portable(THIRD);
    }
    house.offer(&[SECOND, THIRD]);
    house.release(healthy[1]);
    assert_eq!(house.owner(healthy[0]), Some(THIRD), "it has more to do, but no trial");
    assert_eq!(house.owner(healthy[1]), Some(THIRD));
}

#[test]
fn a_suspect_without_an_owner_waits_until_every_other_has_one() {
    let mut house = House::of(&[FIRST, SECOND]);
    let healthy: Vec<_> = (0..100).map(|_| house.portable(FIRST)).collect();
    let suspect = suspects(&mut house, 1)[0];
    house.die(FIRST, Death::Ours);
    house.offer(&[SECOND]);
    house.pass(MOMENT);
    let adopting = |house: &House<SharedCell>| -> Vec<Route> {
        let is_adopted = |route: &&Route| house.phase(**route) == Phase::Adopting;
        healthy.iter().filter(is_adopted).copied().collect()
    };
    let first = adopting(&house);
    assert!(first.len() < healthy.len(), "moves under way are bounded");
    assert_eq!(house.phase(suspect), Phase::Unowned);
    first.into_iter().for_each(|route| house.adopt(route));
    assert_eq!(house.phase(suspect), Phase::Unowned);
    adopting(&house).into_iter().for_each(|route| house.adopt(route));
    house.pass(MOMENT);
    assert_eq!(house.phase(suspect), Phase::Adopting);
}

/// Each takes its time, and they are tried one after the other.
#[test]
fn a_suspect_is_not_lost_while_it_waits_for_its_turn_with_those_who_serve() {
    for of_another_thread in [false, true] {
        let mut house = House::of(&[FIRST, SECOND]);
        let suspects = suspects(&mut house, 2);
        let stranger = Tried { thread: 1, slot: 0 };
        if of_another_thread {
            assert!(house.cell(SECOND).clone().seek_trial(stranger));
        }
        house.offer(&[SECOND]);
        house.pass(OWNER_WAIT * 3);
        assert!(suspects.iter().all(|route| house.is_there(*route)));
        if of_another_thread {
            house.cell(SECOND).clone().end_trial(stranger);
        }
        house.offer(&[]);
        house.die(FIRST, Death::Ours);
        house.die(SECOND, Death::Ours);
        house.pass(OWNER_WAIT * 2);
        assert!(!suspects.iter().any(|route| house.is_there(*route)), "nobody serves any more");
    }
}

#[test]
fn a_suspect_that_waits_for_its_trial_gives_way_to_one_without_an_owner() {
    let mut house = House::of(&[FIRST, SECOND]);
    let (busy, healthy) = (house.portable(SECOND), house.portable(FIRST));
    house.message(busy);
    let suspect = suspects(&mut house, 1)[0];
    house.offer(&[SECOND]);
    house.pass(MOMENT);
    assert!(house.cell(SECOND).has_trial());
    house.die(FIRST, Death::Ours);
    house.pass(MOMENT);
    assert_eq!(house.phase(healthy), Phase::Adopting, "both wait for each other");
    house.adopt(healthy);
    house.pass(COMPANY_ENDS_IN + MOMENT);
    assert_eq!(house.phase(suspect), Phase::Adopting);
}

#[test]
fn a_suspect_that_waits_for_its_trial_takes_another_worker_when_this_one_goes() {
    for dies in [false, true] {
        let mut house = House::of(&[FIRST, SECOND]);
        let busy = house.portable(SECOND);
        house.message(busy);
        let suspect = suspects(&mut house, 1)[0];
        house.offer(&[SECOND]);
        house.pass(MOMENT);
        assert!(house.cell(SECOND).has_trial() && house.owner(suspect).is_none());
        house.offer(&[]);
        if dies {
            house.die(SECOND, Death::Ours);
        }
        house.pass(Duration::from_secs(1));
        if !dies {
            assert!(!house.cell(SECOND).has_trial());
        }
        house.offer(&[FIRST]);
        house.pass(Duration::from_secs(1));
        assert_eq!(house.owner(suspect), Some(FIRST));
    }
}

#[test]
fn the_trial_of_a_connection_that_is_taken_out_ends() {
    let mut common = Common::new();
    let (neighbour, suspect) = (common.ours.portable(SECOND), adopted_suspect(&mut common));
    common.ours.message(neighbour);
    assert!(!common.ours.get(neighbour).is_handling());
    let id = common.ours.id(suspect);
    common.ours.custody.remove(id);
    common.ours.pass(Duration::ZERO);
    assert!(common.ours.get(neighbour).is_handling());
    assert!(!common.ours.cell(SECOND).has_trial());
}

#[test]
fn a_trial_ends_when_its_suspect_moves_on() {
    let mut house = House::of(&[FIRST, SECOND]);
    let suspect = suspects(&mut house, 1)[0];
    house.offer(&[SECOND]);
    house.pass(MOMENT);
    house.adopt(suspect);
    house.offer(&[FIRST]);
    house.drain(SECOND, DrainReason::Reload);
    house.try_release(suspect, 0, 1).unwrap();
    assert!(!house.cell(SECOND).has_trial());
    assert_eq!((house.owner(suspect), house.cell(FIRST).has_trial()), (Some(FIRST), true));
}

#[test]
fn nobody_waits_for_the_trial_of_one_that_cannot_be_adopted_yet() {
    let mut ours = House::of_new(&[SECOND]);
    let neighbour = ours.portable(SECOND);
    let suspect = suspects_beside(&mut ours, SECOND, 1)[0];
    let mut theirs = House::new(1);
    theirs.join(SECOND, ours.cell(SECOND).clone());
    theirs.join_sibling(FIRST, SECOND);
    let stranger = theirs.portable(FIRST);
    theirs.die(FIRST, Death::Ours);
    theirs.offer(&[SECOND]);
    assert_eq!(theirs.phase(stranger), Phase::Adopting);
    ours.offer(&[SECOND]);
    ours.pass(COMPANY_ENDS_IN + MOMENT);
    for _ in 0..5 {
        ours.message(neighbour);
        assert!(ours.get(neighbour).is_handling());
        ours.commit(neighbour, ours.get(neighbour).acked() + 1);
    }
    theirs.adopt(stranger);
    ours.pass(MOMENT);
    assert_eq!(ours.phase(suspect), Phase::Adopting);
}
