//! From one worker to the next: what comes again, how it is marked, whose word counts.

use shovel_core::custody::{Command, Death, GiveUpCause, Left, Loss, OutOfTurn, Phase, Route};
use shovel_core::fleet::DrainReason;
use shovel_protocol::control::AdoptCause;

use crate::cell::SharedCell;
use crate::house::{ADOPT_TIMEOUT, FIRST, HANDLER_TIMEOUT, House, MOMENT, SECOND, THIRD};

fn house() -> House<SharedCell> {
    House::of(&[FIRST, SECOND, THIRD])
}

/// A connection that the first worker is to give up for the second.
fn releasing(house: &mut House<SharedCell>, messages: usize) -> Route {
    let route = house.portable(FIRST);
    house.messages(route, messages);
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    house.given.clear();
    route
}

/// A connection that the second worker is to take over.
fn adopting(house: &mut House<SharedCell>) -> Route {
    let route = house.portable(FIRST);
    house.offer(&[SECOND]);
    house.die(FIRST, Death::Ours);
    assert_eq!(house.phase(route), Phase::Adopting);
    route
}

/// The same, told to answer at once.
fn revoked(house: &mut House<SharedCell>) -> Route {
    let route = adopting(house);
    house.pass(ADOPT_TIMEOUT + MOMENT);
    assert_eq!(house.count(|told| matches!(told, Command::Revoke { .. })), 1);
    route
}

/// What a release or adopt handler did, as it was let out.
fn acts(house: &House<SharedCell>) -> Vec<u32> {
    let mut all = Vec::new();
    for told in &house.told {
        if let Command::Act { acts, .. } = told {
            all.extend(acts);
        }
    }
    all
}

#[test]
fn what_was_not_begun_comes_again_unmarked() {
    let mut house = house();
    let route = releasing(&mut house, 3);
    house.commit(route, 1);
    house.told.clear();
    house.release(route);
    assert!(house.given(route).is_empty(), "before it is adopted");
    assert!(house.told.contains(&Command::CountReleased { cut: false }));
    assert_eq!(house.adoptions(), [(SECOND, AdoptCause::Reload)]);
    house.adopt(route);
    assert_eq!(house.given(route), [(2, false, false), (3, false, false)]);
}

#[test]
fn what_was_cut_comes_again_marked_and_what_it_did_does_not_happen() {
    let mut house = house();
    let route = releasing(&mut house, 3);
    house.stage(route, 7);
    house.try_release(route, 0, 1).unwrap();
    assert!(house.told.contains(&Command::CountReleased { cut: true }));
    house.adopt(route);
    assert_eq!(house.given(route), [(1, true, false)]);
    house.commit(route, 1);
    assert_eq!(house.given(route), [(2, false, false), (3, false, false)]);
    assert!(acts(&house).is_empty());
}

#[test]
fn what_the_release_hook_and_the_adopt_handler_did_is_let_out() {
    let mut house = house();
    let route = releasing(&mut house, 0);
    house.stage(route, 7);
    house.release(route);
    assert_eq!(acts(&house), [7]);
    house.stage(route, 8);
    house.adopt(route);
    assert_eq!(acts(&house), [7, 8]);
}

#[test]
fn the_lease_changes_with_each_tenure() {
    let mut house = house();
    let route = releasing(&mut house, 1);
    let stale = house.id(route);
    house.release(route);
    assert_ne!(house.id(route), stale);
    assert_eq!(house.custody.commit(stale, FIRST, None), Ok(None));
    assert_eq!(house.custody.stage(stale, FIRST), Ok(None));
    assert_eq!(house.custody.route(stale), None);
}

#[test]
fn a_release_must_agree_with_the_commits() {
    let mut house = house();
    let route = releasing(&mut house, 3);
    house.commit(route, 1);
    for (handled, started) in [(0, 0), (0, 1), (2, 2), (1, 0), (1, 4)] {
        assert_eq!(house.try_release(route, handled, started), Err(OutOfTurn::Disagrees));
        assert_eq!(house.phase(route), Phase::Releasing);
    }
    assert_eq!(house.try_release(route, 1, 3), Ok(true));
}

#[test]
fn nothing_is_given_up_or_taken_over_that_nobody_asked_for() {
    let mut house = house();
    let owned = house.portable(SECOND);
    assert_eq!(house.try_release(owned, 0, 0), Err(OutOfTurn::Unasked));
    assert_eq!(house.try_adopt(owned, true), Err(OutOfTurn::Unasked));
    let releasing = releasing(&mut house, 0);
    assert_eq!(house.try_adopt(releasing, true), Err(OutOfTurn::Unasked));
    house.release(releasing);
    assert_eq!(house.try_release(releasing, 0, 0), Err(OutOfTurn::Unasked));
}

#[test]
fn a_revoke_that_crosses_the_adoption_may_still_be_answered() {
    let mut house = house();
    let route = revoked(&mut house);
    house.adopt(route);
    house.messages(route, 2);
    house.commit(route, 1);
    house.offer(&[THIRD]);
    assert_eq!(house.try_release(route, 1, 2), Ok(true));
    assert_eq!(house.owner(route), Some(THIRD));
    house.given.clear();
    house.adopt(route);
    assert_eq!(house.given(route), [(2, true, false)]);
    assert_eq!(house.try_release(route, 1, 1), Err(OutOfTurn::Unasked));
}

#[test]
fn a_revoke_that_crosses_a_refusal_may_still_be_answered() {
    let mut house = house();
    let route = revoked(&mut house);
    house.refuse(route);
    house.offer(&[THIRD]);
    assert_eq!(house.try_release(route, 0, 0), Ok(true));
    house.given.clear();
    house.adopt(route);
    assert_eq!(house.given(route), [(1, false, false)]);
    assert_eq!(house.commit(route, 1), Left::Closed);
}

