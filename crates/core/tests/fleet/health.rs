//! Pings, and deadlines of workers that leave.

use std::time::Duration;

use shovel_core::fleet::{Command, Event, Exit, Report, WorkerState};

use crate::harness::*;

/// The times, in seconds after `now`, at which the fleet pings during the next minute.
fn ping_times(simulation: &mut Simulation) -> Vec<u64> {
    let start = simulation.now;
    let mut times = Vec::new();
    while let Some(at) = simulation.fleet.poll_timeout().filter(|at| *at <= start + seconds(60)) {
        simulation.now = at;
        simulation.fleet.handle_timeout(at);
        while let Some(command) = simulation.fleet.poll_command() {
            if let Command::Ping { worker } = command {
                times.push((at - start).as_secs());
                simulation.fleet.handle_event(Event::Ponged { worker }, at);
            }
        }
        assert!(simulation.fleet.poll_timeout().is_none_or(|next| next > at), "no progress");
    }
    times
}

#[test]
fn a_ready_worker_is_pinged_at_a_sixth_of_the_hang_timeout() {
    let mut simulation = Simulation::running(1);
    let expected: Vec<u64> = (1..=12).map(|number| 5 * number).collect();
    assert_eq!(ping_times(&mut simulation), expected);
}

#[test]
fn a_draining_worker_is_pinged_too() {
    let mut simulation = Simulation::running(1);
    simulation.terminate();
    simulation.fleet.handle_event(Event::Ponged { worker: worker(1) }, simulation.now);
    assert_eq!(ping_times(&mut simulation)[..2], [5, 10]);
}

#[test]
fn only_one_ping_is_under_way_at_a_time() {
    let mut simulation = Simulation::running(1);
    let mut pings = 0;
    for _ in 0..29 {
        simulation.now += seconds(1);
        simulation.fleet.handle_timeout(simulation.now);
        while let Some(command) = simulation.fleet.poll_command() {
            assert!(matches!(command, Command::Ping { .. }), "{command:?}");
            pings += 1;
        }
    }
    assert_eq!(pings, 1);
}

#[test]
fn a_ping_under_way_when_a_drain_begins_is_still_waited_for() {
    let mut simulation = Simulation::running(1);
    simulation.answers_pings = false;
    simulation.pass(seconds(20));
    simulation.terminate();
    assert_eq!(simulation.pass(seconds(20)), [offer(&[]), kill(1)]);
}

#[test]
fn a_ping_that_goes_out_late_may_take_half_of_the_hang_timeout() {
    let mut simulation = Simulation::running(1);
    simulation.answers_pings = false;
    // Nobody looked at the clock for an hour.
    simulation.now += seconds(3600);
    simulation.fleet.handle_timeout(simulation.now);
    assert_eq!(simulation.pass(Duration::from_millis(14_999)), []);
    assert_eq!(simulation.pass(Duration::from_millis(1)), [offer(&[]), kill(1)]);
}

#[test]
fn a_worker_that_does_not_answer_a_ping_is_killed_and_restarted() {
    let mut simulation = Simulation::running(2);
    simulation.answers_pings = false;
    assert_eq!(simulation.pass(seconds(29)), []);
    simulation.fleet.handle_event(Event::Ponged { worker: worker(2) }, simulation.now);
    assert_eq!(simulation.pass(seconds(1)), [offer_but(&[2], &[1]), offer(&[2]), kill(1)]);
    let hung = Report::WorkerHung { worker: worker(1), silent_for: seconds(30) };
    assert_eq!(simulation.reports, [Report::WorkerLate { worker: worker(1) }, hung]);
    simulation.answers_pings = true;
    assert_eq!(simulation.event(Event::Ponged { worker: worker(1) }), []);
    simulation.gone(1, Exit::Signal(9));
    assert_eq!(simulation.pass(seconds(1)), [spawn(3, 0, 1)]);
}

