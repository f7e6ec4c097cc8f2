//! Workers that nobody needs for now.

use shovel_core::fleet::{Command, Config, DrainReason, Event, Exit, RecycleReason, Report};
use shovel_protocol::id::Generation;

use crate::harness::*;

fn drain(id: u32, why: DrainReason) -> Command {
    Command::Drain { worker: worker(id), why }
}

fn sleep(id: u32) -> Command {
    drain(id, DrainReason::Sleep)
}

fn idle(simulation: &mut Simulation, id: u32) -> Vec<Command> {
    simulation.event(Event::Idle { worker: worker(id) })
}

fn running(workers: u32, min_workers: u32) -> Simulation {
    Simulation::running_with(Config { min_workers, ..config(workers) })
}

/// A worker goes to sleep, and is gone.
fn fall_asleep(simulation: &mut Simulation, id: u32) {
    assert!(idle(simulation, id).contains(&sleep(id)));
    assert_eq!(simulation.drained(id), [shutdown(id)]);
    assert_eq!(simulation.finishes(id), []);
}

#[test]
fn an_idle_worker_leaves_and_its_place_is_kept_without_a_restart() {
    let mut simulation = running(2, 1);
    assert_eq!(idle(&mut simulation, 2), [offer(&[1]), sleep(2)]);
    assert_eq!(simulation.reports, [Report::WorkerSleeps { worker: worker(2) }]);
    assert_eq!(simulation.fleet.asleep(), 1);
    assert_eq!(simulation.drained(2), [shutdown(2)]);
    assert_eq!(simulation.finishes(2), []);
    assert_eq!(simulation.pass(seconds(3600)), []);
    assert_eq!((simulation.fleet.asleep(), simulation.fleet.pauses().count()), (1, 0));
    assert_eq!(simulation.fleet.wanted(), 2);
}

#[test]
fn so_many_as_must_be_stay_awake_and_it_may_be_none() {
    let mut simulation = running(3, 2);
    fall_asleep(&mut simulation, 1);
    assert_eq!(idle(&mut simulation, 2), []);
    assert_eq!(idle(&mut simulation, 3), []);
    let mut simulation = running(2, 0);
    fall_asleep(&mut simulation, 1);
    fall_asleep(&mut simulation, 2);
    assert_eq!(simulation.fleet.workers().count(), 0);
    assert_eq!(simulation.pass(seconds(3600)), []);
}

#[test]
fn whoever_is_not_ready_or_not_there_does_not_fall_asleep() {
    let mut simulation = running(3, 0);
    assert_eq!(idle(&mut simulation, 9), []);
    simulation.gone(3, CRASH);
    assert_eq!(idle(&mut simulation, 3), []);
    idle(&mut simulation, 2);
    assert_eq!(idle(&mut simulation, 2), [], "it is falling asleep already");
    assert_eq!(simulation.fleet.asleep(), 1);
}

/// A place in its pause is not awake.
#[test]
fn a_worker_does_not_fall_asleep_while_the_others_have_failed() {
    let mut simulation = running(2, 1);
    simulation.gone(2, CRASH);
    assert_eq!(idle(&mut simulation, 1), []);
    assert_eq!(simulation.pass(seconds(1)), [spawn(3, 1, 1)]);
    assert_eq!(idle(&mut simulation, 1), []);
    simulation.bring_up(3);
    assert_eq!(idle(&mut simulation, 1), [offer(&[3]), sleep(1)]);
}

#[test]
fn nobody_falls_asleep_during_a_reload_a_recycle_or_at_the_end() {
    let mut simulation = running(2, 0);
    simulation.reload();
    assert_eq!(idle(&mut simulation, 1), []);
    simulation.image_loaded(2);
    simulation.bring_up(3);
    assert_eq!(idle(&mut simulation, 3), []);
    simulation.bring_up(4);
    assert_eq!(idle(&mut simulation, 3), [], "the old generation has not left");

    let mut simulation = running(2, 0);
    simulation.event(Event::RecycleWanted { worker: worker(2), why: RecycleReason::MaxRss });
    assert_eq!(idle(&mut simulation, 1), []);
    simulation.bring_up(3);
    assert_eq!(idle(&mut simulation, 1), []);

    let mut simulation = running(2, 0);
    simulation.terminate();
    assert_eq!(idle(&mut simulation, 1), []);
}

