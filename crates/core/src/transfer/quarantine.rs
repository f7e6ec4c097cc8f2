//! Which event is to blame for the deaths of its workers.
//!
//! A death gives a strike to the first unfinished event of every connection that had one with the
//! worker. After two the event is a suspect, and is handed over only while no other suspect is
//! with that worker, so that the next death has one culprit. After three it is given up.

/// Deaths after which an event is handed over as the only suspect of its worker.
const SUSPECT_AFTER: u8 = 2;

/// Deaths after which it is given up.
const GUILTY_AFTER: u8 = 3;

/// Deaths during the first unfinished event of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Strikes(u8);

impl Strikes {
    /// One more death. `true` if the event is to be given up.
    pub(super) fn add(&mut self) -> bool {
        self.0 += 1;
        self.0 >= GUILTY_AFTER
    }

    pub(super) fn is_suspect(self) -> bool {
        self.0 >= SUSPECT_AFTER
    }

    pub(super) fn clear(&mut self) {
        self.0 = 0;
    }
}
