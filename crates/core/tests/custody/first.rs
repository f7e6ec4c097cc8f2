//! A program that has not adopted anything yet: one connection finds out whether it can.

use std::time::Duration;

use shovel_core::custody::{Death, Phase, Route, WorkerCell};
use shovel_core::fleet::DrainReason;

use crate::cell::SharedCell;
use crate::house::{ADOPT_TIMEOUT, FIRST, HANDLER_TIMEOUT, House, MOMENT, SECOND, THIRD};

/// Ten connections of a worker, and two workers of the next program.
fn next_generation() -> (House<SharedCell>, Vec<Route>) {
    let mut house = House::of(&[FIRST]);
    let routes = (0..10).map(|_| house.portable(FIRST)).collect();
    house.join(SECOND, SharedCell::able());
    house.join_sibling(THIRD, SECOND);
    house.offer(&[SECOND, THIRD]);
    (house, routes)
}

fn those(house: &House<SharedCell>, routes: &[Route], phase: Phase) -> Vec<Route> {
    let has_phase = |route: &&Route| house.is_there(**route) && house.get(**route).phase() == phase;
    routes.iter().filter(has_phase).copied().collect()
}

#[test]
fn one_connection_leaves_its_worker_and_the_others_follow_when_it_is_adopted() {
    let (mut house, routes) = next_generation();
    house.drain(FIRST, DrainReason::Reload);
    assert_eq!(house.releases(), 1);
    house.pass(MOMENT);
    let first = those(&house, &routes, Phase::Releasing)[0];
    house.release(first);
    assert_eq!(house.phase(first), Phase::Adopting);
    house.pass(ADOPT_TIMEOUT - MOMENT);
    assert_eq!(house.releases(), 1, "it has not been answered");
    house.adopt(first);
    assert_eq!(house.releases(), 10);
    routes.iter().filter(|route| **route != first).for_each(|route| house.release(*route));
    assert_eq!(those(&house, &routes, Phase::Adopting).len(), 9);
}

#[test]
fn a_refusal_is_an_answer() {
    let (mut house, routes) = next_generation();
    house.drain(FIRST, DrainReason::Reload);
    let first = those(&house, &routes, Phase::Releasing)[0];
    house.release(first);
    house.refuse(first);
    assert_eq!(house.releases(), 10);
}

#[test]
fn one_without_an_owner_is_adopted_and_the_others_follow_when_it_is() {
    let (mut house, routes) = next_generation();
    routes.iter().for_each(|route| house.messages(*route, 1));
    house.die(FIRST, Death::Fault);
    house.pass(ADOPT_TIMEOUT - MOMENT);
    let adopting = those(&house, &routes, Phase::Adopting);
    assert_eq!(adopting.len(), 1);
    house.adopt(adopting[0]);
    assert_eq!(those(&house, &routes, Phase::Adopting).len(), 9);
}

#[test]
fn after_a_death_in_the_first_adoption_the_next_tries_alone_too() {
    let (mut house, routes) = next_generation();
    routes.iter().for_each(|route| house.messages(*route, 1));
    house.die(FIRST, Death::Ours);
    let adopting = those(&house, &routes, Phase::Adopting);
    let victim = house.owner(adopting[0]).unwrap();
    house.die(victim, Death::Fault);
    house.pass(Duration::from_secs(1));
    let next = those(&house, &routes, Phase::Adopting);
    assert_eq!(next.len(), 1);
    assert_ne!(house.owner(next[0]), Some(victim));
    house.adopt(next[0]);
    assert_eq!(those(&house, &routes, Phase::Adopting).len(), 9);
}

#[test]
fn after_a_first_adoption_that_took_too_long_the_next_tries() {
    let (mut house, routes) = next_generation();
    routes.iter().for_each(|route| house.messages(*route, 1));
    house.die(FIRST, Death::Ours);
    let slow = those(&house, &routes, Phase::Adopting)[0];
    house.pass(ADOPT_TIMEOUT + MOMENT);
    house.release(slow);
    assert_eq!(those(&house, &routes, Phase::Adopting).len(), 1);
}

#[test]
fn the_next_tries_if_the_first_is_taken_out_before_the_answer() {
    let (mut house, routes) = next_generation();
    routes.iter().for_each(|route| house.messages(*route, 1));
    house.die(FIRST, Death::Ours);
    let first = those(&house, &routes, Phase::Adopting)[0];
    let id = house.id(first);
    house.custody.remove(id);
    house.pass(MOMENT);
    assert_eq!(those(&house, &routes, Phase::Adopting).len(), 1);
}

#[test]
fn a_slow_handler_does_not_keep_the_first_adoption_from_another() {
    let (mut house, routes) = next_generation();
    house.drain(FIRST, DrainReason::Reload);
    house.pass(Duration::from_millis(60));
    let leaving = those(&house, &routes, Phase::Releasing);
    assert_eq!(leaving.len(), 2);
    house.release(leaving[1]);
    house.adopt(leaving[1]);
    assert_eq!(house.releases(), 10);
}

#[test]
fn another_threads_first_adoption_is_waited_for() {
    let (mut ours, routes) = next_generation();
    let mut theirs = House::new(1);
    for worker in [FIRST, SECOND] {
        theirs.join(worker, ours.cell(worker).clone());
    }
    theirs.offer(&[SECOND]);
    let stranger = theirs.portable(FIRST);
    theirs.drain(FIRST, DrainReason::Reload);
    ours.drain(FIRST, DrainReason::Reload);
    ours.release(those(&ours, &routes, Phase::Releasing)[0]);
    theirs.release(stranger);
    let is_adopted = |house: &House<SharedCell>| house.phase(stranger) == Phase::Adopting;
    theirs.pass(ADOPT_TIMEOUT - MOMENT);
    assert!(!is_adopted(&theirs));
    ours.adopt(those(&ours, &routes, Phase::Adopting)[0]);
    theirs.pass(MOMENT);
    assert!(is_adopted(&theirs));
}

#[test]
fn a_suspect_is_not_tried_before_it_can_be_adopted() {
    let (mut house, routes) = next_generation();
    let suspect = house.portable(FIRST);
    house.message(suspect);
    house.messages(routes[0], 1);
    house.die(FIRST, Death::Hang);
    // Both hung with it, and one finds out whether the program can adopt.
    assert_eq!(those(&house, &routes, Phase::Adopting).len(), 1);
    house.pass(HANDLER_TIMEOUT);
    let tried = [SECOND, THIRD].iter().filter(|worker| house.cell(**worker).has_trial()).count();
    assert!(tried <= 1, "others wait for a trial that cannot begin");
}
