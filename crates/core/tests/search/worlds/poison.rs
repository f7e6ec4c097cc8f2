//! What kills its workers, among neighbours.

use crate::search::look;
use crate::witness::Seen;
use crate::world::{Config, Faults, NONE, PLAIN, TWO};
use shovel_core::custody::Death;

#[test]
fn poison_among_neighbours() {
    look(Config {
        name: "poison",
        messages: 1,
        poison: Some((0, 1)),
        demands: &[Seen::Quarantined, Seen::Tried, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn poison_behind_a_message() {
    look(Config {
        name: "poison, second",
        poison: Some((0, 2)),
        faults: Faults { client_closes: 1, ..NONE },
        demands: &[Seen::Quarantined, Seen::Tried, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn poison_behind_several() {
    look(Config {
        name: "poison, fourth of one window",
        messages: 4,
        window: 4,
        poison: Some((0, 4)),
        demands: &[Seen::Quarantined, Seen::Tried, Seen::Redelivered],
        ..PLAIN
    });
}

#[test]
fn poison_that_sends_first() {
    look(Config {
        name: "poison, flushes",
        messages: 2,
        flushes: true,
        poison: Some((0, 2)),
        demands: &[Seen::Quarantined, Seen::Tried, Seen::Partial],
        ..PLAIN
    });
}

#[test]
fn poison_adopted_among_neighbours() {
    look(Config {
        name: "poison adopted, reload",
        poison_adopt: Some(0),
        messages: 1,
        faults: Faults { reloads: 1, ..NONE },
        demands: &[Seen::Lost, Seen::Tried, Seen::Moved],
        ..TWO
    });
}

#[test]
fn a_program_that_ends_when_it_adopts() {
    look(Config {
        name: "reload to a program that ends when it adopts",
        poison_program: true,
        messages: 1,
        faults: Faults { reloads: 1, ..NONE },
        demands: &[Seen::Lost, Seen::Moved],
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
        demands: &[Seen::Quarantined, Seen::Lost, Seen::Tried],
        ..TWO
    });
}

#[test]
fn several_suspects() {
    look(Config {
        name: "three connections, two crashes",
        connections: 3,
        workers: 1,
        places: 2,
        messages: 1,
        faults: Faults { crashes: 2, ..NONE },
        demands: &[Seen::Tried, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn a_worker_that_dies_before_the_trial() {
    look(Config {
        name: "two connections, three crashes",
        connections: 2,
        workers: 1,
        places: 2,
        messages: 1,
        faults: Faults { crashes: 3, ..NONE },
        demands: &[Seen::Tried, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn trials_that_last_too_long() {
    look(Config {
        name: "poison, times",
        places: 2,
        messages: 1,
        poison: Some((0, 1)),
        faults: Faults { times: 3, ..NONE },
        demands: &[Seen::Quarantined, Seen::Tried, Seen::SuspectInCompany],
        ..TWO
    });
}

#[test]
fn a_suspect_that_waits_for_another() {
    look(Config {
        name: "a suspect waits for its company",
        workers: 1,
        messages: 1,
        waits_for: Some(((0, 1), (1, 1))),
        faults: Faults { crashes: 2, ..NONE },
        demands: &[Seen::Tried, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn company_that_waits_for_a_suspect() {
    look(Config {
        name: "company waits for a suspect",
        workers: 1,
        messages: 2,
        window: 2,
        waits_for: Some(((1, 1), (0, 1))),
        faults: Faults { crashes: 2, ..NONE },
        demands: &[Seen::SuspectInCompany, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn killed_from_outside() {
    look(Config {
        name: "two kills from outside, poison behind a message",
        connections: 1,
        messages: 3,
        window: 3,
        poison: Some((0, 2)),
        faults: Faults { outside: 2, ..NONE },
        demands: &[Seen::Quarantined, Seen::Tried],
        ..PLAIN
    });
}

#[test]
fn kills_convict_nobody_in_company() {
    look(Config {
        name: "four kills from outside, two connections",
        messages: 1,
        workers: 1,
        faults: Faults { outside: 4, ..NONE },
        demands: &[Seen::Tried, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn memory_that_runs_out() {
    look(Config {
        name: "poison that the kernel ends",
        messages: 2,
        window: 2,
        poison: Some((0, 2)),
        poison_death: Death::Killed,
        demands: &[Seen::Quarantined, Seen::Tried, Seen::Redelivered],
        ..TWO
    });
}

#[test]
fn poison_and_an_end() {
    look(Config {
        name: "poison, end, reload",
        messages: 1,
        poison: Some((0, 1)),
        faults: Faults { ends: 1, reloads: 1, ..NONE },
        demands: &[Seen::Quarantined, Seen::Ended],
        ..TWO
    });
}

#[test]
fn poison_that_moves() {
    look(Config {
        name: "poison, reload, times, close",
        poison: Some((0, 1)),
        faults: Faults { reloads: 1, times: 2, client_closes: 1, kills: 1, ..NONE },
        ..TWO
    });
}

#[test]
fn memory_that_runs_out_for_one_alone() {
    look(Config {
        name: "poison that the kernel ends, alone",
        messages: 2,
        poison: Some((0, 2)),
        poison_death: Death::Killed,
        demands: &[Seen::Quarantined, Seen::Tried],
        ..PLAIN
    });
}
