//! The pool ends, something that was read has no worker, and none is ready.

use std::time::Duration;

use shovel_core::fleet::{Command, Config, DrainReason, Event, Exit, Outcome, Report};

use crate::harness::*;

const SUCCESS: Command = Command::Exit(Outcome::Success);

fn drain(id: u32) -> Command {
    Command::Drain { worker: worker(id), why: DrainReason::Terminate }
}

/// A pool that ends, and all of its workers, 1 to `workers`, have died before.
fn ending_without_workers(workers: u32) -> Simulation {
    let mut simulation = Simulation::running(workers);
    (1..=workers).for_each(|id| drop(simulation.gone(id, CRASH)));
    assert_eq!(simulation.terminate(), [Command::StopAccepting]);
    simulation.reports.clear();
    simulation
}

/// A pool whose workers sleep, but one that is being woken, with id 2.
fn ending_while_one_wakes() -> Simulation {
    let mut simulation = Simulation::running_with(Config { min_workers: 0, ..config(1) });
    simulation.event(Event::Idle { worker: worker(1) });
    simulation.drained(1);
    simulation.finishes(1);
    assert_eq!(simulation.work(), [spawn(2, 0, 1)]);
    assert_eq!(simulation.terminate(), [Command::StopAccepting]);
    simulation
}

#[test]
fn a_worker_that_wakes_takes_the_rest_over_and_leaves() {
    let mut simulation = ending_while_one_wakes();
    assert_eq!(simulation.work(), [], "one is coming");
    assert_eq!(simulation.bring_up(2), [offer(&[2]), drain(2)]);
    assert_eq!(simulation.emptied(), []);
    assert_eq!(simulation.drained(2), [offer(&[]), shutdown(2)]);
    assert_eq!(simulation.finishes(2), [SUCCESS]);
}

#[test]
fn a_worker_that_wakes_is_killed_once_nobody_needs_it() {
    let mut simulation = ending_while_one_wakes();
    assert_eq!(simulation.emptied(), [dismiss(2)]);
    assert_eq!(simulation.gone(2, Exit::Signal(9)), [SUCCESS]);
}

#[test]
fn a_worker_is_started_for_what_sleepers_left() {
    let mut simulation = Simulation::running_with(Config { min_workers: 0, ..config(2) });
    for id in [2, 1] {
        simulation.event(Event::Idle { worker: worker(id) });
        simulation.drained(id);
        simulation.finishes(id);
    }
    assert_eq!(simulation.terminate(), [Command::StopAccepting]);
    simulation.reports.clear();
    assert_eq!(simulation.work(), [spawn(3, 0, 1)]);
    assert_eq!(simulation.reports, [Report::WorkerNeeded { worker: worker(3) }]);
    assert_eq!(simulation.bring_up(3), [offer(&[3]), drain(3)]);
}

#[test]
fn a_worker_is_started_for_what_the_dead_left_and_only_one() {
    let mut simulation = ending_without_workers(3);
    assert_eq!(simulation.pass(seconds(1)), [], "nobody asks");
    assert_eq!(simulation.work(), [spawn(4, 0, 1)]);
    assert_eq!(simulation.work(), []);
    simulation.bring_up(4);
    assert_eq!(simulation.work(), [], "there is one");
    assert_eq!(simulation.gone(4, CRASH), [offer(&[])]);
    assert_eq!(simulation.work(), [spawn(5, 0, 1)], "it was given what the dead one had");
}

#[test]
fn a_pool_without_workers_exits_once_nobody_is_needed() {
    let mut simulation = ending_without_workers(1);
    assert_eq!(simulation.emptied(), [SUCCESS]);
    let mut simulation = ending_without_workers(1);
    simulation.work();
    assert_eq!(simulation.emptied(), [dismiss(2)]);
    assert_eq!(simulation.work(), []);
    assert_eq!(simulation.gone(2, Exit::Signal(9)), [SUCCESS]);
}

/// A program that cannot start is not worth the pool's whole time.
#[test]
fn three_failed_starts_end_the_pool_in_failure() {
    let mut simulation = ending_without_workers(1);
    simulation.work();
    let mut commands = Vec::new();
    for id in 2..5 {
        commands = simulation.gone(id, CRASH);
        assert_eq!(simulation.work(), [], "it is tried again after a pause");
        commands.extend(simulation.pass(seconds(1)));
        let is_last = id == 4;
        assert_eq!(commands == [spawn(id + 1, 0, 1)], !is_last, "{id} {commands:?}");
    }
    assert_eq!(commands[0], Command::EndWaits);
    let why = "no worker could be started for what was left: worker 4 exited with code 101";
    assert_eq!(failure(&commands), Some(why));
}

#[test]
fn a_start_that_succeeds_forgets_those_that_failed() {
    let mut simulation = ending_without_workers(1);
    simulation.work();
    for id in [2, 3, 5, 6] {
        simulation.gone(id, CRASH);
        assert_eq!(simulation.pass(seconds(3)), [spawn(id + 1, 0, 1)]);
        if id == 3 {
            simulation.bring_up(4);
            simulation.gone(4, CRASH);
            assert_eq!(simulation.work(), [spawn(5, 0, 1)]);
        }
    }
}

#[test]
fn a_start_that_fails_when_nobody_needs_it_any_more_is_no_failure() {
    let mut simulation = ending_without_workers(1);
    simulation.work();
    simulation.gone(2, CRASH);
    assert_eq!(simulation.emptied(), [SUCCESS], "though one would have been started again");
}

#[test]
fn what_waits_for_a_worker_ends_when_the_time_is_up() {
    let mut simulation = ending_without_workers(1);
    simulation.work();
    let commands = simulation.pass(seconds(25));
    assert_eq!(commands, [Command::EndWaits, dismiss(2)]);
    let commands = simulation.gone(2, Exit::Signal(9));
    assert_eq!(failure(&commands), Some("workers did not finish within 25s"));
}

/// They were ready when they were killed, so no start has failed.
#[test]
fn workers_whose_death_is_under_way_when_the_end_begins_are_no_failed_starts() {
    let mut simulation = Simulation::running(4);
    for id in 1..=4 {
        let why = Some("sent nonsense".into());
        simulation.event(Event::LinkEnded { worker: worker(id), why });
    }
    simulation.terminate();
    for id in 1..=4 {
        assert_eq!(simulation.gone(id, Exit::Signal(9)), []);
    }
    assert_eq!(simulation.pass(Duration::from_secs(20)), []);
    assert_eq!(simulation.work(), [spawn(5, 0, 1)]);
}

/// A worker of the generation that was to come serves nobody yet: the old program goes on.
#[test]
fn a_reload_of_a_pool_that_sleeps_is_cut_short_and_the_old_program_is_woken() {
    let mut simulation = Simulation::running_with(Config { min_workers: 0, ..config(1) });
    simulation.event(Event::Idle { worker: worker(1) });
    simulation.drained(1);
    simulation.finishes(1);
    simulation.reload();
    simulation.image_loaded(2);
    assert_eq!(simulation.terminate(), [Command::StopAccepting, dismiss(2)]);
    assert_eq!(simulation.work(), [spawn(3, 0, 1)]);
    assert_eq!(simulation.gone(2, Exit::Signal(9)), []);
    assert_eq!(simulation.bring_up(3), [offer(&[3]), drain(3)]);
}
