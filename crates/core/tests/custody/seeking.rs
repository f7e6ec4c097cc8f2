//! Connections without an owner: who is first, how long they wait.

use std::time::Duration;

use shovel_core::custody::{Command, Death, Event, Loss, Phase};
use shovel_core::fleet::DrainReason;
use shovel_protocol::control::AdoptCause;

use crate::cell::SharedCell;
use crate::house::{
    ADOPT_TIMEOUT, FIRST, HANDLER_TIMEOUT, House, MOMENT, OWNER_WAIT, SECOND, THIRD,
};

/// A connection that waits: its worker died, and none is offered.
fn waiting(is_idle: bool) -> (House<SharedCell>, shovel_core::custody::Route) {
    let mut house = House::of(&[FIRST]);
    let route = house.portable(FIRST);
    if !is_idle {
        house.message(route);
    }
    house.offer(&[]);
    house.die(FIRST, Death::Ours);
    assert_eq!(house.phase(route), Phase::Unowned);
    house.told();
    (house, route)
}

fn ends_for_want_of_a_worker(house: &House<SharedCell>) -> bool {
    house.count(|told| matches!(told, Command::End { loss: Loss::NoWorker, .. })) > 0
}

#[test]
fn something_to_handle_waits_for_a_worker_only_so_long() {
    let (mut house, route) = waiting(false);
    house.pass(OWNER_WAIT - MOMENT);
    assert!(house.is_there(route));
    house.pass(MOMENT * 2);
    assert!(!house.is_there(route) && ends_for_want_of_a_worker(&house));
}

#[test]
fn nothing_to_handle_waits_for_a_worker_for_ever() {
    let (mut house, route) = waiting(true);
    house.pass(OWNER_WAIT * 10);
    house.join(SECOND, SharedCell::able());
    house.offer(&[SECOND]);
    house.pass(Duration::ZERO);
    assert_eq!(house.owner(route), Some(SECOND));
}

#[test]
fn the_wait_is_counted_from_when_there_was_something_to_handle() {
    for is_close in [false, true] {
        let (mut house, route) = waiting(true);
        house.pass(OWNER_WAIT - MOMENT);
        if is_close {
            house.close(route);
        } else {
            house.message(route);
        }
        house.pass(OWNER_WAIT - MOMENT);
        assert!(house.is_there(route), "it was late before it waited");
        house.pass(MOMENT * 2);
        assert!(ends_for_want_of_a_worker(&house));
    }
}

#[test]
fn a_message_to_one_that_sleeps_is_not_late_because_nobody_read_the_clock() {
    let mut house = House::of(&[FIRST]);
    let route = house.portable(FIRST);
    house.offer(&[]);
    house.drain(FIRST, DrainReason::Sleep);
    house.release(route);
    house.die(FIRST, Death::Ours);
    house.pass(OWNER_WAIT);
    assert_eq!(house.custody.poll_timeout(), None, "one that sleeps costs no timer");
    // Long after that, without a look at custody.
    house.now = house.now + OWNER_WAIT * 100;
    house.message(route);
    house.pass(OWNER_WAIT - MOMENT);
    assert!(house.is_there(route));
    house.join(SECOND, SharedCell::able());
    house.offer(&[SECOND]);
    assert!(house.adoptions().contains(&(SECOND, AdoptCause::Wake)));
}

#[test]
fn an_adoption_is_late_only_when_it_has_taken_too_long_itself() {
    let mut house = House::of(&[FIRST, SECOND]);
    let route = house.portable(FIRST);
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    house.now = house.now + (HANDLER_TIMEOUT - MOMENT);
    house.release(route);
    assert_eq!(house.phase(route), Phase::Adopting);
    let is_revoked = |house: &House<SharedCell>| {
        house.count(|told| matches!(told, Command::Revoke { worker: SECOND, .. })) > 0
    };
    house.pass(ADOPT_TIMEOUT - MOMENT);
    assert!(!is_revoked(&house));
    house.pass(MOMENT * 2);
    assert!(is_revoked(&house));
}

#[test]
fn whoever_waits_for_a_worker_asks_for_one_now_and_then() {
    let (mut house, _) = waiting(false);
    house.pass(Duration::from_secs(10));
    let asked = house.count(|told| *told == Command::WorkWanted);
    assert!((50..200).contains(&asked), "it asked {asked} times");
}

#[test]
fn nobody_waits_at_workers_that_can_never_adopt() {
    let (mut house, route) = waiting(false);
    house.join(SECOND, SharedCell::default());
    house.offer(&[SECOND]);
    assert!(!house.is_there(route));
    assert_eq!(house.count(|told| matches!(told, Command::End { loss: Loss::Unable, .. })), 1);
}

#[test]
fn a_connection_goes_to_the_worker_with_the_least_to_do() {
    let mut house = House::of(&[FIRST, SECOND, THIRD]);
    for _ in 0..3 {
        house.portable(SECOND);
    }
    let route = house.portable(FIRST);
    house.offer(&[SECOND, THIRD]);
    house.die(FIRST, Death::Ours);
    assert_eq!(house.owner(route), Some(THIRD));
}

#[test]
fn what_comes_when_the_link_of_its_owner_has_ended_speaks_against_nothing() {
    let mut house = House::of(&[FIRST, SECOND]);
    let route = house.portable(FIRST);
    house.offer(&[SECOND]);
    house.happens(Event::LinkEnded { worker: FIRST });
    house.message(route);
    assert!(!house.get(route).is_handling(), "it would be dropped there");
    house.die(FIRST, Death::Hang);
    house.adopt(route);
    assert_eq!(house.given(route), [(1, false, false)], "nobody has begun it");
}

#[test]
fn a_worker_whose_link_has_ended_is_given_nothing() {
    let (mut house, route) = waiting(false);
    house.join(SECOND, SharedCell::able());
    house.happens(Event::LinkEnded { worker: SECOND });
    house.offer(&[SECOND]);
    house.pass(Duration::from_secs(1));
    assert_eq!(house.phase(route), Phase::Unowned);
}
