//! The pool ends: who is told last, who still moves, who is not needed.

use std::time::Duration;

use shovel_core::custody::{Command, Death, Event, Loss, Phase};
use shovel_core::fleet::DrainReason;
use shovel_protocol::{CloseCode, WorkerId};

use crate::cell::SharedCell;
use crate::house::{FIRST, HANDLER_TIMEOUT, House, MOMENT, OWNER_WAIT, SECOND};

/// The pool ends in the middle of a reload from the first worker to the second.
fn end(house: &mut House<SharedCell>) {
    house.happens(Event::EndBegan);
    for worker in [FIRST, SECOND] {
        house.drain(worker, DrainReason::Terminate);
    }
}

fn reloading(connections: usize) -> (House<SharedCell>, Vec<shovel_core::custody::Route>) {
    let mut house = House::of(&[FIRST, SECOND]);
    let routes: Vec<_> = (0..connections).map(|_| house.portable(FIRST)).collect();
    routes.iter().for_each(|route| house.messages(*route, 2));
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    assert_eq!(house.releases(), connections);
    (house, routes)
}

fn is_told(house: &House<SharedCell>, worker: WorkerId) -> bool {
    house.tells_drained(worker) > 0
}

#[test]
fn what_was_read_is_handled_by_the_workers_that_were_to_take_over() {
    let (mut house, routes) = reloading(10);
    end(&mut house);
    assert!(!is_told(&house, SECOND), "it has nothing, but is needed");
    for route in &routes {
        house.commit(*route, 1);
        house.release(*route);
        assert_eq!(house.owner(*route), Some(SECOND));
    }
    assert!(is_told(&house, FIRST) && !is_told(&house, SECOND));
    for route in &routes {
        house.adopt(*route);
        assert_eq!(house.numbers(*route), [1, 2, 2]);
        house.commit(*route, 2);
        house.close(*route);
        house.commit(*route, 3);
        assert!(!house.is_there(*route));
    }
    assert!(is_told(&house, SECOND));
}

#[test]
fn whoever_may_hear_of_a_close_is_told_last() {
    let mut house = House::of(&[FIRST, SECOND]);
    let route = house.portable(FIRST);
    house.offer(&[SECOND]);
    end(&mut house);
    assert_eq!(house.count(|told| matches!(told, Command::Finish { .. })), 1);
    house.close(route);
    house.die(FIRST, Death::Fault);
    assert_eq!(house.owner(route), Some(SECOND));
    assert!(!is_told(&house, SECOND));
    house.adopt(route);
    house.commit(route, 1);
    assert_eq!(house.tells_drained(SECOND), 1);
}

#[test]
fn whoever_cannot_adopt_is_not_needed() {
    let mut house = House::new(0);
    house.join(FIRST, SharedCell::default());
    house.join(SECOND, SharedCell::default());
    house.offer(&[FIRST, SECOND]);
    house.plain(FIRST);
    end(&mut house);
    assert!(is_told(&house, SECOND) && !is_told(&house, FIRST));
}

#[test]
fn a_worker_that_was_needed_is_told_when_the_last_connection_is_lost() {
    let (mut house, routes) = reloading(1);
    end(&mut house);
    house.release(routes[0]);
    // Nobody answers.
    house.offer(&[]);
    house.offer(&[SECOND]);
    let id = house.id(routes[0]);
    house.custody.remove(id);
    house.pass(Duration::ZERO);
    assert_eq!((house.tells_drained(FIRST), house.tells_drained(SECOND)), (1, 1));
}

