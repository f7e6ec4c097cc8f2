//! What takes too long.

use crate::search::look;
use crate::witness::Seen;
use crate::world::{Config, Faults, NONE, PLAIN};

#[test]
fn handlers_cut_at_their_deadline() {
    look(Config {
        name: "time, reload, crash, close",
        messages: 2,
        faults: Faults { times: 4, reloads: 1, crashes: 1, client_closes: 1, ..NONE },
        demands: &[
            Seen::Moved,
            Seen::Redelivered,
            Seen::Cut,
            Seen::Crossed,
            Seen::CloseRedelivered,
        ],
        ..PLAIN
    });
}

#[test]
fn a_hasty_sdk() {
    look(Config {
        name: "time, reload, crash, of a hasty SDK",
        messages: 2,
        hasty: true,
        faults: Faults { times: 4, reloads: 1, crashes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Cut, Seen::Crossed],
        ..PLAIN
    });
}

#[test]
fn adoptions_that_take_too_long() {
    look(Config {
        name: "three revokes of adoptions",
        messages: 1,
        faults: Faults { times: 7, crashes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Cut, Seen::NoWorker],
        ..PLAIN
    });
}

#[test]
fn a_release_hook_that_is_cut() {
    look(Config {
        name: "hooks, time, reload",
        messages: 2,
        hooks: true,
        faults: Faults { times: 4, reloads: 2, ticks: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Cut],
        ..PLAIN
    });
}

#[test]
fn workers_that_hang() {
    look(Config {
        name: "hang, reload, time, close",
        messages: 2,
        faults: Faults { hangs: 2, times: 5, reloads: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Stuck],
        ..PLAIN
    });
}

#[test]
fn nobody_to_take_it() {
    look(Config {
        name: "crash, sleep, close, no worker",
        messages: 2,
        barren: true,
        faults: Faults { crashes: 1, sleeps: 1, client_closes: 1, ..NONE },
        demands: &[Seen::NoWorker],
        ..PLAIN
    });
}

#[test]
fn a_worker_that_comes_late() {
    look(Config {
        name: "crash, sleep, close, times",
        messages: 2,
        faults: Faults { crashes: 1, sleeps: 1, client_closes: 1, times: 2, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::NoWorker],
        ..PLAIN
    });
}
