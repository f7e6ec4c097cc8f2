//! Starting, and starting again.

use std::time::Duration;

use shovel_core::fleet::{Command, Event, Exit, Report, WorkerState};
use shovel_protocol::id::Generation;

use crate::harness::*;

#[test]
fn workers_are_spawned_once_the_image_is_loaded() {
    let mut simulation = Simulation::new(config(2));
    assert_eq!(simulation.image_loaded(1), [spawn(1, 0, 1), spawn(2, 1, 1)]);
    assert_eq!(simulation.image_loaded(1), []);
}

#[test]
fn an_image_that_cannot_be_loaded_ends_the_pool() {
    let mut simulation = Simulation::new(config(2));
    let why = "no such file: app".to_string();
    let commands = simulation.event(Event::ImageFailed { generation: Generation(1), why });
    assert_eq!(failure(&commands), Some("no such file: app"));
    assert_eq!(simulation.fleet.poll_timeout(), None);
}

#[test]
fn a_worker_is_offered_as_soon_as_it_is_ready_at_first_start() {
    let mut simulation = Simulation::new(config(2));
    simulation.image_loaded(1);
    assert_eq!(simulation.bring_up(2), [offer(&[2])]);
    assert_eq!(simulation.bring_up(1), [offer(&[1, 2])]);
}

#[test]
fn a_worker_is_starting_until_process_link_and_ready_are_all_there_in_any_order() {
    let events = |id| {
        [
            Event::Spawned { worker: worker(id), pid: 1 },
            Event::LinkObtained { worker: worker(id) },
            Event::Ready { worker: worker(id) },
        ]
    };
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut simulation = Simulation::new(config(1));
        simulation.image_loaded(1);
        for which in &order[..2] {
            assert_eq!(simulation.event(events(1)[*which].clone()), []);
            assert_eq!(simulation.state(1), Some(WorkerState::Starting));
        }
        assert_eq!(simulation.event(events(1)[order[2]].clone()), [offer(&[1])]);
    }
}

#[test]
fn a_crashed_worker_leaves_the_offer_at_once_and_is_restarted_in_its_place() {
    let mut simulation = Simulation::running(2);
    assert_eq!(simulation.gone(2, Exit::Signal(9)), [offer(&[1])]);
    assert!(matches!(
        simulation.reports[..],
        [Report::WorkerFailed { restart_in: Some(delay), .. }]
            if delay <= Duration::from_millis(100) && delay >= Duration::from_millis(75)
    ));
    assert_eq!(simulation.pass(Duration::from_millis(74)), []);
    assert_eq!(simulation.pass(Duration::from_millis(26)), [spawn(3, 1, 1)]);
    assert_eq!(simulation.bring_up(3), [offer(&[1, 3])]);
    let view = simulation.fleet.workers().last();
    assert_eq!(view.map(|view| (view.pid, view.restarts)), Some((Some(1003), 1)));
}

/// The pauses before each restart of a worker that is ready for `health` each time.
fn pauses(health: Duration, restarts: u32) -> Vec<Duration> {
    let mut simulation = Simulation::running(2);
    let mut id = 2;
    let mut pauses = Vec::new();
    for _ in 0..restarts {
        simulation.pass(health);
        simulation.gone(id, CRASH);
        let Some(Report::WorkerFailed { restart_in: Some(pause), .. }) = simulation.reports.last()
        else {
            panic!("{:?}", simulation.reports)
        };
        pauses.push(*pause);
        simulation.pass(*pause);
        id = simulation.fleet.workers().map(|view| view.id.0).max().unwrap_or(0);
        simulation.bring_up(id);
    }
    pauses
}

#[test]
fn restarts_of_a_failing_worker_go_on_for_ever_ten_seconds_apart() {
    let pauses = pauses(seconds(1), 12);
    assert!(pauses[..7].windows(2).all(|pair| pair[1] > pair[0]), "{pauses:?}");
    assert!(pauses[7..].iter().all(|pause| *pause > seconds(7) && *pause <= seconds(10)));
}

#[test]
fn thirty_seconds_of_health_make_earlier_failures_forgotten() {
    assert!(pauses(seconds(29), 4)[3] > Duration::from_millis(500));
    assert!(pauses(seconds(30), 4).iter().all(|pause| *pause <= Duration::from_millis(100)));
}