#[test]
fn work_wakes_one_place_at_a_time_the_lowest_first() {
    let mut simulation = running(3, 0);
    for id in [2, 1, 3] {
        fall_asleep(&mut simulation, id);
    }
    simulation.reports.clear();
    assert_eq!(simulation.work(), [spawn(4, 0, 1)]);
    assert_eq!(simulation.reports, [Report::WorkerWakes { worker: worker(4) }]);
    assert_eq!(simulation.work(), []);
    assert_eq!(simulation.bring_up(4), [offer(&[4])]);
    assert_eq!(simulation.work(), [spawn(5, 1, 1)]);
    simulation.bring_up(5);
    assert_eq!(simulation.work(), [spawn(6, 2, 1)]);
    simulation.bring_up(6);
    assert_eq!(simulation.work(), [], "all are awake");
    let restarts: Vec<_> = simulation.fleet.workers().map(|view| view.restarts).collect();
    assert_eq!(restarts, [0; 3]);
}

#[test]
fn a_place_may_be_woken_before_its_worker_has_left() {
    let mut simulation = running(1, 0);
    assert_eq!(idle(&mut simulation, 1), [offer(&[]), sleep(1)]);
    assert_eq!(simulation.work(), [spawn(2, 0, 1)]);
    simulation.drained(1);
    assert_eq!(simulation.bring_up(2), [offer(&[2])]);
    assert_eq!(simulation.finishes(1), []);
    assert_eq!(simulation.pass(seconds(60)), []);
    assert_eq!(simulation.fleet.workers().count(), 1);
}

/// What it cannot give away keeps it awake, for as long as that takes.
#[test]
fn falling_asleep_has_no_deadline() {
    let mut simulation = running(2, 1);
    idle(&mut simulation, 2);
    assert_eq!(simulation.pass(seconds(24 * 3600)), []);
    assert_eq!(simulation.drained(2), [shutdown(2)]);
}

#[test]
fn a_worker_that_dies_falling_asleep_is_not_restarted_and_its_place_can_be_woken() {
    let mut simulation = running(2, 1);
    idle(&mut simulation, 2);
    assert_eq!(simulation.gone(2, CRASH), []);
    assert_eq!(simulation.pass(seconds(60)), []);
    assert_eq!(simulation.fleet.asleep(), 1);
    assert_eq!(simulation.work(), [spawn(3, 1, 1)]);
}

#[test]
fn a_woken_worker_that_crashes_is_restarted_after_a_pause_that_grows() {
    let mut simulation = running(1, 0);
    fall_asleep(&mut simulation, 1);
    simulation.work();
    let mut pauses = Vec::new();
    for id in 2..6 {
        assert_eq!(simulation.gone(id, CRASH), []);
        assert_eq!(simulation.work(), [], "it is in its pause");
        let (_, at) = simulation.fleet.pauses().next().unwrap();
        pauses.push(at - simulation.now);
        assert_eq!(simulation.pass(at - simulation.now), [spawn(id + 1, 0, 1)]);
    }
    assert!(pauses.is_sorted() && pauses[3] > pauses[0] * 4, "{pauses:?}");
    assert_eq!(simulation.fleet.asleep(), 0);
}

#[test]
fn a_reload_starts_all_places_and_hurries_those_that_fall_asleep() {
    let mut simulation = running(3, 1);
    fall_asleep(&mut simulation, 1);
    idle(&mut simulation, 2);
    assert_eq!(simulation.reload(), [load_image(2)]);
    let spawned = [spawn(4, 0, 2), spawn(5, 1, 2), spawn(6, 2, 2)];
    assert_eq!(simulation.image_loaded(2), spawned);
    simulation.bring_up(4);
    simulation.bring_up(5);
    let (reload, cut) = (DrainReason::Reload, Command::Cut { worker: worker(2) });
    let switched = [offer(&[4, 5, 6]), drain(3, reload), drain(2, reload)];
    assert_eq!(simulation.bring_up(6), switched);
    assert_eq!(simulation.fleet.asleep(), 0);
    assert!(simulation.pass(seconds(61)).contains(&cut), "now there is a deadline");
    for id in [2, 3] {
        simulation.drained(id);
        simulation.finishes(id);
    }
    assert!(!simulation.fleet.is_reloading());
}

