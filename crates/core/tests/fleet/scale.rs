//! Changing the number of workers.

use shovel_core::fleet::{Command, DrainReason, Event, Exit, RecycleReason, Report};
use shovel_protocol::id::Generation;

use crate::harness::*;

fn scale(simulation: &mut Simulation, workers: u32) -> Vec<Command> {
    simulation.event(Event::ScaleRequested { workers })
}

fn drain(id: u32) -> Command {
    Command::Drain { worker: worker(id), why: DrainReason::Recycle }
}

fn indexes(simulation: &Simulation) -> Vec<u32> {
    let serving = simulation.fleet.generation();
    let all = simulation.fleet.workers().filter(|view| view.generation == serving);
    let mut indexes: Vec<_> = all.map(|view| view.index.0).collect();
    indexes.sort_unstable();
    indexes
}

#[test]
fn more_workers_run_the_image_of_the_generation_that_serves() {
    let mut simulation = Simulation::running(2);
    assert_eq!(scale(&mut simulation, 4), [spawn(3, 2, 1), spawn(4, 3, 1)]);
    assert_eq!(simulation.reports, [Report::Scaled { before: 2, workers: 4 }]);
    assert_eq!(simulation.bring_up(4), [offer(&[1, 2, 4])]);
    assert_eq!(simulation.bring_up(3), [offer(&[1, 2, 3, 4])]);
    assert_eq!(simulation.fleet.wanted(), 4);
}

#[test]
fn fewer_workers_drain_those_with_the_highest_indexes_and_nobody_follows() {
    let mut simulation = Simulation::running(3);
    assert_eq!(scale(&mut simulation, 1), [offer(&[1, 3]), drain(2), offer(&[1]), drain(3)]);
    assert_eq!(simulation.drained(3), [shutdown(3)]);
    assert_eq!(simulation.finishes(3), []);
    assert_eq!(simulation.gone(2, CRASH), []);
    assert_eq!(simulation.pass(seconds(60)), []);
    assert_eq!(indexes(&simulation), [0]);
}

#[test]
fn the_same_number_changes_nothing_and_none_counts_as_one() {
    let mut simulation = Simulation::running(2);
    assert_eq!(scale(&mut simulation, 2), []);
    assert_eq!(simulation.reports, []);
    assert_eq!(scale(&mut simulation, 0), [offer(&[1]), drain(2)]);
    assert_eq!(simulation.fleet.wanted(), 1);
}

#[test]
fn a_surplus_worker_that_is_starting_is_ended_at_once() {
    let mut simulation = Simulation::running(1);
    scale(&mut simulation, 2);
    assert_eq!(scale(&mut simulation, 1), [dismiss(2)]);
    assert_eq!(simulation.gone(2, Exit::Signal(9)), []);
    assert_eq!(simulation.pass(seconds(60)), []);
}

#[test]
fn a_surplus_worker_that_was_never_started_is_no_failure_of_a_reload() {
    let mut simulation = Simulation::running(2);
    simulation.reload();
    simulation.image_loaded(2);
    scale(&mut simulation, 1);
    let why = "nobody needs it any more".to_owned();
    assert_eq!(simulation.event(Event::SpawnFailed { worker: worker(4), why }), []);
    assert_eq!(simulation.gone(3, CRASH), []);
    assert!(simulation.fleet.is_reloading());
    assert_eq!(simulation.pass(seconds(1)), [spawn(5, 0, 2)]);
}

#[test]
fn a_place_taken_away_in_its_pause_is_not_taken_again() {
    let mut simulation = Simulation::running(2);
    simulation.gone(2, CRASH);
    assert_eq!(simulation.fleet.pauses().count(), 1);
    assert_eq!(scale(&mut simulation, 1), []);
    assert_eq!(simulation.pass(seconds(60)), []);
    assert_eq!(scale(&mut simulation, 2), [spawn(3, 1, 1)]);
}

#[test]
fn a_worker_that_leaves_its_place_and_one_that_takes_it_again_live_side_by_side() {
    let mut simulation = Simulation::running(2);
    scale(&mut simulation, 1);
    assert_eq!(scale(&mut simulation, 2), [spawn(3, 1, 1)]);
    assert_eq!(simulation.bring_up(3), [offer(&[1, 3])]);
    simulation.drained(2);
    assert_eq!(simulation.finishes(2), []);
    assert_eq!(simulation.pass(seconds(60)), []);
    assert_eq!(indexes(&simulation), [0, 1]);
}

