//! From the reservation to the upgrade, and out of the table again.

use shovel_core::custody::{Closing, LateUpgrade, OutOfTurn, Phase};

use crate::house::{FIRST, House, SECOND, attachment, bye, request};

#[test]
fn a_stale_id_takes_nothing_out() {
    let mut house = House::of(&[FIRST]);
    let first = house.plain(FIRST);
    let stale = house.id(first);
    assert!(house.custody.remove(stale).is_some());
    let second = house.plain(FIRST);
    assert_eq!(house.id(second).0.slot, stale.0.slot);
    assert!(house.custody.remove(stale).is_none());
    assert_eq!((house.phase(second), house.owner(second)), (Phase::Owned, Some(FIRST)));
    assert!(house.message(second) && !house.is_there(first));
}

#[test]
fn a_connection_is_accepted_once_and_only_by_whoever_was_offered_it_with_this_request() {
    let mut house = House::of(&[FIRST, SECOND]);
    let id = house.reserve(FIRST);
    assert_eq!(house.custody.accept(id, SECOND, request(1), true), None);
    assert_eq!(house.custody.accept(id, FIRST, request(2), true), None);
    let route = house.custody.accept(id, FIRST, request(1), true).unwrap();
    assert_eq!(house.custody.accept(id, FIRST, request(1), false), None);
    assert!(house.get(route).is_portable());
}

#[test]
fn nothing_is_taken_in_before_it_is_accepted() {
    let mut house = House::of(&[FIRST]);
    let id = house.reserve(FIRST);
    let route = house.custody.route(id).unwrap();
    assert!(!house.message(route) && !house.get(route).has_room());
    assert_eq!(house.close(route), Closing::Nothing);
}

#[test]
fn nothing_may_be_done_to_it_before_it_is_accepted() {
    let mut house = House::of(&[FIRST]);
    let id = house.reserve(FIRST);
    let route = house.custody.route(id).unwrap();
    assert_eq!(house.custody.stage(id, FIRST), Err(OutOfTurn::Offered));
    assert_eq!(house.custody.act(id, FIRST, false), Err(OutOfTurn::Offered));
    assert_eq!(house.try_commit(route, Some(0)), Err(OutOfTurn::Offered));
    assert_eq!(house.try_commit(route, None), Err(OutOfTurn::Offered));
    assert_eq!(house.try_release(route, 0, 0), Err(OutOfTurn::Offered));
    assert_eq!(house.try_adopt(route, true), Err(OutOfTurn::Offered));
    assert_eq!(house.phase(route), Phase::Offered);
}

#[test]
fn what_is_not_portable_has_no_attachment() {
    let mut house = House::of(&[FIRST]);
    let (plain, portable) = (house.plain(FIRST), house.portable(FIRST));
    house.custody.on_route_mut(plain).unwrap().1.attach(attachment());
    assert_eq!(house.get(plain).attachment(), None);
    assert_eq!(house.get(portable).attachment(), Some(&attachment()));
    assert!(!house.get(plain).can_move() && house.get(portable).can_move());
}

#[test]
fn an_upgrade_that_finds_no_reservation_is_told_why() {
    let mut house = House::of(&[FIRST]);
    for why in [LateUpgrade::ClientGone, LateUpgrade::TimedOut, LateUpgrade::Refused] {
        let id = house.reserve(FIRST);
        assert!(house.custody.withdraw(id, why).is_some());
        assert_eq!(house.custody.accept(id, FIRST, request(1), true), None);
        assert_eq!(house.custody.late_upgrade(id), why);
    }
    let never = house.reserve(FIRST);
    assert_eq!(house.custody.late_upgrade(never), LateUpgrade::TimedOut);
}

#[test]
fn a_reservation_that_was_taken_cannot_be_given_up() {
    let mut house = House::of(&[FIRST]);
    let route = house.portable(FIRST);
    let id = house.id(route);
    assert!(house.custody.withdraw(id, LateUpgrade::TimedOut).is_none());
    assert!(house.message(route));
}

#[test]
fn a_reservation_ends_with_its_worker() {
    let mut house = House::of(&[FIRST]);
    let id = house.reserve(FIRST);
    let route = house.custody.route(id).unwrap();
    house.die(FIRST, shovel_core::custody::Death::Fault);
    assert!(!house.is_there(route));
}

#[test]
fn nobody_elses_frames_count() {
    let mut house = House::of(&[FIRST, SECOND]);
    let route = house.portable(FIRST);
    house.message(route);
    let id = house.id(route);
    let now = house.now;
    assert_eq!(house.custody.stage(id, SECOND), Ok(None));
    assert_eq!(house.custody.act(id, SECOND, true), Ok(false));
    assert_eq!(house.custody.commit(id, SECOND, None), Ok(None));
    assert_eq!(house.custody.released(id, SECOND, (0, 0), now), Ok(false));
    assert_eq!(house.custody.adopted(id, SECOND, true, now), Ok(false));
    assert!(house.get(route).is_handling());
    assert_eq!(house.custody.close(route, bye()), Closing::Kept);
}
