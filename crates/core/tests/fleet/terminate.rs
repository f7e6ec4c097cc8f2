//! Ending the pool.

use std::time::Duration;

use shovel_core::fleet::{Command, Config, DrainReason, Event, Exit, Outcome, Report};
use shovel_protocol::id::Generation;

use crate::harness::*;

fn drain(id: u32) -> Command {
    Command::Drain { worker: worker(id), why: DrainReason::Terminate }
}

const SUCCESS: Command = Command::Exit(Outcome::Success);

/// A pool of so many that was told to end.
fn ending(workers: u32) -> Simulation {
    let mut simulation = Simulation::running(workers);
    let drains = (1..=workers).map(drain);
    let commands: Vec<_> = [Command::StopAccepting].into_iter().chain(drains).collect();
    assert_eq!(simulation.terminate(), commands);
    simulation.reports.clear();
    simulation
}

#[test]
fn a_pool_told_to_end_stops_accepting_drains_everybody_and_exits_in_success() {
    let mut simulation = ending(2);
    assert_eq!(simulation.drained(1), []);
    assert_eq!(simulation.emptied(), []);
    assert_eq!(simulation.drained(2), [offer(&[]), shutdown(1), shutdown(2)]);
    assert_eq!(simulation.finishes(1), []);
    assert_eq!(simulation.finishes(2), [SUCCESS]);
    assert_eq!(simulation.fleet.poll_timeout(), None);
}

#[test]
fn nobody_leaves_before_it_is_known_that_nobody_is_needed() {
    let mut simulation = ending(1);
    assert_eq!(simulation.drained(1), []);
    assert_eq!(simulation.emptied(), [offer(&[]), shutdown(1)]);
    assert_eq!(simulation.emptied(), []);
    assert_eq!(simulation.finishes(1), [SUCCESS]);
}

#[test]
fn past_the_deadline_everybody_is_killed_and_the_pool_exits_in_failure() {
    let mut simulation = ending(2);
    simulation.drained(1);
    assert_eq!(simulation.pass(Duration::from_millis(24_999)), []);
    let commands = [Command::EndWaits, offer(&[]), dismiss(1), dismiss(2)];
    assert_eq!(simulation.pass(Duration::from_millis(1)), commands);
    simulation.gone(1, Exit::Signal(9));
    let commands = simulation.gone(2, Exit::Signal(9));
    assert_eq!(failure(&commands), Some("workers did not finish within 25s"));
}

#[test]
fn a_worker_that_cannot_even_be_killed_does_not_hold_up_the_exit() {
    let mut simulation = ending(1);
    simulation.pass(seconds(25));
    assert_eq!(simulation.pass(Duration::from_millis(1_999)), []);
    assert!(failure(&simulation.pass(Duration::from_millis(1))).is_some());
}

#[test]
fn a_second_request_kills_at_once() {
    let mut simulation = ending(1);
    assert_eq!(simulation.terminate(), [Command::EndWaits, offer(&[]), dismiss(1)]);
    assert_eq!(simulation.terminate(), []);
    let commands = simulation.gone(1, Exit::Signal(9));
    assert_eq!(failure(&commands), Some("told twice to terminate"));
}

#[test]
fn a_worker_that_crashes_meanwhile_is_not_restarted() {
    let mut simulation = Simulation::running(2);
    simulation.gone(1, CRASH);
    simulation.terminate();
    assert_eq!(simulation.pass(seconds(1)), []);
    simulation.emptied();
    assert_eq!(simulation.gone(2, CRASH), [offer(&[]), SUCCESS]);
}

#[test]
fn a_pool_that_has_never_served_exits_at_once() {
    let mut simulation = Simulation::new(config(1));
    assert_eq!(simulation.terminate(), [Command::StopAccepting, Command::EndWaits, SUCCESS]);
    assert_eq!(simulation.image_loaded(1), []);
}

