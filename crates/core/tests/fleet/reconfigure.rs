//! Other settings while the pool runs.

use shovel_core::fleet::{Command, Config, Event, Report, Severity};

use crate::harness::*;

fn reconfigure(simulation: &mut Simulation, config: Config) -> Vec<Command> {
    simulation.event(Event::Reconfigured { config })
}

#[test]
fn another_number_of_workers_holds_for_the_next_generation_only() {
    let mut simulation = Simulation::running(2);
    assert_eq!(reconfigure(&mut simulation, config(3)), []);
    assert_eq!(simulation.reload(), [load_image(2)]);
    assert_eq!(simulation.image_loaded(2), [spawn(3, 0, 2), spawn(4, 1, 2), spawn(5, 2, 2)]);
}

/// A generation that failed left the old one as it was, with its number of workers.
#[test]
fn scaling_to_the_number_that_is_already_wanted_still_reaches_the_generation_that_serves() {
    let mut simulation = Simulation::running(2);
    reconfigure(&mut simulation, config(3));
    let commands = simulation.event(Event::ScaleRequested { workers: 3 });
    assert_eq!(commands, [spawn(3, 2, 1)]);
    assert_eq!(simulation.reports, [Report::Scaled { before: 2, workers: 3 }]);
}

#[test]
fn another_ready_timeout_holds_for_workers_that_start_from_then_on() {
    let mut simulation = Simulation::running(1);
    reconfigure(&mut simulation, Config { ready_timeout: seconds(5), ..config(1) });
    simulation.reload();
    simulation.image_loaded(2);
    assert_eq!(simulation.pass(seconds(4)), []);
    assert_eq!(simulation.pass(seconds(1)), [kill(2)]);
    assert_eq!(simulation.abandonment(), Some("worker 2 was not ready within 5s"));
}

#[test]
fn another_drain_timeout_holds_for_drains_that_begin_from_then_on() {
    let mut simulation = Simulation::running(1);
    reconfigure(&mut simulation, Config { drain_timeout: seconds(5), ..config(1) });
    simulation.reload();
    simulation.image_loaded(2);
    simulation.bring_up(2);
    reconfigure(&mut simulation, Config { drain_timeout: seconds(1), ..config(1) });
    assert_eq!(simulation.pass(seconds(4)), []);
    assert_eq!(simulation.pass(seconds(1)), [Command::Cut { worker: worker(1) }]);
}

#[test]
fn another_age_holds_for_workers_that_are_ready_already() {
    let mut simulation = Simulation::running(1);
    simulation.pass(seconds(10));
    reconfigure(&mut simulation, Config { max_age: Some(seconds(15)), ..config(1) });
    assert_eq!(simulation.pass(seconds(5)), [spawn(2, 0, 1)]);
}

#[test]
fn a_refused_reload_is_told_as_an_error_and_changes_nothing() {
    let mut simulation = Simulation::running(1);
    let why = "fleet.toml:1: unknown key 'x'".to_owned();
    assert_eq!(simulation.event(Event::ReloadRefused { why: why.clone() }), []);
    assert!(!simulation.fleet.is_reloading());
    assert_eq!(simulation.reports, [Report::ReloadRefused { why }]);
    assert_eq!(simulation.reports[0].severity(), Severity::Error);
}
