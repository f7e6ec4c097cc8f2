//! The pool ends at any moment.

use crate::search::look;
use crate::witness::Seen;
use crate::world::{Config, Faults, NONE, PLAIN, TWO};

#[test]
fn an_end_in_a_reload() {
    look(Config {
        name: "end, reload, close",
        faults: Faults { ends: 1, reloads: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Ended, Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn an_end_in_a_reload_of_two() {
    look(Config {
        name: "two connections, end, reload",
        messages: 1,
        faults: Faults { ends: 1, reloads: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Ended],
        ..TWO
    });
}

#[test]
fn an_end_in_a_reload_of_several() {
    look(Config {
        name: "four connections, two moves at once, end, reload",
        connections: 3,
        messages: 1,
        window: 1,
        moves: 1,
        faults: Faults { ends: 1, reloads: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Ended],
        ..PLAIN
    });
}

#[test]
fn an_end_after_a_crash() {
    look(Config {
        name: "end, crash, reload",
        workers: 2,
        messages: 2,
        faults: Faults { ends: 1, crashes: 1, reloads: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Ended],
        ..PLAIN
    });
}

#[test]
fn an_end_in_a_sleep() {
    look(Config {
        name: "end, sleep, close",
        messages: 2,
        faults: Faults { ends: 1, sleeps: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Asleep, Seen::EndUnheard, Seen::Ended],
        ..PLAIN
    });
}

#[test]
fn an_end_in_a_recycle() {
    look(Config {
        name: "end, recycle, close, late upgrade",
        workers: 2,
        messages: 2,
        faults: Faults { ends: 1, recycles: 1, client_closes: 1, late_upgrades: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Ended],
        ..PLAIN
    });
}

#[test]
fn an_end_of_slow_handlers() {
    look(Config {
        name: "end, reload, time",
        messages: 2,
        hooks: true,
        faults: Faults { ends: 1, reloads: 1, times: 3, ..NONE },
        demands: &[Seen::Moved, Seen::Cut, Seen::Ended],
        ..PLAIN
    });
}

#[test]
fn an_end_that_is_cut_short() {
    look(Config {
        name: "end, reload, time is up",
        messages: 2,
        faults: Faults { ends: 1, reloads: 1, time_ups: 2, ..NONE },
        demands: &[Seen::Moved, Seen::CutOff, Seen::Ended],
        ..PLAIN
    });
}

#[test]
fn a_reload_that_is_cut_short() {
    look(Config {
        name: "reload, time is up, not portable",
        adopts: false,
        messages: 2,
        faults: Faults { reloads: 1, time_ups: 1, client_closes: 1, ..NONE },
        demands: &[Seen::CutOff],
        ..PLAIN
    });
}

#[test]
fn an_end_of_what_is_not_portable() {
    look(Config {
        name: "not portable, end, reload, close",
        adopts: false,
        faults: Faults { ends: 1, reloads: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Ended, Seen::Finished],
        ..PLAIN
    });
}

#[test]
fn an_end_of_what_came_by_a_message() {
    look(Config {
        name: "first attached by message 2, end, reload",
        attach_from: 2,
        faults: Faults { ends: 1, reloads: 1, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Ended],
        ..PLAIN
    });
}

#[test]
fn an_end_before_the_first_adoption() {
    look(Config {
        name: "end, a program that cannot adopt",
        newer_adopts: false,
        messages: 2,
        faults: Faults { ends: 1, reloads: 1, ..NONE },
        demands: &[Seen::Ended],
        ..PLAIN
    });
}

#[test]
fn an_end_beside_one_that_sleeps() {
    look(Config {
        name: "two workers, end, sleep",
        workers: 2,
        messages: 1,
        faults: Faults { ends: 1, sleeps: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Asleep, Seen::EndUnheard, Seen::Ended],
        ..PLAIN
    });
}

#[test]
fn an_end_that_cuts_off_the_first_adoption() {
    look(Config {
        name: "two connections, crash, end, time is up",
        messages: 1,
        faults: Faults { ends: 1, crashes: 1, time_ups: 1, ..NONE },
        demands: &[Seen::Moved, Seen::CutOff, Seen::Ended],
        ..TWO
    });
}

#[test]
fn an_end_without_a_worker() {
    look(Config {
        name: "end, two crashes, close",
        messages: 2,
        faults: Faults { ends: 1, crashes: 2, client_closes: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Ended, Seen::Finished],
        forbids: &[Seen::EndUnheard, Seen::NoWorker],
        ..PLAIN
    });
}

#[test]
fn an_end_without_a_worker_for_two() {
    look(Config {
        name: "two connections, end, crash, sleep",
        connections: 2,
        messages: 1,
        faults: Faults { ends: 1, crashes: 1, sleeps: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Redelivered, Seen::Asleep, Seen::EndUnheard, Seen::Ended],
        forbids: &[Seen::NoWorker],
        ..PLAIN
    });
}

#[test]
fn an_end_while_the_old_program_wakes() {
    look(Config {
        name: "end, sleep, reload",
        messages: 2,
        faults: Faults { ends: 1, sleeps: 1, reloads: 1, ..NONE },
        demands: &[Seen::Moved, Seen::Asleep, Seen::EndUnheard, Seen::Ended],
        ..PLAIN
    });
}

#[test]
fn an_end_for_which_nobody_comes() {
    look(Config {
        name: "end, crash, sleep, nobody comes",
        messages: 2,
        barren: true,
        faults: Faults { ends: 1, crashes: 1, sleeps: 1, ..NONE },
        demands: &[Seen::EndUnheard, Seen::NoWorker, Seen::Ended],
        ..PLAIN
    });
}
