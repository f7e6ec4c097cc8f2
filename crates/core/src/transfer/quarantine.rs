//! Which event is to blame for the deaths of its workers.
//!
//! A death gives a strike to the first unfinished event of every connection that had one with the
//! worker. After two the event is a suspect, and has a *trial*: it is handed over alone, and others
//! of its worker wait, for a while. One that its worker dies of alone is given up. One that was in
//! company when its worker died is not, whoever that was, and tried again: what was there too was
//! struck, and is a suspect itself the next time but one. Since some company cannot be kept away
//! (a request, a handler that takes long), an event is given up in any case after so many deaths
//! that nothing else is likely.

use std::time::Duration;

use super::Blame;

/// Deaths after which an event is handed over alone.
const SUSPECT_AFTER: u8 = 2;

/// Deaths after which it is given up, if it was alone at the last of them.
const GUILTY_AFTER: u8 = 3;

/// Deaths after which it is given up in any case.
const HOPELESS_AFTER: u8 = 8;

/// For how long others wait for a suspect the first time.
const FIRST_TRIAL: Duration = Duration::from_secs(1);

/// Deaths during the first unfinished event of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Strikes(u8);

impl Strikes {
    /// One more death. `true` if the event is to be given up.
    pub(super) fn add(&mut self, blame: Blame) -> bool {
        let enough = match blame {
            Blame::None => return false,
            Blame::Alone => GUILTY_AFTER,
            Blame::InCompany => HOPELESS_AFTER,
        };
        self.0 = self.0.saturating_add(1);
        self.0 >= enough
    }

    pub(super) fn is_suspect(self) -> bool {
        self.0 >= SUSPECT_AFTER
    }

    /// For how long others wait for it: four times as long after each trial that showed nothing, so
    /// that one which ends its worker late is found too.
    pub(super) fn trial(self) -> Duration {
        let trials = self.0.clamp(SUSPECT_AFTER, HOPELESS_AFTER - 3) - SUSPECT_AFTER;
        FIRST_TRIAL * (1 << (2 * trials))
    }

    pub(super) fn clear(&mut self) {
        self.0 = 0;
    }
}
