//! Which event is to blame for the deaths of its workers.
//!
//! A death gives a strike to the first unfinished event of every connection that had one with the
//! worker. After two the event is a suspect, and has a *trial*: it is handed over alone, and others
//! of its worker wait, for a while ([`super::trials`]). If it was alone at the third death it is given
//! up. If it had company it is tried again: that company was struck too, and is a suspect itself
//! after one more death. Some company cannot be kept away (a request, a handler that takes long), so
//! after eight deaths an event is given up in any case.
//!
//! SIGKILL and SIGTERM come from operators, and from a kernel without memory. They make suspects
//! like any other death, but convict only an event that was alone in its trial each time: so
//! whoever kills workers at random convicts nobody, and a message that eats all memory does not
//! kill for ever.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fleet::Death;

/// Deaths after which an event is handed over alone.
const SUSPECT_AFTER: u8 = 2;

/// Deaths after which it is given up if it was alone at the last. Of deaths from outside only those
/// count at which it was alone in its trial.
const GUILTY_AFTER: u8 = 3;

/// Deaths after which it is given up in any case.
const HOPELESS_AFTER: u8 = 8;

/// For how long others wait for a suspect the first time.
const FIRST_TRIAL: Duration = Duration::from_secs(1);

/// A worker's death, as it counts against one event that was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Blame {
    pub(super) death: Death,
    /// Nothing else was under way.
    pub(super) is_alone: bool,
    /// It was its trial.
    pub(super) on_trial: bool,
}

/// Deaths during the first unfinished event of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Strikes {
    /// How much speaks for a trial.
    suspicion: u8,
    /// Deaths that did not come from outside.
    deaths: u8,
    /// Deaths from outside at which it was alone in its trial.
    killed_alone: u8,
}

impl Strikes {
    /// One more death. `true` if the event is to be given up.
    pub(super) fn add(&mut self, blame: Blame) -> bool {
        // What hangs pauses all others of its worker, so it has its trial the next time.
        let suspicion = match blame.death {
            Death::Ours => return false,
            Death::Fault | Death::Killed => 1,
            Death::Hang => SUSPECT_AFTER,
        };
        self.suspicion = self.suspicion.saturating_add(suspicion);
        match blame.death {
            Death::Ours => false,
            Death::Fault | Death::Hang => {
                self.deaths = self.deaths.saturating_add(1);
                let enough = if blame.is_alone { GUILTY_AFTER } else { HOPELESS_AFTER };
                self.deaths >= enough
            }
            Death::Killed => {
                let counts = u8::from(blame.is_alone && blame.on_trial);
                self.killed_alone = self.killed_alone.saturating_add(counts);
                self.killed_alone >= GUILTY_AFTER
            }
        }
    }

    /// How long others wait for it, if it is a suspect: four times as long with each further
    /// suspicion, so that what ends its worker late is found too.
    pub(super) fn trial(self) -> Option<Duration> {
        let is_suspect = self.suspicion >= SUSPECT_AFTER;
        let trials = self.suspicion.clamp(SUSPECT_AFTER, HOPELESS_AFTER - 3) - SUSPECT_AFTER;
        is_suspect.then(|| FIRST_TRIAL * (1 << (2 * trials)))
    }

    pub(super) fn clear(&mut self) {
        *self = Strikes::default();
    }
}
