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
    assert_eq!(ends(&mut house), [Loss::End]);
    assert_eq!(Loss::End.close().code, CloseCode::GOING_AWAY);
    assert!(!house.is_there(idle) && house.is_there(busy), "the other one waits for a worker");
}

fn ends(house: &mut House<SharedCell>) -> Vec<Loss> {
    let told = house.told().into_iter();
    told.filter_map(|told| if let Command::End { loss, .. } = told { Some(loss) } else { None })
        .collect()
}

/// The only worker is dead, and had something to handle, when the pool ends.
fn left_alone() -> (House<SharedCell>, shovel_core::custody::Route) {
    let mut house = House::of(&[FIRST]);
    let route = house.portable(FIRST);
    house.message(route);
    house.die(FIRST, Death::Fault);
    house.offer(&[]);
    house.told();
    house.happens(Event::EndBegan);
    (house, route)
}

#[test]
fn a_worker_is_asked_for_as_long_as_the_end_has_something_to_handle() {
    let (mut house, route) = left_alone();
    let asks = |house: &House<SharedCell>| house.count(|told| *told == Command::WorkWanted);
    let before = asks(&house);
    house.pass(Duration::from_secs(1));
    assert!(asks(&house) > before, "it asks again");
    house.join(SECOND, SharedCell::able());
    house.offer(&[SECOND]);
    house.drain(SECOND, DrainReason::Terminate);
    assert_eq!(house.owner(route), Some(SECOND));
    house.adopt(route);
    house.commit(route, 1);
    house.close(route);
    assert_eq!(house.count(|told| *told == Command::Emptied), 0);
    house.commit(route, 2);
    assert_eq!(house.count(|told| *told == Command::Emptied), 1);
    assert!(is_told(&house, SECOND));
}

#[test]
fn what_waits_for_a_worker_ends_when_nobody_comes_any_more() {
    let (mut house, route) = left_alone();
    house.told();
    house.happens(Event::WaitsEnded);
    assert_eq!(ends(&mut house), [Loss::End]);
    assert!(!house.is_there(route));
    // Nor does anything wait that loses its worker later.
    let (mut house, _) = reloading(1);
    end(&mut house);
    house.happens(Event::WaitsEnded);
    house.offer(&[]);
    house.told();
    house.die(FIRST, Death::Ours);
    assert_eq!(ends(&mut house), [Loss::End]);
}

#[test]
fn it_is_empty_once_when_nothing_is_left_and_nothing_is_asked() {
    let mut house = House::of(&[FIRST]);
    let emptied = |house: &House<SharedCell>| house.count(|told| *told == Command::Emptied);
    house.custody.begin_asking();
    house.happens(Event::EndBegan);
    house.drain(FIRST, DrainReason::Terminate);
    assert_eq!(emptied(&house), 0, "a request may have to be asked of another worker");
    assert!(!is_told(&house, FIRST));
    house.custody.end_asking();
    house.obey();
    assert_eq!(emptied(&house), 1);
    assert!(is_told(&house, FIRST));
    house.happens(Event::EndBegan);
    house.pass(OWNER_WAIT);
    assert_eq!(emptied(&house), 1);
    // A pool without anything is empty at once.
    let mut house = House::of(&[FIRST]);
    house.happens(Event::EndBegan);
    assert_eq!(emptied(&house), 1);
}

/// It was about to sleep, and nobody is woken for it.
#[test]
fn a_connection_that_falls_asleep_as_the_pool_ends_ends_with_its_worker() {
    for (is_busy, phase) in [(false, None), (true, Some(Phase::Unowned))] {
        let mut house = House::of(&[FIRST]);
        let route = house.portable(FIRST);
        house.offer(&[]);
        house.drain(FIRST, DrainReason::Sleep);
        if is_busy {
            house.message(route);
        }
        house.happens(Event::EndBegan);
        house.drain(FIRST, DrainReason::Terminate);
        house.release(route);
        let found = house.custody.on_route(route).map(|(_, its)| its.phase());
        assert_eq!(found, phase);
    }
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

/// docs/wire.md, "Taking over": this close alone comes before the answer.
#[test]
fn whoever_adopts_when_the_time_is_up_hears_of_the_close() {
    let (mut house, routes) = reloading(1);
    end(&mut house);
    house.release(routes[0]);
    assert_eq!(house.phase(routes[0]), Phase::Adopting);
    let close = Loss::TimeUp(DrainReason::Terminate).close();
    let last = house.custody.cut_off(routes[0], close).expect("it is told");
    assert_eq!((last.worker, last.seq), (SECOND, 3));
    assert!(!last.redelivered);
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
