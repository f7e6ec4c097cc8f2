//! Messages in, handlers' acts out: what is handed over, what a commit lets out, the close.

use shovel_core::custody::{Closing, Left, OutOfTurn, Phase, Route};
use shovel_core::fleet::DrainReason;
use shovel_protocol::limits::CONNECTION_WINDOW_BYTES as WINDOW_BYTES;

use crate::cell::SharedCell;
use crate::house::{FIRST, House, SECOND};

fn house() -> House<SharedCell> {
    House::of(&[FIRST, SECOND])
}

/// A connection of each state in which a message is kept for later.
fn between_workers(house: &mut House<SharedCell>) -> [Route; 3] {
    let routes = [house.portable(FIRST), house.portable(FIRST), house.portable(FIRST)];
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    house.release(routes[1]);
    house.offer(&[]);
    house.release(routes[2]);
    let phases = routes.map(|route| house.phase(route));
    assert_eq!(phases, [Phase::Releasing, Phase::Adopting, Phase::Unowned]);
    routes
}

#[test]
fn messages_are_taken_in_whoever_has_it_and_handed_over_only_to_an_owner() {
    let mut house = house();
    for route in between_workers(&mut house) {
        house.messages(route, 1);
        assert!(house.numbers(route).is_empty() && !house.get(route).is_idle());
    }
    let route = house.portable(SECOND);
    house.messages(route, 1);
    assert_eq!(house.given(route), [(1, false, false)]);
}

#[test]
fn the_window_closes_and_a_commit_opens_it() {
    for is_portable in [false, true] {
        let mut house = house();
        let route = house.accept(FIRST, is_portable);
        assert!(house.large(route, 10) && house.get(route).has_room());
        assert!(house.large(route, WINDOW_BYTES) && !house.get(route).has_room());
        assert_eq!(house.commit(route, 1), Left::Some { has_room: false });
        assert_eq!(house.commit(route, 2), Left::Nothing);
        assert!(house.get(route).has_room());
    }
}

#[test]
fn a_message_larger_than_the_window_goes_alone() {
    let mut house = house();
    let route = house.plain(FIRST);
    assert!(house.large(route, 64 * WINDOW_BYTES) && !house.get(route).has_room());
    assert_eq!(house.try_commit(route, None).unwrap().1, Left::Nothing);
    assert!(house.get(route).has_room());
}

#[test]
fn many_empty_messages_close_the_window_too() {
    for is_portable in [false, true] {
        let mut house = house();
        let route = house.accept(FIRST, is_portable);
        let taken = (0..1_000_000).take_while(|_| {
            house.large(route, 0);
            house.get(route).has_room()
        });
        let taken = taken.count();
        assert!(taken < 10_000, "{taken} empty messages were taken in");
    }
}

#[test]
fn a_commit_is_cumulative_and_never_goes_back() {
    let mut house = house();
    let route = house.portable(FIRST);
    house.messages(route, 3);
    assert_eq!(house.commit(route, 3), Left::Nothing);
    assert_eq!(house.commit(route, 1), Left::Nothing);
    assert_eq!(house.get(route).committed(), 3);
    assert_eq!(house.try_commit(route, Some(4)), Err(OutOfTurn::Beyond));
    assert_eq!(house.try_commit(route, None), Err(OutOfTurn::Beyond));
}

#[test]
fn only_what_was_handed_over_can_be_committed() {
    let mut house = house();
    let [releasing, adopting, _] = between_workers(&mut house);
    house.messages(releasing, 1);
    assert_eq!(house.try_commit(releasing, Some(1)), Err(OutOfTurn::Beyond));
    assert_eq!(house.try_commit(adopting, Some(0)), Err(OutOfTurn::Adopting));
}

#[test]
fn a_commit_lets_out_what_was_staged_in_order_and_once() {
    for seq in [1, 2] {
        let mut house = house();
        let route = house.portable(FIRST);
        house.messages(route, 2);
        house.stage(route, 7);
        house.stage(route, 8);
        assert_eq!(house.try_commit(route, Some(seq)).unwrap().0, [7, 8]);
        assert!(house.try_commit(route, Some(seq)).unwrap().0.is_empty());
    }
}

