//! What moves connections between workers, one or two of them.

use crate::search::look;
use crate::witness::Seen;
use crate::world::{Config, Faults, NONE, PLAIN, TWO};
use std::time::Duration;

#[test]
fn crash_reload_and_close() {
    look(Config {
        name: "crash, reload, close",
        faults: Faults { crashes: 1, reloads: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::CloseRedelivered, Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn two_reloads_and_a_late_upgrade() {
    look(Config {
        name: "two reloads, close, late upgrade",
        places: 4,
        faults: Faults { reloads: 2, client_closes: 1, late_upgrades: 1, ..NONE },
        demands: &[Seen::Moved, Seen::TooLate, Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn two_crashes_and_a_refusal() {
    look(Config {
        name: "two crashes, close, refusal",
        faults: Faults { crashes: 2, client_closes: 1, refusals: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Refused, Seen::CloseRedelivered],
        ..PLAIN
    });
}

#[test]
fn two_sleeps_and_a_crash() {
    look(Config {
        name: "two sleeps, close, crash",
        faults: Faults { sleeps: 2, client_closes: 1, crashes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Finished, Seen::Asleep],
        ..PLAIN
    });
}

#[test]
fn two_recycles_and_a_crash() {
    look(Config {
        name: "two recycles, crash, close",
        workers: 2,
        faults: Faults { recycles: 2, crashes: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn first_attached_by_a_message() {
    look(Config {
        name: "first attached by message 2, crash, reload, close",
        attach_from: 2,
        faults: Faults { crashes: 1, reloads: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Lost, Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn flushes_and_two_crashes() {
    look(Config {
        name: "flushes, two crashes, reload",
        messages: 2,
        flushes: true,
        faults: Faults { crashes: 2, reloads: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Partial],
        ..PLAIN
    });
}

#[test]
fn the_app_closes() {
    look(Config {
        name: "the app closes, crash, reload, client closes",
        app_closes: 2,
        faults: Faults { crashes: 1, reloads: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::CloseRedelivered],
        ..PLAIN
    });
}

#[test]
fn attached_by_a_task_and_by_hooks() {
    look(Config {
        name: "two ticks, hooks, crash, reload",
        messages: 2,
        hooks: true,
        faults: Faults { ticks: 2, crashes: 1, reloads: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered],
        ..PLAIN
    });
}

#[test]
fn killed_without_blame() {
    look(Config {
        name: "three kills, close, answers with LAST",
        messages: 2,
        echoes: true,
        faults: Faults { kills: 3, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn handlers_that_panic() {
    look(Config {
        name: "two panics, crash, reload",
        messages: 2,
        flushes: true,
        faults: Faults { panics: 2, crashes: 1, reloads: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Panicked],
        ..PLAIN
    });
}

#[test]
fn not_portable() {
    look(Config {
        name: "not portable, crash, reload, close",
        adopts: false,
        faults: Faults { crashes: 1, reloads: 1, client_closes: 1, late_upgrades: 1, ..NONE },
        demands: &[Seen::Lost, Seen::TooLate, Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn farewells_that_are_spread() {
    look(Config {
        name: "not portable, reload, spread farewells, close, end",
        adopts: false,
        connections: 2,
        messages: 1,
        close_spread: Duration::from_secs(1),
        faults: Faults { reloads: 1, client_closes: 1, ends: 1, times: 1, ..NONE },
        demands: &[Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn a_program_that_cannot_adopt() {
    look(Config {
        name: "reload to a program that cannot adopt, crash, close",
        newer_adopts: false,
        messages: 2,
        faults: Faults { reloads: 1, crashes: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Lost, Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn slow_clients() {
    look(Config {
        name: "two pressures, reload, crash",
        messages: 2,
        flushes: true,
        faults: Faults { presses: 2, reloads: 1, crashes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Partial],
        ..PLAIN
    });
}

#[test]
fn slow_clients_beside_a_tick() {
    look(Config {
        name: "pressure, hooks, tick, reload, time",
        messages: 2,
        hooks: true,
        faults: Faults { presses: 1, reloads: 1, ticks: 1, times: 2, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Cut],
        ..PLAIN
    });
}

#[test]
fn two_connections_and_a_recycle() {
    look(Config {
        name: "two connections, crash, recycle, close",
        workers: 2,
        messages: 1,
        faults: Faults { crashes: 1, recycles: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn two_connections_and_a_reload() {
    look(Config {
        name: "two connections, crash, reload, close",
        messages: 1,
        faults: Faults { crashes: 1, reloads: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn more_connections_than_may_move() {
    look(Config {
        name: "four connections, two moves at once, reload, time",
        connections: 4,
        messages: 1,
        window: 1,
        moves: 2,
        faults: Faults { reloads: 1, times: 1, ..NONE },
        demands: &[Seen::Moved],
        ..PLAIN
    });
}

#[test]
fn one_move_at_once() {
    look(Config {
        name: "three connections, one move at once, reload, crash",
        connections: 3,
        messages: 1,
        window: 1,
        moves: 1,
        faults: Faults { reloads: 1, crashes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered],
        ..PLAIN
    });
}

#[test]
fn everything_once() {
    look(Config {
        name: "everything once",
        messages: 2,
        flushes: true,
        hooks: true,
        faults: Faults {
            crashes: 1,
            kills: 1,
            reloads: 1,
            sleeps: 1,
            client_closes: 1,
            late_upgrades: 1,
            refusals: 1,
            ticks: 1,
            times: 3,
            ..NONE
        },
        ..PLAIN
    });
}

#[test]
fn everything_and_two_crashes() {
    look(Config {
        name: "everything, two crashes",
        workers: 2,
        app_closes: 3,
        flushes: true,
        faults: Faults {
            crashes: 2,
            reloads: 1,
            sleeps: 1,
            recycles: 1,
            ends: 1,
            client_closes: 1,
            late_upgrades: 1,
            refusals: 1,
            ticks: 1,
            times: 3,
            ..NONE
        },
        ..PLAIN
    });
}

#[test]
fn two_connections_of_one_dead_worker() {
    look(Config {
        name: "two connections, crash",
        messages: 1,
        faults: Faults { crashes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn a_slow_move_that_waits_for_another() {
    look(Config {
        name: "one move at once, a slow one waits for another",
        workers: 2,
        messages: 1,
        moves: 1,
        waits_for: Some(((0, 1), (1, 1))),
        faults: Faults { reloads: 1, crashes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered],
        forbids: &[Seen::Cut],
        ..TWO
    });
}
