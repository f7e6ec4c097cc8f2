//! Replacing a generation.

use shovel_core::fleet::{Command, DrainReason, Event, Exit, Report, WorkerState};
use shovel_protocol::id::Generation;

use crate::harness::*;

fn drain(id: u32) -> Command {
    Command::Drain { worker: worker(id), why: DrainReason::Reload }
}

/// Workers 1 and 2 serve; 3 and 4 of generation 2 have been spawned.
fn reloading() -> Simulation {
    let mut simulation = Simulation::running(2);
    assert_eq!(simulation.reload(), [load_image(2)]);
    assert_eq!(simulation.image_loaded(2), [spawn(3, 0, 2), spawn(4, 1, 2)]);
    simulation
}

#[test]
fn old_generation_serves_until_the_new_one_is_whole() {
    let mut simulation = reloading();
    assert_eq!(simulation.bring_up(3), []);
    assert_eq!(simulation.fleet.generation(), Generation(1));
    assert_eq!(simulation.bring_up(4), [offer(&[3, 4]), drain(1), drain(2)]);
    assert_eq!(simulation.fleet.generation(), Generation(2));
}

#[test]
fn a_reload_is_finished_when_the_last_old_worker_is_gone() {
    let mut simulation = reloading();
    simulation.bring_up(3);
    simulation.bring_up(4);
    assert_eq!(simulation.drained(2), [shutdown(2)]);
    assert_eq!(simulation.finishes(2), []);
    assert!(simulation.fleet.is_reloading());
    simulation.drained(1);
    simulation.pass(seconds(3));
    assert_eq!(simulation.finishes(1), [drop_image(1)]);
    assert!(!simulation.fleet.is_reloading());
    let finished = Report::ReloadFinished { generation: Generation(2), took: seconds(3) };
    assert_eq!(simulation.reports.last(), Some(&finished));
}

#[test]
fn reloads_requested_during_a_reload_make_exactly_one_more() {
    let mut simulation = reloading();
    for _ in 0..10 {
        assert_eq!(simulation.reload(), []);
    }
    simulation.bring_up(3);
    simulation.bring_up(4);
    simulation.gone(1, CRASH);
    assert_eq!(simulation.gone(2, CRASH), [drop_image(1), load_image(3)]);
    simulation.image_loaded(3);
    simulation.bring_up(5);
    simulation.bring_up(6);
    simulation.gone(3, CRASH);
    assert_eq!(simulation.gone(4, CRASH), [drop_image(2)]);
    assert!(!simulation.fleet.is_reloading());
}

#[test]
fn a_ready_timeout_abandons_the_new_generation_at_once() {
    let mut simulation = reloading();
    simulation.bring_up(3);
    let commands = simulation.pass(seconds(30));
    assert_eq!(commands, [kill(4), dismiss(3)]);
    assert_eq!(simulation.abandonment(), Some("worker 4 was not ready within 30s"));
    assert_eq!(simulation.gone(3, Exit::Signal(9)), []);
    assert_eq!(simulation.gone(4, Exit::Signal(9)), [drop_image(2)]);
    assert_eq!(simulation.pass(seconds(60)), []);
    assert_eq!(simulation.state(1), Some(WorkerState::Ready));
}

#[test]
fn three_failed_starts_abandon_the_new_generation() {
    let mut simulation = reloading();
    assert_eq!(simulation.gone(3, CRASH), []);
    assert_eq!(simulation.pass(seconds(1)), [spawn(5, 0, 2)]);
    let why = "speaks version 9 of the link".into();
    assert_eq!(simulation.event(Event::Refused { worker: worker(5), why }), [kill(5)]);
    simulation.gone(5, Exit::Signal(9));
    assert_eq!(simulation.pass(seconds(1)), [spawn(6, 0, 2)]);
    assert_eq!(simulation.gone(6, CRASH), [dismiss(4)]);
    assert_eq!(simulation.abandonment(), Some("worker 6 exited with code 101"));
    assert_eq!(simulation.gone(4, Exit::Signal(9)), [drop_image(2)]);
}

#[test]
fn the_first_failed_spawn_abandons_the_new_generation() {
    let mut simulation = reloading();
    let why = "permission denied".to_string();
    assert_eq!(simulation.event(Event::SpawnFailed { worker: worker(3), why }), [dismiss(4)]);
    assert_eq!(simulation.abandonment(), Some("worker 3 could not be started: permission denied"));
}

#[test]
fn an_image_that_cannot_be_loaded_abandons_the_reload_and_leaves_no_image_to_drop() {
    let mut simulation = Simulation::running(1);
    simulation.reload();
    let why = "no such file".to_string();
    let failed = Event::ImageFailed { generation: Generation(2), why };
    assert_eq!(simulation.event(failed), []);
    assert_eq!(simulation.abandonment(), Some("no such file"));
    assert_eq!(simulation.reload(), [load_image(3)]);
}

#[test]
fn a_reload_after_an_abandoned_one_waits_until_its_workers_are_gone() {
    let mut simulation = reloading();
    simulation.reload();
    simulation.pass(seconds(30));
    assert_eq!(simulation.gone(3, Exit::Signal(9)), []);
    assert_eq!(simulation.gone(4, Exit::Signal(9)), [drop_image(2), load_image(3)]);
    assert_eq!(simulation.image_loaded(3), [spawn(5, 0, 3), spawn(6, 1, 3)]);
}

#[test]
fn a_crash_in_the_old_generation_is_restarted_from_its_own_image_during_a_reload() {
    let mut simulation = reloading();
    assert_eq!(simulation.gone(1, CRASH), [offer(&[2])]);
    assert_eq!(simulation.pass(seconds(1)), [spawn(5, 0, 1)]);
    assert_eq!(simulation.bring_up(5), [offer(&[2, 5])]);
}

#[test]
fn a_new_worker_that_crashes_before_the_switch_is_restarted_and_the_switch_waits_for_it() {
    let mut simulation = reloading();
    simulation.bring_up(3);
    assert_eq!(simulation.gone(3, CRASH), []);
    assert_eq!(simulation.bring_up(4), []);
    assert_eq!(simulation.pass(seconds(1)), [spawn(5, 0, 2)]);
    assert_eq!(simulation.bring_up(5), [offer(&[4, 5]), drain(1), drain(2)]);
}

#[test]
fn old_workers_that_are_starting_or_in_a_pause_at_the_switch_are_not_kept() {
    let mut simulation = reloading();
    simulation.gone(1, CRASH);
    assert_eq!(simulation.pass(seconds(1)), [spawn(5, 0, 1)]);
    simulation.gone(2, CRASH);
    simulation.bring_up(3);
    assert_eq!(simulation.bring_up(4), [offer(&[3, 4]), dismiss(5)]);
    assert_eq!(simulation.gone(5, Exit::Signal(9)), [drop_image(1)]);
    assert_eq!(simulation.pass(seconds(60)), []);
}

#[test]
fn a_reload_can_replace_a_first_generation_that_never_became_ready() {
    let mut simulation = Simulation::new(config(1));
    simulation.image_loaded(1);
    simulation.reload();
    simulation.image_loaded(2);
    assert_eq!(simulation.bring_up(2), [offer(&[2]), dismiss(1)]);
    assert_eq!(simulation.gone(1, Exit::Signal(9)), [drop_image(1)]);
}
