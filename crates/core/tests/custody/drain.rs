//! A worker gives up what it has: what moves, what is closed and when, and what the fleet is told.

use std::time::Duration;

use shovel_core::custody::{Command, Death, Event, Phase, Route, UNDER_WAY};
use shovel_core::fleet::DrainReason;
use shovel_protocol::control::AdoptCause;

use crate::cell::SharedCell;
use crate::house::{FIRST, HANDLER_TIMEOUT, House, MOMENT, SECOND, settings};

const SLOW: Duration = Duration::from_millis(60);

fn closed(house: &House<SharedCell>, routes: &[Route]) -> usize {
    routes.iter().filter(|route| !house.get(**route).client.is_open).count()
}

fn phases(house: &House<SharedCell>, routes: &[Route], phase: Phase) -> usize {
    routes.iter().filter(|route| house.phase(**route) == phase).count()
}

#[test]
fn only_an_open_portable_connection_with_an_attachment_is_released() {
    let mut house = House::of(&[FIRST, SECOND]);
    let movable = house.portable(FIRST);
    let (plain, without) = (house.plain(FIRST), house.accept(FIRST, true));
    let closing = house.portable(FIRST);
    house.close(closing);
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    assert_eq!((house.releases(), house.phase(movable)), (1, Phase::Releasing));
    assert_eq!(closed(&house, &[plain, without]), 2);
    assert_eq!(house.phase(closing), Phase::Owned);
    let why = DrainReason::Reload;
    assert!(!house.told.contains(&Command::Finish { route: closing, why }), "it closes anyhow");
}

#[test]
fn an_upgrade_that_completes_on_a_draining_worker_moves_too() {
    for is_portable in [false, true] {
        let mut house = House::of(&[FIRST, SECOND]);
        let id = house.reserve(FIRST);
        house.offer(&[SECOND]);
        house.drain(FIRST, DrainReason::Reload);
        assert_eq!(house.tells_drained(FIRST), 0);
        let accepted = house.custody.accept(id, FIRST, crate::house::request(1), is_portable);
        let route = accepted.unwrap();
        let (_, connection) = house.custody.on_route_mut(route).unwrap();
        connection.attach(crate::house::attachment());
        house.obey();
        assert_eq!(house.releases(), usize::from(is_portable));
        assert_eq!(house.get(route).client.is_open, is_portable);
    }
}

#[test]
fn a_worker_that_began_to_drain_while_it_adopted_gives_it_up_when_it_has() {
    let mut house = House::of(&[FIRST, SECOND]);
    let route = house.portable(FIRST);
    house.offer(&[SECOND]);
    house.die(FIRST, Death::Ours);
    house.drain(SECOND, DrainReason::Reload);
    assert_eq!((house.phase(route), house.releases()), (Phase::Adopting, 0));
    house.adopt(route);
    assert_eq!((house.phase(route), house.releases()), (Phase::Releasing, 1));
}

#[test]
fn a_worker_is_told_of_once_and_never_while_it_holds_something() {
    let mut house = House::of(&[FIRST, SECOND]);
    let route = house.portable(FIRST);
    house.custody.begin_request(FIRST);
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    house.custody.answer_request(FIRST);
    house.obey();
    house.release(route);
    assert_eq!(house.tells_drained(FIRST), 0, "it has a request");
    house.custody.end_request(FIRST);
    house.obey();
    assert_eq!(house.tells_drained(FIRST), 1);
    house.drain(FIRST, DrainReason::Terminate);
    house.offer(&[FIRST, SECOND]);
    house.pass(Duration::from_secs(10));
    assert_eq!(house.tells_drained(FIRST), 1);
}

#[test]
fn what_was_told_to_have_nothing_left_is_given_nothing() {
    let mut house = House::of(&[FIRST, SECOND]);
    let route = house.portable(SECOND);
    house.offer(&[FIRST]);
    house.drain(FIRST, DrainReason::Recycle);
    assert_eq!(house.tells_drained(FIRST), 1);
    assert!(house.custody.nobody_takes_work());
    house.die(SECOND, Death::Ours);
    assert_eq!(house.phase(route), Phase::Unowned);
}

#[test]
fn farewells_are_spread_over_the_time_that_is_set() {
    let mut house = House::of(&[FIRST, SECOND]);
    let spread = Duration::from_secs(3);
    house.custody.configure(shovel_core::custody::Settings { close_spread: spread, ..settings() });
    let routes: Vec<_> = (0..300).map(|_| house.plain(FIRST)).collect();
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    let mut before = closed(&house, &routes);
    for _ in 0..3 {
        house.pass(spread / 3);
        let after = closed(&house, &routes);
        assert!((90..=110).contains(&(after - before)), "{} closed in a second", after - before);
        before = after;
    }
    assert_eq!(before, 300);
}

#[test]
fn a_connection_that_can_move_by_its_turn_is_not_closed() {
    let mut house = House::of(&[FIRST, SECOND]);
    let spread = Duration::from_secs(3);
    house.custody.configure(shovel_core::custody::Settings { close_spread: spread, ..settings() });
    let routes: Vec<_> = (0..10).map(|_| house.accept(FIRST, true)).collect();
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    let late = *routes.iter().find(|route| house.get(**route).client.is_open).unwrap();
    house.custody.on_route_mut(late).unwrap().1.attach(crate::house::attachment());
    house.pass(spread);
    assert_eq!((closed(&house, &routes), house.phase(late)), (9, Phase::Releasing));
}