#[test]
fn a_worker_killed_for_hanging_is_not_followed_twice() {
    let mut simulation = Simulation::running(2);
    simulation.event(Event::LinkEnded { worker: worker(2), why: Some("spoke badly".into()) });
    scale(&mut simulation, 1);
    assert_eq!(scale(&mut simulation, 2), [spawn(3, 1, 1)]);
    assert_eq!(simulation.gone(2, Exit::Signal(9)), []);
    assert_eq!(simulation.pass(seconds(10)), []);
}

#[test]
fn a_recycle_of_a_place_that_is_taken_away_is_cancelled() {
    let mut simulation = Simulation::running(2);
    simulation.event(Event::RecycleWanted { worker: worker(2), why: RecycleReason::MaxRss });
    assert_eq!(scale(&mut simulation, 1), [dismiss(3), offer(&[1]), drain(2)]);
    simulation.gone(3, Exit::Signal(9));
    simulation.drained(2);
    assert_eq!(simulation.finishes(2), []);
    assert_eq!(simulation.pass(seconds(60)), []);
    assert_eq!(indexes(&simulation), [0]);
}

#[test]
fn a_recycle_that_has_switched_lets_both_of_its_workers_go() {
    let mut simulation = Simulation::running(2);
    simulation.event(Event::RecycleWanted { worker: worker(2), why: RecycleReason::MaxRss });
    simulation.bring_up(3);
    assert_eq!(scale(&mut simulation, 1), [offer(&[1]), drain(3)]);
    simulation.drained(2);
    simulation.drained(3);
    simulation.finishes(2);
    assert_eq!(simulation.finishes(3), []);
    assert_eq!(indexes(&simulation), [0]);
}

#[test]
fn later_reloads_keep_the_number() {
    let mut simulation = Simulation::running(1);
    scale(&mut simulation, 2);
    simulation.bring_up(2);
    simulation.reload();
    assert_eq!(simulation.image_loaded(2), [spawn(3, 0, 2), spawn(4, 1, 2)]);
}

#[test]
fn scaling_before_the_image_is_there_starts_so_many() {
    let mut simulation = Simulation::new(config(1));
    assert_eq!(scale(&mut simulation, 2), []);
    assert_eq!(simulation.image_loaded(1), [spawn(1, 0, 1), spawn(2, 1, 1)]);
}

#[test]
fn scaling_up_during_a_reload_concerns_both_generations_and_the_switch_waits() {
    let mut simulation = Simulation::running(1);
    simulation.reload();
    simulation.image_loaded(2);
    assert_eq!(scale(&mut simulation, 2), [spawn(3, 1, 1), spawn(4, 1, 2)]);
    assert_eq!(simulation.bring_up(3), [offer(&[1, 3])]);
    assert_eq!(simulation.bring_up(2), []);
    assert_eq!(simulation.fleet.generation(), Generation(1));
    let reload = |id| Command::Drain { worker: worker(id), why: DrainReason::Reload };
    assert_eq!(simulation.bring_up(4), [offer(&[2, 4]), reload(1), reload(3)]);
}

#[test]
fn scaling_down_during_a_reload_can_make_the_new_generation_whole() {
    let mut simulation = Simulation::running(2);
    simulation.reload();
    simulation.image_loaded(2);
    simulation.bring_up(3);
    let commands = scale(&mut simulation, 1);
    assert_eq!(commands[..3], [offer(&[1]), drain(2), dismiss(4)]);
    let reload = Command::Drain { worker: worker(1), why: DrainReason::Reload };
    assert_eq!(commands[3..], [offer(&[3]), reload]);
    assert_eq!(simulation.fleet.generation(), Generation(2));
}

#[test]
fn a_surplus_worker_of_a_generation_that_never_served_has_nothing_to_finish() {
    let mut simulation = Simulation::running(2);
    simulation.reload();
    simulation.image_loaded(2);
    simulation.bring_up(4);
    let commands = scale(&mut simulation, 1);
    assert_eq!(commands, [offer(&[1]), drain(2), dismiss(4)]);
}

#[test]
fn scaling_while_the_old_generation_leaves_concerns_the_new_one_alone() {
    let mut simulation = Simulation::running(1);
    simulation.reload();
    simulation.image_loaded(2);
    simulation.bring_up(2);
    assert_eq!(scale(&mut simulation, 2), [spawn(3, 1, 2)]);
}

#[test]
fn a_pool_that_ends_is_not_scaled() {
    let mut simulation = Simulation::running(2);
    simulation.terminate();
    simulation.reports.clear();
    assert_eq!(scale(&mut simulation, 4), []);
    assert_eq!(simulation.reports, [Report::ScaleIgnored]);
    assert_eq!(simulation.fleet.wanted(), 2);
}