#[test]
fn a_crash_undoes_what_the_running_handler_did_and_brings_its_message_again() {
    let mut house = house();
    let route = house.portable(FIRST);
    house.messages(route, 3);
    house.commit(route, 1);
    house.stage(route, 7);
    house.offer(&[SECOND]);
    house.die(FIRST, Death::Fault);
    house.messages(route, 1);
    house.given.clear();
    assert_eq!(house.adoptions(), [(SECOND, AdoptCause::Crash)]);
    house.adopt(route);
    assert!(acts(&house).is_empty());
    assert_eq!(house.given(route), [(2, true, false)]);
    assert!(house.try_commit(route, Some(2)).unwrap().0.is_empty());
    house.commit(route, 3);
    assert_eq!(house.given(route), [(3, true, false), (4, false, false)]);
}

#[test]
fn a_mark_outlives_another_crash_and_a_planned_move() {
    let mut house = house();
    let route = house.portable(FIRST);
    house.messages(route, 2);
    house.flush(route);
    house.offer(&[SECOND]);
    house.die(FIRST, Death::Ours);
    // This one dies adopting and taints nothing.
    house.offer(&[THIRD]);
    house.die(SECOND, Death::Ours);
    house.adopt(route);
    house.join_sibling(FIRST, THIRD);
    house.offer(&[FIRST]);
    house.drain(THIRD, DrainReason::Recycle);
    house.release(route);
    house.given.clear();
    house.adopt(route);
    assert_eq!(house.given(route), [(1, true, true)]);
    house.commit(route, 1);
    assert_eq!(house.given(route), [(2, true, false)]);
}

#[test]
fn whoever_dies_adopting_taints_nothing() {
    let mut house = house();
    let route = adopting(&mut house);
    house.messages(route, 1);
    house.stage(route, 7);
    house.offer(&[THIRD]);
    house.die(SECOND, Death::Fault);
    house.adopt(route);
    assert!(acts(&house).is_empty());
    assert_eq!(house.given(route), [(1, false, false)]);
}

#[test]
fn what_cannot_move_is_lost_with_its_worker() {
    let mut house = house();
    let (plain, without) = (house.plain(FIRST), house.accept(FIRST, true));
    house.messages(without, 1);
    house.die(FIRST, Death::Fault);
    for route in [plain, without] {
        assert!(house.told.contains(&Command::End {
            route,
            loss: Loss::WorkerDied,
            worker: Some(FIRST)
        }));
        assert!(!house.is_there(route));
    }
}

#[test]
fn messages_from_before_the_first_attachment_come_again_too() {
    let mut house = house();
    let route = house.accept(FIRST, true);
    house.messages(route, 2);
    house.custody.on_route_mut(route).unwrap().1.attach(crate::house::attachment());
    house.commit(route, 1);
    house.offer(&[SECOND]);
    house.die(FIRST, Death::Fault);
    house.given.clear();
    house.adopt(route);
    assert_eq!(house.given(route), [(2, true, false)]);
}

#[test]
fn whoever_refuses_it_has_it_for_its_close_alone() {
    let mut house = house();
    let route = house.portable(FIRST);
    house.messages(route, 2);
    house.commit(route, 1);
    house.offer(&[SECOND]);
    house.die(FIRST, Death::Fault);
    house.messages(route, 1);
    house.stage(route, 7);
    house.given.clear();
    house.refuse(route);
    let (cause, worker, was_closed) = (GiveUpCause::Refused, Some(SECOND), false);
    let give_up = Command::GiveUp { route, cause, given_up: 2, worker, was_closed };
    assert!(house.told.contains(&give_up) && acts(&house).is_empty());
    assert!(!house.message(route));
    assert_eq!(house.get(route).committed(), 1, "nobody has finished what was given up");
    assert_eq!(house.given(route), [(4, false, false)]);
    assert_eq!(house.try_commit(route, Some(4)), Ok((Vec::new(), Left::Closed)));
}

#[test]
fn a_refusal_after_the_clients_close_keeps_that_close() {
    let mut house = house();
    let route = adopting(&mut house);
    house.messages(route, 1);
    house.close(route);
    house.refuse(route);
    assert_eq!(house.given(route), [(2, false, false)]);
    let was_told =
        |told: &crate::house::Told| matches!(told, Command::GiveUp { was_closed: true, .. });
    assert_eq!(house.count(was_told), 1);
}

#[test]
fn a_close_event_comes_again_if_its_owner_dies_in_it() {
    let mut house = house();
    let route = house.portable(FIRST);
    house.close(route);
    assert_eq!(house.given(route), [(1, false, false)]);
    house.offer(&[SECOND]);
    house.die(FIRST, Death::Fault);
    house.adopt(route);
    assert_eq!(house.given(route), [(1, true, false)]);
    assert_eq!(house.commit(route, 1), Left::Closed);
}

#[test]
fn what_arrives_while_it_is_given_up_waits_for_the_next_owner() {
    let mut house = house();
    let route = releasing(&mut house, 0);
    house.messages(route, 1);
    house.close(route);
    assert!(house.given(route).is_empty());
    house.release(route);
    house.adopt(route);
    assert_eq!(house.given(route), [(1, false, false), (2, false, false)]);
}

#[test]
fn one_that_was_to_be_released_by_a_dead_worker_is_orphaned() {
    let mut house = house();
    let route = releasing(&mut house, 1);
    house.pass(HANDLER_TIMEOUT * 2);
    house.die(FIRST, Death::Ours);
    house.adopt(route);
    assert_eq!(house.given(route), [(1, true, false)]);
}