#[test]
fn connections_are_closed_if_the_next_program_cannot_adopt() {
    let mut house = House::of(&[FIRST]);
    let route = house.portable(FIRST);
    house.join(SECOND, SharedCell::default());
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    assert_eq!((house.releases(), house.phase(route)), (0, Phase::Owned));
    assert_eq!(closed(&house, &[route]), 1);
}

#[test]
fn moves_under_way_are_bounded_and_slow_ones_do_not_count() {
    let mut house = House::of(&[FIRST, SECOND]);
    let routes: Vec<_> = (0..200).map(|_| house.portable(FIRST)).collect();
    let bound = UNDER_WAY as usize;
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    assert_eq!(house.releases(), bound);
    house.pass(Duration::from_millis(40));
    assert_eq!(house.releases(), bound);
    house.pass(Duration::from_millis(20));
    assert_eq!(house.releases(), 2 * bound);
    // One that is adopted makes room for the next.
    let is_asked = |route: &&Route| house.phase(**route) == Phase::Releasing;
    let next = *routes.iter().rfind(is_asked).unwrap();
    house.release(next);
    assert_eq!(house.releases(), 2 * bound);
    house.adopt(next);
    assert_eq!(house.releases(), 2 * bound + 1);
}

#[test]
fn slow_ones_that_come_back_at_once_are_adopted_as_there_is_room() {
    let mut house = House::of(&[FIRST, SECOND]);
    let routes: Vec<_> = (0..500).map(|_| house.portable(FIRST)).collect();
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    house.pass(SLOW * 10);
    assert_eq!(house.releases(), 500);
    house.pass(Duration::from_secs(1));
    routes.iter().for_each(|route| house.release(*route));
    assert_eq!(phases(&house, &routes, Phase::Adopting), UNDER_WAY as usize);
    for _ in 0..8 {
        for route in &routes {
            if house.phase(*route) == Phase::Adopting {
                house.adopt(*route);
            }
        }
    }
    assert_eq!(phases(&house, &routes, Phase::Owned), 500);
}

#[test]
fn whoever_does_not_let_go_is_told_once_and_then_told_of_again_and_again() {
    let mut house = House::of(&[FIRST, SECOND]);
    let route = house.portable(FIRST);
    house.message(route);
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    let connection = house.id(route);
    let worker = FIRST;
    let revokes = |house: &House<SharedCell>| {
        house.count(|told| *told == Command::Revoke { worker, connection })
    };
    let stuck =
        |house: &House<SharedCell>| house.count(|told| matches!(told, Command::Stuck { .. }));
    let first = Command::Stuck { worker, connection, is_first: true };
    house.pass(HANDLER_TIMEOUT - MOMENT);
    assert_eq!(revokes(&house), 0);
    house.pass(MOMENT * 2);
    assert_eq!((revokes(&house), stuck(&house)), (1, 0));
    house.pass(HANDLER_TIMEOUT - MOMENT * 2);
    assert_eq!(stuck(&house), 0);
    house.pass(Duration::from_millis(1100));
    assert_eq!((revokes(&house), stuck(&house)), (1, 6));
    assert_eq!(house.count(|told| *told == first), 1);
    house.try_release(route, 0, 1).unwrap();
    house.pass(Duration::from_secs(5));
    assert_eq!(stuck(&house), 6);
}

#[test]
fn when_the_time_is_up_only_what_can_move_is_not_cut_off() {
    let mut house = House::of(&[FIRST, SECOND]);
    let (movable, plain) = (house.portable(FIRST), house.plain(FIRST));
    house.message(movable);
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    house.happens(Event::TimeUp { worker: FIRST });
    assert!(house.is_there(movable) && !house.is_there(plain));
}

#[test]
fn a_worker_that_falls_asleep_leaves_its_connections_without_an_owner_until_one_is_needed() {
    let mut house = House::of(&[FIRST, SECOND]);
    let (idle, busy) = (house.portable(FIRST), house.portable(FIRST));
    let plain = house.plain(FIRST);
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Sleep);
    assert!(house.get(plain).client.is_open, "it keeps its worker awake");
    house.message(busy);
    house.release(idle);
    house.release(busy);
    assert_eq!((house.phase(idle), house.phase(busy)), (Phase::Unowned, Phase::Adopting));
    assert_eq!(house.adoptions(), [(SECOND, AdoptCause::Wake)]);
    house.pass(Duration::from_secs(3600));
    assert_eq!(house.phase(idle), Phase::Unowned);
    house.message(idle);
    assert_eq!(house.adoptions(), [(SECOND, AdoptCause::Wake)]);
    house.custody.remove(house.id(plain));
    house.pass(Duration::ZERO);
    assert_eq!(house.tells_drained(FIRST), 1);
}

#[test]
fn a_close_wakes_a_worker() {
    let mut house = House::of(&[FIRST, SECOND]);
    let route = house.portable(FIRST);
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Sleep);
    house.release(route);
    house.close(route);
    assert_eq!(house.owner(route), Some(SECOND));
}
