//! Whether a client goes on: takes what it is sent, or sends what it has begun.
//!
//! What is judged are looks, each some time after the last one, and never the clock alone: a process
//! that was stopped, or a machine that slept, finds one look due when it goes on, and has read all
//! that came meanwhile before the next one.

/// A timeout is over after so many looks in a row that saw no progress.
pub(super) const LOOKS: u32 = 4;

/// How far somebody has come, as seen at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Changes with each byte of progress.
    pub(super) bytes: u64,
    /// Whether progress was to be expected from here on.
    pub(super) is_awaited: bool,
}

/// What was seen at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    seen: Standing,
    idle_looks: u32,
}

impl Watch {
    /// Looks again; returns how many looks in a row, with this one, have seen no progress.
    pub(super) fn look(&mut self, now: Standing) -> u32 {
        let has_gone_on = self.seen.is_awaited && now.bytes != self.seen.bytes;
        self.seen = now;
        self.idle_looks = if has_gone_on { 0 } else { self.idle_looks.saturating_add(1) };
        self.idle_looks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(standings: &[(u64, bool)]) -> Vec<u32> {
        let mut watch = Watch::default();
        let look = |&(bytes, is_awaited)| watch.look(Standing { bytes, is_awaited });
        standings.iter().map(look).collect()
    }

    #[test]
    fn each_look_without_progress_counts_and_progress_counts_from_anew() {
        let standings = [(5, true), (5, true), (6, true), (6, true), (6, true), (9, false)];
        assert_eq!(looks(&standings), [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn what_was_not_awaited_is_no_sign_of_life() {
        // Published to a client whose system takes it, whoever reads it there.
        assert_eq!(looks(&[(5, false), (6, false), (7, false), (8, false)]), [1, 2, 3, 4]);
    }
}
