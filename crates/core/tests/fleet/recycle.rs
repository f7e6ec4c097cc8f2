//! Replacing workers within their generation.

use shovel_core::fleet::{Command, Config, DrainReason, Event, Exit, RecycleReason, Report};

use crate::harness::*;

fn drain(id: u32) -> Command {
    Command::Drain { worker: worker(id), why: DrainReason::Recycle }
}

fn wanted(id: u32) -> Event {
    Event::RecycleWanted { worker: worker(id), why: RecycleReason::MaxRequests }
}

#[test]
fn a_recycled_worker_serves_until_its_replacement_is_ready() {
    let mut simulation = Simulation::running(2);
    assert_eq!(simulation.event(wanted(2)), [spawn(3, 1, 1)]);
    assert_eq!(simulation.bring_up(3), [offer(&[1, 3]), drain(2)]);
    assert_eq!(simulation.drained(2), [shutdown(2)]);
    assert_eq!(simulation.finishes(2), []);
    assert_eq!(simulation.pass(seconds(60)), []);
}

#[test]
fn workers_are_recycled_one_at_a_time() {
    let mut simulation = Simulation::running(2);
    simulation.event(wanted(1));
    assert_eq!(simulation.event(wanted(2)), []);
    simulation.bring_up(3);
    assert_eq!(simulation.drained(1), [shutdown(1)]);
    assert_eq!(simulation.finishes(1), [spawn(4, 1, 1)]);
}

#[test]
fn a_replacement_that_fails_leaves_the_old_worker_and_is_tried_again_after_ten_seconds() {
    let mut simulation = Simulation::running(1);
    simulation.event(wanted(1));
    assert_eq!(simulation.gone(2, CRASH), []);
    assert!(matches!(
        simulation.reports.last(),
        Some(Report::RecycleAbandoned { why, .. }) if why == "worker 2 exited with code 101"
    ));
    assert_eq!(simulation.pass(seconds(9)), []);
    assert_eq!(simulation.pass(seconds(1)), [spawn(3, 0, 1)]);
    assert_eq!(simulation.pass(seconds(30)), [kill(3)]);
    assert_eq!(simulation.gone(3, Exit::Signal(9)), []);
    assert_eq!(simulation.pass(seconds(10)), [spawn(4, 0, 1)]);
    assert_eq!(simulation.bring_up(4), [offer(&[4]), drain(1)]);
}

#[test]
fn a_recycled_worker_that_crashes_is_followed_by_its_replacement_alone() {
    let mut simulation = Simulation::running(1);
    simulation.event(wanted(1));
    assert_eq!(simulation.gone(1, CRASH), [offer(&[])]);
    assert_eq!(simulation.pass(seconds(10)), []);
    assert_eq!(simulation.gone(2, CRASH), []);
    assert_eq!(simulation.pass(seconds(1)), [spawn(3, 0, 1)]);
}

#[test]
fn a_reload_cancels_a_replacement_and_an_abandoned_one_brings_it_back() {
    let mut simulation = Simulation::running(1);
    simulation.event(wanted(1));
    assert_eq!(simulation.reload(), [dismiss(2), load_image(2)]);
    assert_eq!(simulation.gone(2, Exit::Signal(9)), []);
    assert_eq!(simulation.image_loaded(2), [spawn(3, 0, 2)]);
    let why = "denied".into();
    let commands = simulation.event(Event::SpawnFailed { worker: worker(3), why });
    assert_eq!(commands, [drop_image(2), spawn(4, 0, 1)]);
}

#[test]
fn a_worker_replaced_by_a_reload_is_not_recycled_as_well() {
    let mut simulation = Simulation::running(1);
    simulation.reload();
    assert_eq!(simulation.event(wanted(1)), []);
    simulation.image_loaded(2);
    simulation.bring_up(2);
    assert_eq!(simulation.gone(1, CRASH), [drop_image(1)]);
    assert_eq!(simulation.pass(seconds(60)), []);
}

#[test]
fn a_worker_that_has_reached_its_age_is_recycled() {
    let with_age = Config { max_age: Some(seconds(3600)), ..config(2) };
    let mut simulation = Simulation::running_with(with_age);
    assert_eq!(simulation.pass(seconds(3599)), []);
    assert_eq!(simulation.pass(seconds(1)), [spawn(3, 0, 1)]);
    assert!(matches!(
        simulation.reports.last(),
        Some(Report::RecycleStarted { reason: RecycleReason::MaxAge, .. })
    ));
}
