//! When a program that changes has changed: not while it is being written.
//!
//! A linker or a copy over the network writes for seconds, with pauses. Between the first bytes and
//! the moment when whoever wrote them closes the file it is not looked at; then it has to stay as
//! it is for a moment. No IO and no clock here.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::files::What;

/// How long a program must stay as it is, and then once more.
pub const QUIET: Duration = Duration::from_millis(150);

/// After this a writer that has not closed the file is no reason to wait.
const WRITER_PATIENCE: Duration = Duration::from_secs(10);

/// What tells one state of a program from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    place: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
}

/// A program between its first change and the moment when it can be loaded.
#[derive(Debug)]
pub struct Settling {
    /// What was loaded last.
    known: Option<Fingerprint>,
    /// What was there at the last look.
    seen: Option<Fingerprint>,
    is_being_written: bool,
    look_at: Option<Instant>,
}

impl Fingerprint {
    /// Of what lies there; `None` if that cannot be run as yet: it is not there, empty, or not
    /// executable.
    pub fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let is_usable = found.is_file() && found.len() > 0;
        (is_usable && found.permissions().mode() & 0o111 != 0).then(|| Fingerprint {
            place: (found.dev(), found.ino()),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

impl Settling {
    /// A program that is loaded as it is.
    pub fn new(found: Option<Fingerprint>) -> Self {
        Settling { known: found, seen: found, is_being_written: false, look_at: None }
    }

    /// Something has happened to the file.
    pub fn on_change(&mut self, what: What, now: Instant) {
        match what {
            What::Written => self.is_being_written = true,
            What::Closed | What::Replaced => self.is_being_written = false,
            What::Touched | What::Anything => {}
        }
        let pause = if self.is_being_written { WRITER_PATIENCE } else { QUIET };
        self.look_at = Some(now + pause);
    }

    /// When to [`look`](Self::look) next.
    pub fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Takes in what lies there now. Returns whether it is another program than the one that was
    /// loaded last, and whole.
    pub fn look(&mut self, found: Option<Fingerprint>, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.seen, found);
        self.look_at = None;
        self.is_being_written = false;
        if found.is_none() || found == self.known {
            return false;
        }
        if found != before {
            self.look_at = Some(now + QUIET);
            return false;
        }
        self.known = found;
        true
    }

    /// As if something had happened, if another file lies there though nobody has said so: links
    /// on the way to it and file systems of other machines tell nothing.
    pub fn notice(&mut self, found: Option<Fingerprint>, now: Instant) {
        if self.look_at.is_none() && found.is_some() && found != self.known {
            self.look_at = Some(now + QUIET);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn file(version: u64) -> Option<Fingerprint> {
        Some(Fingerprint { place: (1, version), bytes: version, modified: (0, 0) })
    }

    /// Looks whenever it is time until `end`; returns when the program was settled.
    fn pass(settling: &mut Settling, found: Option<Fingerprint>, end: Instant) -> Option<Instant> {
        while let Some(at) = settling.deadline().filter(|at| *at <= end) {
            if settling.look(found, at) {
                return Some(at);
            }
        }
        None
    }

    #[test]
    fn a_program_that_is_renamed_into_place_is_settled_once_after_a_moment() {
        let now = Instant::now();
        let mut settling = Settling::new(file(1));
        settling.on_change(What::Replaced, now);
        assert_eq!(pass(&mut settling, file(2), now + 1000 * MS), Some(now + 2 * QUIET));
        assert_eq!(pass(&mut settling, file(2), now + 9000 * MS), None);
    }

    #[test]
    fn a_program_that_is_written_for_seconds_is_not_looked_at_until_it_is_closed() {
        let now = Instant::now();
        let mut settling = Settling::new(file(1));
        settling.on_change(What::Replaced, now);
        settling.on_change(What::Written, now + 10 * MS);
        assert_eq!(pass(&mut settling, file(2), now + 4000 * MS), None);
        settling.on_change(What::Written, now + 4000 * MS);
        assert_eq!(pass(&mut settling, file(3), now + 8000 * MS), None);
        settling.on_change(What::Closed, now + 8000 * MS);
        let settled = pass(&mut settling, file(4), now + 9000 * MS);
        assert_eq!(settled, Some(now + 8000 * MS + 2 * QUIET));
    }

    #[test]
    fn a_writer_that_never_closes_is_not_waited_for_for_ever() {
        let now = Instant::now();
        let mut settling = Settling::new(file(1));
        settling.on_change(What::Written, now);
        let settled = pass(&mut settling, file(2), now + 20_000 * MS);
        assert_eq!(settled, Some(now + WRITER_PATIENCE + QUIET));
    }

    #[test]
    fn a_program_that_still_grows_without_a_word_is_looked_at_again() {
        let now = Instant::now();
        let mut settling = Settling::new(file(1));
        settling.notice(file(2), now);
        assert!(!settling.look(file(2), now + QUIET));
        assert!(!settling.look(file(3), now + 2 * QUIET));
        assert!(settling.look(file(3), now + 3 * QUIET));
    }

    #[test]
    fn a_program_that_is_gone_or_not_executable_yet_is_waited_for() {
        let now = Instant::now();
        let mut settling = Settling::new(file(1));
        settling.on_change(What::Replaced, now);
        assert_eq!(pass(&mut settling, None, now + 60_000 * MS), None);
        settling.on_change(What::Touched, now + 60_000 * MS);
        assert!(pass(&mut settling, file(2), now + 61_000 * MS).is_some());
    }

    #[test]
    fn what_leaves_the_program_as_it_was_is_no_change() {
        let now = Instant::now();
        let mut settling = Settling::new(file(1));
        settling.on_change(What::Touched, now);
        settling.on_change(What::Closed, now);
        settling.notice(file(1), now);
        assert_eq!(pass(&mut settling, file(1), now + 1000 * MS), None);
    }
}