#[test]
fn work_during_a_reload_wakes_a_worker_of_the_generation_that_serves() {
    let mut simulation = running(1, 0);
    fall_asleep(&mut simulation, 1);
    simulation.reload();
    assert_eq!(simulation.work(), [spawn(2, 0, 1)]);
    assert_eq!(simulation.image_loaded(2), [spawn(3, 0, 2)]);
    assert_eq!(simulation.bring_up(2), [offer(&[2])]);
    assert_eq!(simulation.bring_up(3), [offer(&[3]), drain(2, DrainReason::Reload)]);
}

#[test]
fn a_generation_that_sleeps_whole_is_replaced_at_once() {
    let mut simulation = running(1, 0);
    fall_asleep(&mut simulation, 1);
    simulation.reload();
    simulation.image_loaded(2);
    assert_eq!(simulation.bring_up(2), [drop_image(1), offer(&[2])]);
    assert_eq!(simulation.fleet.generation(), Generation(2));
    assert!(!simulation.fleet.is_reloading());
}

#[test]
fn a_pool_that_sleeps_ends_at_once_and_wakes_nobody() {
    let mut simulation = running(2, 0);
    fall_asleep(&mut simulation, 1);
    idle(&mut simulation, 2);
    let terminate = drain(2, DrainReason::Terminate);
    assert_eq!(simulation.terminate(), [Command::StopAccepting, terminate]);
    assert_eq!(simulation.emptied(), []);
    assert_eq!(simulation.drained(2), [shutdown(2)]);
    let commands = simulation.finishes(2);
    assert!(matches!(commands[..], [Command::Exit(_)]), "{commands:?}");
}

#[test]
fn scaling_down_takes_sleeping_places_away_and_hurries_those_that_fall_asleep() {
    let mut simulation = running(3, 1);
    fall_asleep(&mut simulation, 2);
    idle(&mut simulation, 3);
    let recycle = drain(3, DrainReason::Recycle);
    assert_eq!(simulation.event(Event::ScaleRequested { workers: 1 }), [recycle]);
    assert_eq!(simulation.fleet.asleep(), 0);
    assert_eq!(simulation.pass(seconds(61)), [Command::Cut { worker: worker(3) }]);
    simulation.drained(3);
    assert_eq!(simulation.finishes(3), []);
    assert_eq!(simulation.work(), []);
}

/// Places 0 and 1 sleep, and the one that is awake is taken away.
#[test]
fn scaling_down_wakes_as_many_as_must_be_awake() {
    let mut simulation = running(3, 1);
    fall_asleep(&mut simulation, 1);
    fall_asleep(&mut simulation, 2);
    let commands = simulation.event(Event::ScaleRequested { workers: 2 });
    assert_eq!(commands, [offer(&[]), drain(3, DrainReason::Recycle), spawn(4, 0, 1)]);
    assert_eq!(simulation.fleet.asleep(), 1);
    assert_eq!(simulation.bring_up(4), [offer(&[4])]);
}

#[test]
fn scaling_up_starts_the_new_places_and_lets_the_others_sleep() {
    let mut simulation = running(2, 0);
    fall_asleep(&mut simulation, 1);
    assert_eq!(simulation.event(Event::ScaleRequested { workers: 3 }), [spawn(3, 2, 1)]);
    assert_eq!(simulation.fleet.asleep(), 1);
}

/// It stops anyway; whoever is woken is as fresh as a replacement.
#[test]
fn a_worker_that_falls_asleep_needs_no_replacement() {
    let mut simulation = running(2, 1);
    idle(&mut simulation, 2);
    let why = RecycleReason::MaxRss;
    assert_eq!(simulation.event(Event::RecycleWanted { worker: worker(2), why }), []);
    simulation.drained(2);
    simulation.finishes(2);
    assert_eq!(simulation.work(), [spawn(3, 1, 1)]);
    simulation.bring_up(3);
    assert_eq!(simulation.pass(seconds(60)), []);
    assert_eq!(simulation.gone(3, Exit::Code(0)), [offer(&[1])]);
}
