//! A program that cannot start while somebody is about to mend it.

use shovel_core::fleet::{Config, Event, Report};
use shovel_protocol::id::Generation;

use crate::harness::*;

fn patient() -> Simulation {
    Simulation::new(Config { waits_for_a_better_program: true, ..config(1) })
}

#[test]
fn a_program_that_is_not_there_is_waited_for_and_then_loaded_by_a_reload() {
    let mut simulation = patient();
    let (generation, why) = (Generation(1), "app does not exist".to_owned());
    let failed = Event::ImageFailed { generation, why: why.clone() };
    assert_eq!(simulation.event(failed), []);
    assert_eq!(simulation.reports, [Report::StartFailed { why }]);
    assert_eq!(simulation.reload(), [load_image(2)]);
    assert_eq!(simulation.image_loaded(2), [spawn(1, 0, 2)]);
    assert_eq!(simulation.bring_up(1), [drop_image(1), offer(&[1])]);
    assert!(!simulation.fleet.is_reloading());
}

#[test]
fn a_program_that_fails_at_its_start_is_tried_until_a_reload_replaces_it() {
    let mut simulation = patient();
    simulation.image_loaded(1);
    for id in 1..10 {
        assert_eq!(simulation.gone(id, CRASH), [], "the pool goes on");
        assert_eq!(simulation.pass(seconds(10)), [spawn(id + 1, 0, 1)]);
    }
    assert_eq!(simulation.reload(), [load_image(2)]);
    assert_eq!(simulation.image_loaded(2), [spawn(11, 0, 2)]);
    simulation.bring_up(11);
    assert_eq!(simulation.fleet.generation(), Generation(2));
}

#[test]
fn a_reload_that_fails_is_given_up_all_the_same() {
    let mut simulation = patient();
    simulation.image_loaded(1);
    simulation.bring_up(1);
    simulation.reload();
    simulation.image_loaded(2);
    for id in 2..5 {
        simulation.gone(id, CRASH);
        simulation.pass(seconds(1));
    }
    assert_eq!(simulation.abandonment(), Some("worker 4 exited with code 101"));
}