#[test]
fn a_connection_without_an_owner_and_without_anything_to_handle_ends_at_once() {
    let mut house = House::of(&[FIRST, SECOND]);
    let (idle, busy) = (house.portable(FIRST), house.portable(FIRST));
    house.offer(&[]);
    house.drain(FIRST, DrainReason::Sleep);
    house.release(idle);
    house.release(busy);
    house.message(busy);
    house.happens(Event::EndBegan);
    let ends: Vec<_> = house
        .told()
        .into_iter()
        .filter_map(|told| if let Command::End { loss, .. } = told { Some(loss) } else { None })
        .collect();
    // Nobody is offered, so that the other one has nobody to wait for either.
    assert_eq!(ends, [Loss::End, Loss::End]);
    assert_eq!(ends[0].close().code, CloseCode::GOING_AWAY);
    assert!(house.custody.is_empty());
}

#[test]
fn one_that_has_something_to_handle_is_adopted_though_the_pool_ends() {
    let mut house = House::of(&[FIRST, SECOND]);
    let route = house.portable(FIRST);
    house.offer(&[]);
    house.drain(FIRST, DrainReason::Sleep);
    house.release(route);
    house.happens(Event::Offered { workers: vec![SECOND] });
    house.happens(Event::EndBegan);
    assert!(!house.is_there(route), "it had nothing to handle");

    let (mut house, routes) = reloading(1);
    house.offer(&[]);
    house.release(routes[0]);
    assert_eq!(house.phase(routes[0]), Phase::Unowned);
    house.happens(Event::Offered { workers: vec![SECOND] });
    end(&mut house);
    assert_eq!(house.owner(routes[0]), Some(SECOND));
}

#[test]
fn nobody_begins_to_move_when_the_pool_ends() {
    let mut house = House::of(&[FIRST, SECOND]);
    let mut settings = crate::house::settings();
    settings.close_spread = Duration::from_secs(3);
    house.custody.configure(settings);
    let (portable, plain) = (house.portable(FIRST), house.plain(FIRST));
    end(&mut house);
    assert_eq!((house.releases(), house.phase(portable)), (0, Phase::Owned));
    assert!(!house.get(plain).client.is_open && !house.get(portable).client.is_open);
    let why = DrainReason::Terminate;
    for route in [portable, plain] {
        assert!(house.told.contains(&Command::Finish { route, why }));
    }
}

#[test]
fn farewells_that_were_spread_come_at_once_when_the_pool_ends() {
    let mut house = House::of(&[FIRST, SECOND]);
    let mut settings = crate::house::settings();
    settings.close_spread = Duration::from_secs(3);
    house.custody.configure(settings);
    let routes: Vec<_> = (0..30).map(|_| house.plain(FIRST)).collect();
    house.offer(&[SECOND]);
    house.drain(FIRST, DrainReason::Reload);
    house.pass(MOMENT);
    assert!(routes.iter().filter(|route| !house.get(**route).client.is_open).count() < 5);
    end(&mut house);
    assert!(routes.iter().all(|route| !house.get(*route).client.is_open));
}

#[test]
fn a_handler_that_does_not_end_is_cut_off_when_the_time_is_up() {
    let (mut house, routes) = reloading(2);
    end(&mut house);
    house.pass(HANDLER_TIMEOUT + MOMENT);
    house.happens(Event::TimeUp { worker: FIRST });
    assert!(routes.iter().all(|route| !house.is_there(*route)));
    assert_eq!(house.count(|told| matches!(told, Command::CutOff { .. })), 2);
    assert_eq!((house.tells_drained(FIRST), house.tells_drained(SECOND)), (1, 1));
    house.pass(OWNER_WAIT);
}

#[test]
fn whoever_ends_with_a_worker_that_is_killed_at_the_end_is_told_of_the_end() {
    for (is_ending, code) in [(true, CloseCode::GOING_AWAY), (false, CloseCode::INTERNAL_ERROR)] {
        let mut house = House::of(&[FIRST]);
        let route = house.plain(FIRST);
        if is_ending {
            end(&mut house);
        }
        house.die(FIRST, Death::Ours);
        let closes = house.told().into_iter().filter_map(|told| match told {
            Command::End { route: its, loss, .. } if its == route => Some(loss.close().code),
            _ => None,
        });
        assert_eq!(closes.collect::<Vec<_>>(), [code]);
    }
}