#[test]
fn workers_that_are_only_starting_are_killed_if_nobody_was_ever_ready() {
    let mut simulation = Simulation::new(config(1));
    simulation.image_loaded(1);
    let commands = [Command::StopAccepting, Command::EndWaits, dismiss(1)];
    assert_eq!(simulation.terminate(), commands);
    assert_eq!(simulation.gone(1, Exit::Signal(9)), [SUCCESS]);
}

#[test]
fn a_reload_under_way_is_cut_short() {
    let mut simulation = Simulation::running(2);
    simulation.reload();
    simulation.image_loaded(2);
    simulation.bring_up(3);
    let commands = simulation.terminate();
    assert_eq!(commands, [Command::StopAccepting, dismiss(4), drain(1), drain(2), drain(3)]);
    let cut_short = Report::ReloadCutShort { generation: Generation(2) };
    assert!(simulation.reports.contains(&cut_short), "{:?}", simulation.reports);
    assert_eq!(simulation.event(Event::Ready { worker: worker(4) }), []);
    assert_eq!(simulation.gone(3, CRASH), []);
    assert_eq!(simulation.gone(4, Exit::Signal(9)), []);
    simulation.gone(1, CRASH);
    simulation.emptied();
    assert_eq!(simulation.gone(2, CRASH), [offer(&[]), SUCCESS]);
}

#[test]
fn a_reload_requested_meanwhile_is_ignored_and_reported() {
    let mut simulation = Simulation::running(1);
    simulation.terminate();
    assert_eq!(simulation.reload(), []);
    assert_eq!(simulation.reports.last(), Some(&Report::ReloadIgnored));
}

#[test]
fn a_replacement_that_was_starting_is_killed() {
    let mut simulation = Simulation::running(1);
    let why = shovel_core::fleet::RecycleReason::MaxRss;
    simulation.event(Event::RecycleWanted { worker: worker(1), why });
    assert_eq!(simulation.terminate(), [Command::StopAccepting, dismiss(2), drain(1)]);
    assert_eq!(simulation.gone(2, Exit::Signal(9)), []);
    assert_eq!(simulation.pass(seconds(11)), []);
}

/// A fleet of one worker that was told to end in a reload: worker 1 is old, worker 2 serves.
fn ending_in_a_reload() -> Simulation {
    let mut simulation = Simulation::running(1);
    simulation.reload();
    simulation.image_loaded(2);
    simulation.bring_up(2);
    assert_eq!(simulation.terminate(), [Command::StopAccepting, drain(2), drain(1)]);
    simulation
}

#[test]
fn a_new_worker_that_owns_nothing_leaves_only_with_the_old_ones() {
    let mut simulation = ending_in_a_reload();
    assert_eq!(simulation.drained(2), []);
    assert_eq!(simulation.pass(seconds(20)), []);
    simulation.emptied();
    assert_eq!(simulation.drained(1), [offer(&[]), shutdown(1), shutdown(2)]);
    simulation.finishes(1);
    assert_eq!(simulation.finishes(2), [SUCCESS]);
}

#[test]
fn an_empty_worker_that_waits_for_others_is_not_late() {
    let config = Config { drain_timeout: seconds(1), ..config(1) };
    let mut simulation = Simulation::new(config);
    simulation.image_loaded(1);
    simulation.bring_up(1);
    simulation.reload();
    simulation.image_loaded(2);
    simulation.bring_up(2);
    simulation.terminate();
    simulation.drained(2);
    simulation.reports.clear();
    assert_eq!(simulation.pass(seconds(20)), [Command::Cut { worker: worker(1) }]);
    assert_eq!(simulation.reports, [Report::DrainTimedOut { worker: worker(1) }]);
}

#[test]
fn old_workers_of_a_reload_are_told_that_the_pool_ends() {
    let mut simulation = ending_in_a_reload();
    assert_eq!(simulation.fleet.generation(), Generation(2));
    simulation.emptied();
    simulation.gone(1, CRASH);
    assert_eq!(simulation.gone(2, CRASH), [offer(&[]), SUCCESS]);
}