#[test]
fn three_failed_starts_with_none_ever_ready_end_the_pool() {
    let mut simulation = Simulation::new(config(2));
    simulation.image_loaded(1);
    assert_eq!(simulation.gone(1, Exit::Code(1)), []);
    assert_eq!(simulation.pass(seconds(1)), [spawn(3, 0, 1)]);
    let why = "out of memory".to_string();
    assert_eq!(simulation.event(Event::SpawnFailed { worker: worker(3), why }), []);
    assert_eq!(simulation.pass(seconds(1)), [spawn(4, 0, 1)]);
    assert_eq!(simulation.gone(4, Exit::Code(1)), [Command::EndWaits, dismiss(2)]);
    let commands = simulation.gone(2, Exit::Signal(9));
    assert_eq!(
        failure(&commands),
        Some("no worker became ready; the last to fail: worker 4 exited with code 1")
    );
}

#[test]
fn failed_starts_after_the_first_ready_worker_do_not_end_the_pool() {
    let mut simulation = Simulation::new(config(2));
    simulation.image_loaded(1);
    simulation.bring_up(1);
    for id in 2..10 {
        simulation.gone(id, CRASH);
        assert_eq!(simulation.pass(seconds(10)), [spawn(id + 1, 1, 1)]);
    }
}

#[test]
fn a_worker_that_never_says_ready_is_killed_and_counts_as_a_failed_start() {
    let mut simulation = Simulation::new(config(1));
    simulation.image_loaded(1);
    for id in 1..3 {
        assert_eq!(simulation.pass(seconds(30)), [kill(id)]);
        simulation.gone(id, Exit::Signal(9));
        assert_eq!(simulation.pass(Duration::from_millis(200)), [spawn(id + 1, 0, 1)]);
    }
    simulation.pass(seconds(30));
    let commands = simulation.gone(3, Exit::Signal(9));
    assert!(failure(&commands).is_some_and(|why| why.ends_with("was not ready within 30s")));
}

#[test]
fn a_refused_worker_is_killed_and_its_refusal_is_the_reason_reported() {
    let mut simulation = Simulation::new(config(1));
    simulation.image_loaded(1);
    let why = "does not speak the link".to_string();
    let refused = Event::Refused { worker: worker(1), why: why.clone() };
    assert_eq!(simulation.event(refused), [kill(1)]);
    simulation.gone(1, Exit::Signal(9));
    assert!(matches!(
        &simulation.reports[..],
        [Report::WorkerFailed { why: reported, restart_in: Some(_), .. }] if *reported == why
    ));
}

#[test]
fn a_worker_whose_link_ends_is_killed_and_restarted_when_it_is_gone() {
    let mut simulation = Simulation::running(1);
    let ended = Event::LinkEnded { worker: worker(1), why: None };
    assert_eq!(simulation.event(ended.clone()), [offer(&[]), kill(1)]);
    assert_eq!(simulation.event(ended), []);
    assert_eq!(simulation.pass(seconds(60)), []);
    simulation.gone(1, CRASH);
    assert!(matches!(
        &simulation.reports[..],
        [Report::WorkerFailed { why, .. }] if why == "ended its link, then exited with code 101"
    ));
    assert_eq!(simulation.pass(seconds(1)), [spawn(2, 0, 1)]);
}

#[test]
fn a_process_that_comes_to_be_after_its_kill_is_killed_again() {
    let mut simulation = Simulation::new(config(1));
    simulation.image_loaded(1);
    assert_eq!(simulation.pass(seconds(30)), [kill(1)]);
    assert_eq!(simulation.event(Event::Spawned { worker: worker(1), pid: 9 }), [kill(1)]);
}

#[test]
fn events_about_strangers_are_ignored() {
    let mut simulation = Simulation::running(1);
    let stranger = worker(99);
    for event in [
        Event::Spawned { worker: stranger, pid: 1 },
        Event::SpawnFailed { worker: stranger, why: "x".into() },
        Event::LinkObtained { worker: stranger },
        Event::Ready { worker: stranger },
        Event::Refused { worker: stranger, why: "x".into() },
        Event::Ponged { worker: stranger },
        Event::LinkEnded { worker: stranger, why: None },
        Event::Gone { worker: stranger, exit: CRASH },
        Event::Drained { worker: stranger },
        Event::ShutdownCompleted { worker: stranger },
        Event::ImageLoaded { generation: Generation(99) },
        Event::ImageFailed { generation: Generation(99), why: "x".into() },
    ] {
        assert_eq!(simulation.event(event), []);
    }
    assert!(simulation.reports.is_empty());
}