/// A fleet of one worker that was reloaded: worker 1 drains, worker 2 serves.
fn draining() -> Simulation {
    let mut simulation = Simulation::running(1);
    simulation.reload();
    simulation.image_loaded(2);
    simulation.bring_up(2);
    assert_eq!(simulation.state(1), Some(WorkerState::Draining));
    simulation.reports.clear();
    simulation
}

#[test]
fn a_worker_that_does_not_drain_in_time_is_cut_once_and_then_waited_for() {
    let mut simulation = draining();
    assert_eq!(simulation.pass(Duration::from_millis(59_999)), []);
    assert_eq!(simulation.pass(seconds(600)), [Command::Cut { worker: worker(1) }]);
    assert_eq!(simulation.drained(1), [shutdown(1)]);
}

/// Worker 1 does not let go of a connection.
fn stuck(has_requests: bool) -> Event {
    Event::Stuck { worker: worker(1), has_requests }
}

#[test]
fn a_worker_that_does_not_let_go_of_a_connection_is_killed_unless_it_has_requests() {
    let mut simulation = draining();
    assert_eq!(simulation.event(stuck(true)), []);
    assert_eq!(simulation.reports, []);
    assert_eq!(simulation.event(stuck(false)), [dismiss(1)]);
    assert_eq!(simulation.reports, [Report::HandlerStuck { worker: worker(1) }]);
}

#[test]
fn its_requests_have_the_time_that_a_drain_may_take_and_no_more() {
    let mut simulation = draining();
    simulation.pass(Duration::from_millis(59_999));
    assert_eq!(simulation.event(stuck(true)), []);
    assert_eq!(simulation.pass(Duration::from_millis(1)), [Command::Cut { worker: worker(1) }]);
    assert_eq!(simulation.event(stuck(true)), [dismiss(1)]);
}

#[test]
fn a_drained_worker_that_does_not_stop_within_ten_seconds_is_killed() {
    let mut simulation = draining();
    assert_eq!(simulation.drained(1), [shutdown(1)]);
    assert_eq!(simulation.pass(Duration::from_millis(9_999)), []);
    assert_eq!(simulation.pass(Duration::from_millis(1)), [dismiss(1)]);
    assert_eq!(simulation.reports, [Report::StopTimedOut { worker: worker(1) }]);
    assert_eq!(simulation.gone(1, Exit::Signal(9)), [drop_image(1)]);
}

#[test]
fn a_worker_that_completed_its_shutdown_but_does_not_exit_is_killed_after_two_seconds() {
    for last in [
        Event::ShutdownCompleted { worker: worker(1) },
        Event::LinkEnded { worker: worker(1), why: None },
    ] {
        let mut simulation = draining();
        simulation.drained(1);
        assert_eq!(simulation.event(last), []);
        assert_eq!(simulation.pass(Duration::from_millis(1_999)), []);
        assert_eq!(simulation.pass(Duration::from_millis(1)), [dismiss(1)]);
    }
}

#[test]
fn a_draining_worker_that_dies_is_not_restarted() {
    let mut simulation = draining();
    assert_eq!(simulation.gone(1, CRASH), [drop_image(1)]);
    assert_eq!(simulation.pass(seconds(60)), []);
}

#[test]
fn a_draining_worker_that_hangs_is_killed_and_not_restarted() {
    let mut simulation = draining();
    simulation.answers_pings = false;
    // Worker 2 is left to answer, and takes over what the other has not.
    simulation.pass(seconds(10));
    let commands = simulation.event(Event::Ponged { worker: worker(2) });
    assert_eq!(commands, [offer_but(&[2], &[1])]);
    assert_eq!(simulation.pass(seconds(20)), [offer(&[2]), kill(1)]);
    simulation.answers_pings = true;
    simulation.event(Event::Ponged { worker: worker(2) });
    assert_eq!(simulation.gone(1, Exit::Signal(9)), [drop_image(1)]);
    assert_eq!(simulation.pass(seconds(60)), []);
}