#[test]
fn what_is_under_way_may_be_committed_while_it_is_given_up() {
    let mut house = house();
    let route = house.portable(FIRST);
    house.messages(route, 2);
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    house.stage(route, 7);
    assert_eq!(house.try_commit(route, Some(1)).unwrap().0, [7]);
    assert_eq!((house.get(route).committed(), house.phase(route)), (1, Phase::Releasing));
}

#[test]
fn acts_wait_for_a_commit_only_where_an_event_may_come_again() {
    let mut house = house();
    let plain = house.plain(FIRST);
    let id = house.id(plain);
    assert_eq!(house.custody.stage(id, FIRST), Err(OutOfTurn::NotPortable));
    assert_eq!(house.custody.act(id, FIRST, false), Ok(true));
    let [releasing, adopting, _] = between_workers(&mut house);
    for route in [releasing, adopting, house.portable(SECOND)] {
        house.stage(route, 7);
        let (id, owner) = (house.id(route), house.owner(route).unwrap());
        assert_eq!(house.custody.act(id, owner, false), Ok(true));
    }
}

#[test]
fn the_close_is_the_last_event_and_comes_once() {
    let mut house = house();
    let plain = house.plain(FIRST);
    house.messages(plain, 1);
    assert_eq!(house.close(plain), Closing::HandOver(2));
    assert_eq!(house.close(plain), Closing::Nothing);
    assert!(!house.message(plain));
    assert_eq!(house.commit(plain, 1), Left::Some { has_room: false });
    assert_eq!(house.commit(plain, 2), Left::Closed);

    let owned = house.portable(SECOND);
    for route in between_workers(&mut house).into_iter().chain([owned]) {
        assert_eq!(house.close(route), Closing::Kept);
        assert_eq!(house.close(route), Closing::Nothing);
        assert!(!house.message(route));
        let connection = house.get(route);
        assert!(connection.is_closed() && !connection.has_room() && !connection.is_idle());
    }
}

#[test]
fn a_full_window_does_not_hold_back_the_close() {
    let mut house = house();
    let route = house.portable(FIRST);
    house.large(route, WINDOW_BYTES);
    assert_eq!(house.close(route), Closing::Kept);
    assert_eq!(house.numbers(route), [1, 2]);
    assert_eq!(house.commit(route, 2), Left::Closed);
}

/// The owner is replaced, having begun nothing that is not known, and the next adopts.
fn crash(house: &mut House<SharedCell>, route: Route) {
    let owner = house.owner(route).unwrap();
    let next = shovel_protocol::WorkerId(owner.0 + 2);
    house.join_sibling(next, owner);
    house.offer(&[next]);
    house.die(owner, shovel_core::custody::Death::Ours);
    house.given.clear();
    house.adopt(route);
}

#[test]
fn a_flush_marks_the_event_that_runs_and_no_other() {
    let mut house = house();
    let route = house.portable(FIRST);
    house.messages(route, 2);
    house.commit(route, 1);
    house.flush(route);
    house.messages(route, 1);
    crash(&mut house, route);
    assert_eq!(house.given(route), [(2, true, true)]);
    house.commit(route, 2);
    assert_eq!(house.given(route), [(3, true, false)]);
}

#[test]
fn a_flush_without_an_event_under_way_marks_nothing() {
    let mut house = house();
    let [releasing, adopting, _] = between_workers(&mut house);
    let owned = house.portable(SECOND);
    for route in [releasing, adopting, owned] {
        // By a release hook, by an adopt handler, by a task beside the handlers.
        house.flush(route);
    }
    house.offer(&[SECOND]);
    house.adopt(adopting);
    house.release(releasing);
    house.adopt(releasing);
    for route in [releasing, adopting, owned] {
        house.messages(route, 1);
        assert_eq!(house.given(route), [(1, false, false)]);
    }
    crash(&mut house, owned);
    assert_eq!(house.given(owned), [(1, true, false)], "nor when it comes again");
}

#[test]
fn a_send_beside_the_handlers_marks_nothing() {
    let mut house = house();
    let route = house.portable(FIRST);
    house.messages(route, 1);
    let id = house.id(route);
    assert_eq!(house.custody.act(id, FIRST, false), Ok(true));
    crash(&mut house, route);
    assert_eq!(house.given(route), [(1, true, false)]);
}
