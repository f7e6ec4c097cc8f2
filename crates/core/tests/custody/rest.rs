//! Workers that nobody needs, and work that nobody has.

use std::time::Duration;

use shovel_core::custody::{Command, Event, Settings};
use shovel_core::fleet::DrainReason;
use shovel_protocol::WorkerId;

use crate::cell::SharedCell;
use crate::house::{FIRST, House, SECOND, settings};

const SLEEP_AFTER: Duration = Duration::from_secs(10);

fn house() -> House<SharedCell> {
    let mut house = House::of(&[FIRST, SECOND]);
    house.custody.configure(Settings { sleep_after: Some(SLEEP_AFTER), ..settings() });
    look(&mut house, FIRST, 1);
    house
}

fn look(house: &mut House<SharedCell>, worker: WorkerId, activity: u64) -> usize {
    house.told.clear();
    house.happens(Event::ActivityTold { worker, activity });
    house.count(|told| *told == Command::Idle { worker })
}

#[test]
fn a_worker_is_idle_when_it_has_done_nothing_for_so_long_and_is_told_of_while_that_lasts() {
    let mut house = house();
    house.pass(SLEEP_AFTER / 2);
    assert_eq!(look(&mut house, FIRST, 2), 0, "it has done something");
    house.pass(SLEEP_AFTER / 2);
    assert_eq!(look(&mut house, FIRST, 2), 0);
    house.pass(SLEEP_AFTER / 2);
    assert_eq!(look(&mut house, FIRST, 2), 1);
    assert_eq!(look(&mut house, FIRST, 2), 1);
    assert_eq!(look(&mut house, FIRST, 3), 0);
}

#[test]
fn only_connections_that_can_do_without_their_worker_let_it_rest() {
    let mut house = house();
    let idle = house.portable(FIRST);
    house.pass(SLEEP_AFTER);
    assert_eq!(look(&mut house, FIRST, 1), 1);
    house.message(idle);
    assert_eq!(look(&mut house, FIRST, 1), 0, "it has something to handle");
    house.commit(idle, 1);
    let plain = house.plain(FIRST);
    assert_eq!(look(&mut house, FIRST, 1), 0, "a connection would end with it");
    let id = house.id(plain);
    house.custody.remove(id);
    house.custody.begin_request(FIRST);
    assert_eq!(look(&mut house, FIRST, 1), 0, "it has a request");
    house.custody.answer_request(FIRST);
    house.custody.end_request(FIRST);
    assert_eq!(look(&mut house, FIRST, 1), 1);
}

#[test]
fn a_worker_that_cannot_adopt_does_not_rest() {
    let mut house = house();
    let third = WorkerId(3);
    house.join(third, SharedCell::default());
    house.pass(SLEEP_AFTER * 2);
    assert_eq!(look(&mut house, third, 0), 0);
}

#[test]
fn nobody_rests_unless_that_is_wanted() {
    let mut house = house();
    house.custody.configure(settings());
    house.pass(SLEEP_AFTER * 10);
    assert_eq!(look(&mut house, FIRST, 1), 0);
}

#[test]
fn a_request_goes_to_the_least_busy_worker_and_asks_for_help_if_that_has_much_to_do() {
    let mut house = house();
    house.portable(FIRST);
    let now = house.now;
    assert_eq!(house.custody.pick(now), Some(SECOND));
    for worker in [FIRST, SECOND].repeat(10) {
        house.custody.begin_request(worker);
    }
    house.told.clear();
    assert_eq!(house.custody.pick(now), Some(SECOND));
    assert_eq!(house.custody.pick(now), Some(SECOND));
    house.obey();
    assert_eq!(house.count(|told| *told == Command::WorkWanted), 1, "it asks now and then");
}

#[test]
fn nobody_is_picked_where_nobody_takes_work() {
    let mut house = house();
    assert!(!house.custody.nobody_takes_work());
    house.drain(FIRST, DrainReason::Reload);
    house.happens(Event::LinkEnded { worker: SECOND });
    let now = house.now;
    assert_eq!(house.custody.pick(now), None);
    assert!(house.custody.nobody_takes_work());
}
