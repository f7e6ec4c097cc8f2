//! The worlds that are searched.
//!
//! A search ends after `SHOVEL_NEMESIS_STATES` states, or 500,000; all but two of the worlds have
//! fewer. `scripts/soak.sh` goes further in those two.

use crate::search::search;
use crate::witness::Seen;
use crate::world::{Config, Faults, NONE, PLAIN, TWO};

fn look(config: Config) {
    let most = std::env::var("SHOVEL_NEMESIS_STATES").ok().and_then(|value| value.parse().ok());
    search(&config, most.unwrap_or(500_000));
}

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
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn two_rebalances_and_a_crash() {
    look(Config {
        name: "two rebalances, crash, close",
        workers: 2,
        faults: Faults { rebalances: 2, crashes: 1, client_closes: 1, ..NONE },
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
fn handlers_cut_at_their_deadline() {
    look(Config {
        name: "two revokes, reload, crash, close",
        messages: 2,
        faults: Faults { revokes: 2, reloads: 1, crashes: 1, client_closes: 1, ..NONE },
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
fn a_patient_sdk() {
    look(Config {
        name: "two revokes, reload, crash, of a patient SDK",
        messages: 2,
        patient: true,
        faults: Faults { revokes: 2, reloads: 1, crashes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Cut, Seen::Crossed],
        ..PLAIN
    });
}

#[test]
fn adoptions_that_take_too_long() {
    look(Config {
        name: "three revokes of adoptions",
        messages: 1,
        faults: Faults { revokes: 3, crashes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Cut, Seen::Lost],
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
        app_closes: 3,
        faults: Faults { crashes: 1, reloads: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::CloseRedelivered, Seen::Finished],
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
fn nobody_to_take_it() {
    look(Config {
        name: "crash, sleep, close, no worker",
        messages: 2,
        faults: Faults { crashes: 1, sleeps: 1, client_closes: 1, waits: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered],
        ..PLAIN
    });
}

#[test]
fn poison_among_neighbours() {
    look(Config {
        name: "poison",
        messages: 1,
        poison: Some((0, 1)),
        demands: &[Seen::Quarantined, Seen::SuspectWaits, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn poison_behind_a_message() {
    look(Config {
        name: "poison, second",
        poison: Some((0, 2)),
        faults: Faults { client_closes: 1, ..NONE },
        demands: &[Seen::Quarantined, Seen::SuspectWaits, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn poison_adopted_among_neighbours() {
    look(Config {
        name: "poison adopted, reload",
        poison_adopt: Some(0),
        messages: 1,
        faults: Faults { reloads: 1, ..NONE },
        demands: &[Seen::Lost, Seen::SuspectWaits, Seen::Moved],
        ..TWO
    });
}

#[test]
fn a_suspect_beside_a_fresh_poison() {
    look(Config {
        name: "two poisons and a neighbour",
        connections: 3,
        workers: 2,
        places: 2,
        messages: 1,
        poison: Some((0, 1)),
        poison_adopt: Some(1),
        demands: &[Seen::Quarantined, Seen::Lost, Seen::SuspectWaits],
        ..TWO
    });
}

#[test]
fn trials_that_last_too_long() {
    look(Config {
        name: "poison, two lapses",
        places: 2,
        messages: 1,
        poison: Some((0, 1)),
        faults: Faults { lapses: 2, ..NONE },
        demands: &[Seen::Quarantined, Seen::SuspectWaits, Seen::SuspectInCompany],
        ..TWO
    });
}

#[test]
fn two_connections_and_a_rebalance() {
    look(Config {
        name: "two connections, crash, rebalance, close",
        workers: 2,
        messages: 1,
        faults: Faults { crashes: 1, rebalances: 1, client_closes: 1, ..NONE },
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
            revokes: 1,
            ticks: 1,
            ..NONE
        },
        demands: &[Seen::Moved, Seen::Redelivered],
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
            rebalances: 1,
            client_closes: 1,
            late_upgrades: 1,
            refusals: 1,
            revokes: 1,
            ticks: 1,
            ..NONE
        },
        ..PLAIN
    });
}

#[test]
fn poison_that_moves() {
    look(Config {
        name: "poison, reload, revoke, close",
        poison: Some((0, 1)),
        faults: Faults { reloads: 1, revokes: 1, client_closes: 1, kills: 1, ..NONE },
        ..TWO
    });
}
