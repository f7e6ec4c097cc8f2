//! How many workers there may be, wherever that is said: on the command line, in the file, by
//! `shovel-pool scale`.

use nix::sys::resource::{Resource, getrlimit};

/// More than any machine can make use of.
const MOST: u32 = 1024;

/// Descriptors of a supervisor without workers and clients, with some to spare.
const OF_POOL: u64 = 20;

/// The same of an I/O thread.
const OF_THREAD: u64 = 6;

/// So many clients there is always room for.
pub const FEWEST_CLIENTS: u64 = 16;

/// Reads a number of workers.
///
/// # Errors
/// What was expected.
pub fn workers(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(workers @ 1..=MOST) => Ok(workers),
        _ => Err(format!("a number of workers is a whole number from 1 to {MOST}")),
    }
}

/// One worker per processor.
pub fn of_processors() -> u32 {
    let found = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(found).map_or(MOST, |found| found.min(MOST))
}

/// How many descriptors this process may have once its limit is raised.
pub fn descriptors() -> u64 {
    // As few as any system allows, if it does not tell.
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_soft, hard)| hard)
}

/// What workers take of the descriptors that the supervisor may have.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub io_threads: u32,
    /// The limit, as `ulimit -n` tells it.
    pub descriptors: u64,
}

impl Room {
    /// The most workers that a generation may have.
    pub fn most_workers(&self) -> u32 {
        let others = OF_POOL + OF_THREAD * u64::from(self.io_threads) + FEWEST_CLIENTS;
        // While a reload is under way there are two generations.
        let most = self.descriptors.saturating_sub(others) / (2 * self.of_worker());
        u32::try_from(most).map_or(MOST, |most| most.min(MOST))
    }

    /// Whether a generation may have so many.
    ///
    /// # Errors
    /// One line that tells the bound, and why it is one.
    pub fn check(&self, workers: u32) -> Result<(), String> {
        let most = self.most_workers();
        match workers {
            0 => return Err("a pool has at least 1 worker".into()),
            _ if workers <= most => return Ok(()),
            _ if most == MOST => {
                let why = "more than any machine can make use of";
                return Err(format!("a pool has at most {MOST} workers, not {workers}: {why}"));
            }
            _ => {}
        }
        let (threads, descriptors, each) = (self.io_threads, self.descriptors, self.of_worker());
        Err(format!(
            "a pool has at most {most} workers here, not {workers}: each takes {each} descriptors (links \
             to I/O threads, of which there are {threads}, and pipes), a reload has two generations, \
             and {descriptors} are allowed (ulimit -n)"
        ))
    }

    /// A link to each I/O thread, which reads and writes it by a descriptor each; two pipes; and one
    /// by which its end is seen.
    fn of_worker(&self) -> u64 {
        u64::from(self.io_threads) * 2 + 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_as_many_as_descriptors_allow_for_two_generations() {
        for (io_threads, descriptors, most) in [
            (1, 64, 2),
            (1, 1024, 98),
            (8, 1024, 24),
            (1, 20_000, MOST),
            (64, 1024, 2),
            (64, 256, 0),
            (1, u64::MAX, MOST),
        ] {
            let room = Room { io_threads, descriptors };
            assert_eq!(room.most_workers(), most, "{io_threads} threads, {descriptors}");
            assert_eq!(room.check(most).is_ok(), most > 0);
            assert!(room.check(most + 1).is_err() && room.check(0).is_err());
        }
    }

    #[test]
    fn a_number_that_is_too_large_is_refused_with_the_bound_and_its_reason() {
        let told = |descriptors| Room { io_threads: 1, descriptors }.check(100_000).unwrap_err();
        assert_eq!(
            told(20_000),
            "a pool has at most 1024 workers, not 100000: more than any machine can make use of"
        );
        assert_eq!(
            told(1024),
            "a pool has at most 98 workers here, not 100000: each takes 5 descriptors (links to I/O \
             threads, of which there are 1, and pipes), a reload has two generations, and 1024 are \
             allowed (ulimit -n)"
        );
        assert!(workers("1024").is_ok() && workers("1025").is_err() && workers("0").is_err());
    }
}
