//! Two threads that have their workers in common.

use shovel_core::custody::Death;

use crate::search::look_at;
use crate::threads::{Config, Seen, World};

const COMMON: Config = Config {
    name: "",
    workers: 1,
    messages: 1,
    deaths: 3,
    death: Death::Fault,
    times: 1,
    poison: false,
    is_proven: true,
    demands: &[],
};

#[test]
fn a_worker_in_common_that_crashes() {
    look_at::<World>(Config {
        name: "two threads, crashes",
        demands: &[Seen::Served, Seen::Convicted, Seen::HadCompany],
        ..COMMON
    });
}

#[test]
fn a_worker_in_common_that_hangs() {
    look_at::<World>(Config {
        name: "two threads, hangs",
        death: Death::Hang,
        demands: &[Seen::Served, Seen::Convicted, Seen::HadCompany],
        ..COMMON
    });
}

#[test]
fn a_poison_on_one_of_two_threads() {
    look_at::<World>(Config {
        name: "two threads, poison",
        deaths: 0,
        times: 2,
        poison: true,
        demands: &[Seen::Served, Seen::Convicted, Seen::HadCompany],
        ..COMMON
    });
}

#[test]
fn two_workers_in_common_that_crash() {
    look_at::<World>(Config {
        name: "two threads, two workers",
        workers: 2,
        demands: &[Seen::Served, Seen::Convicted, Seen::HadCompany],
        ..COMMON
    });
}

#[test]
fn workers_in_common_that_have_not_adopted_yet() {
    look_at::<World>(Config {
        name: "two threads, first adoptions",
        is_proven: false,
        demands: &[Seen::Served, Seen::Convicted, Seen::HadCompany],
        ..COMMON
    });
}

#[test]
fn what_comes_behind_a_poison_on_one_of_two_threads() {
    look_at::<World>(Config {
        name: "two threads, poison, two messages",
        messages: 2,
        deaths: 0,
        times: 0,
        poison: true,
        demands: &[Seen::Served, Seen::Convicted],
        ..COMMON
    });
}
