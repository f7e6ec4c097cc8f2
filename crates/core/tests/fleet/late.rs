//! E130: workers that answer late, while somebody waits for them.

use std::time::Duration;

use shovel_core::fleet::{Command, Event, Report};

use crate::harness::*;

/// The answer of this worker is waited for.
fn awaited(id: u32) -> Event {
    Event::Awaited { worker: worker(id) }
}

fn ponged(id: u32) -> Event {
    Event::Ponged { worker: worker(id) }
}

/// Workers that have answered a while ago and from now on do not.
fn silent(workers: u32) -> Simulation {
    let mut simulation = Simulation::running(workers);
    simulation.pass(seconds(6));
    simulation.answers_pings = false;
    // The last pings were sent and answered at 5 s.
    simulation
}

/// Whom the fleet pings because of this event.
fn pings(simulation: &mut Simulation, event: Event) -> Vec<u32> {
    simulation.fleet.handle_event(event, simulation.now);
    let mut pings = Vec::new();
    while let Some(command) = simulation.fleet.poll_command() {
        match command {
            Command::Ping { worker } => pings.push(worker.0),
            other => panic!("{other:?}"),
        }
    }
    pings
}

#[test]
fn a_worker_whose_answer_is_waited_for_is_pinged_once_a_second() {
    let mut simulation = silent(2);
    assert_eq!(pings(&mut simulation, awaited(1)), [1]);
    assert_eq!(pings(&mut simulation, awaited(1)), [0; 0], "one is under way");
    assert_eq!(pings(&mut simulation, ponged(1)), [0; 0]);
    simulation.now += Duration::from_millis(999);
    assert_eq!(pings(&mut simulation, awaited(1)), [0; 0], "it answered just now");
    simulation.now += Duration::from_millis(1);
    assert_eq!(pings(&mut simulation, awaited(1)), [1]);
}

#[test]
fn one_whose_pong_is_a_second_late_is_not_offered_until_it_comes() {
    let mut simulation = silent(3);
    simulation.event(awaited(2));
    assert_eq!(simulation.pass(Duration::from_millis(999)), []);
    assert_eq!(simulation.pass(Duration::from_millis(1)), [offer_but(&[1, 3], &[2])]);
    assert_eq!(simulation.event(ponged(2)), [offer(&[1, 2, 3])]);
    let told =
        [Report::WorkerLate { worker: worker(2) }, Report::WorkerOnTime { worker: worker(2) }];
    assert_eq!(simulation.reports, told);
}

#[test]
fn all_are_offered_while_all_are_late() {
    let mut simulation = silent(2);
    simulation.event(awaited(1));
    assert_eq!(simulation.pass(seconds(1)), [offer_but(&[2], &[1])]);
    simulation.event(awaited(2));
    assert_eq!(simulation.pass(seconds(1)), [offer(&[1, 2])]);
    assert_eq!(simulation.event(ponged(2)), [offer_but(&[2], &[1])]);
    assert_eq!(simulation.event(ponged(1)), [offer(&[1, 2])]);
}

#[test]
fn the_only_worker_is_offered_however_late_it_is() {
    let mut simulation = silent(1);
    simulation.event(awaited(1));
    assert_eq!(simulation.pass(seconds(20)), []);
    assert_eq!(simulation.reports, []);
}

#[test]
fn one_that_is_late_is_killed_when_it_hangs_and_not_before() {
    let mut simulation = silent(2);
    simulation.event(awaited(1));
    // It answered at 5 s, and it is 6 s now.
    assert_eq!(simulation.pass(seconds(4)), [offer_but(&[2], &[1])]);
    simulation.event(ponged(2));
    simulation.answers_pings = true;
    assert_eq!(simulation.pass(Duration::from_millis(24_999)), []);
    assert_eq!(simulation.pass(Duration::from_millis(1)), [offer(&[2]), kill(1)]);
}

#[test]
fn one_that_is_late_does_not_stay_awake_in_place_of_one_that_answers() {
    let mut simulation = silent(2);
    simulation.event(awaited(1));
    simulation.pass(seconds(1));
    simulation.reports.clear();
    for id in [1, 2] {
        assert_eq!(simulation.event(Event::Idle { worker: worker(id) }), []);
    }
    assert_eq!(simulation.reports, []);
}
