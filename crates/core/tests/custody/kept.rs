//! Bytes of messages that are kept for portable connections, and their bound.

use shovel_core::custody::{Command, KEPT_LIMIT_BYTES, Route};

use crate::cell::SharedCell;
use crate::house::{FIRST, House};

/// A house that keeps as much as it may, in four parts.
fn full() -> (House<SharedCell>, Vec<Route>) {
    let mut house = House::of(&[FIRST]);
    let routes: Vec<_> = (0..4).map(|_| house.portable(FIRST)).collect();
    for route in &routes {
        house.large(*route, KEPT_LIMIT_BYTES / 4);
    }
    assert!(house.custody.kept_bytes() >= KEPT_LIMIT_BYTES);
    (house, routes)
}

fn looks(house: &House<SharedCell>, route: Route) -> usize {
    house.count(|told| *told == Command::CheckReader { route })
}

#[test]
fn whoever_has_something_kept_is_not_read_until_half_of_the_room_is_free() {
    let (mut house, routes) = full();
    assert!(house.custody.keeps_too_much(routes[0]) && house.custody.keeps_too_much(routes[0]));
    house.commit(routes[1], 1);
    house.commit(routes[2], 1);
    assert_eq!(looks(&house, routes[0]), 0);
    assert!(!house.custody.keeps_too_much(routes[0]), "it is below the bound");
    house.commit(routes[3], 1);
    assert_eq!(looks(&house, routes[0]), 1);
}

#[test]
fn a_connection_that_is_taken_out_makes_room() {
    let (mut house, routes) = full();
    assert!(house.custody.keeps_too_much(routes[0]));
    for route in &routes[1..] {
        let id = house.id(*route);
        house.custody.remove(id);
    }
    house.obey();
    assert_eq!(looks(&house, routes[0]), 1);
    house.commit(routes[0], 1);
    assert_eq!(house.custody.kept_bytes(), 0);
}

#[test]
fn whoever_has_nothing_kept_is_read() {
    let (mut house, _) = full();
    let (idle, plain) = (house.portable(FIRST), house.plain(FIRST));
    house.message(plain);
    assert!(!house.custody.keeps_too_much(idle) && !house.custody.keeps_too_much(plain));
}

#[test]
fn what_is_given_up_is_not_kept() {
    let mut house = House::of(&[FIRST]);
    let route = house.portable(FIRST);
    house.large(route, 1000);
    let next = shovel_protocol::WorkerId(2);
    house.join_sibling(next, FIRST);
    house.offer(&[next]);
    house.die(FIRST, shovel_core::custody::Death::Ours);
    house.refuse(route);
    assert_eq!(house.custody.kept_bytes(), 0);
}
