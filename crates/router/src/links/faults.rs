//! What the log is told of a worker that does the same again and again.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines about the same.
const INTERVAL: Duration = Duration::from_secs(10);

/// What a worker's frames are blamed for, by the words of the log. Each is told at once, and then once
/// in a while with how often it came: a worker decides how often, and would fill the log.
#[derive(Debug, Default)]
pub struct Faults(RefCell<Vec<Fault>>);

#[derive(Debug)]
struct Fault {
    why: &'static str,
    told_at: Instant,
    untold: u64,
}

impl Faults {
    /// Notes one more. If it is to be told: how many of this kind there were since the last was told.
    pub fn note(&self, why: &'static str) -> Option<u64> {
        let (mut faults, now) = (self.0.borrow_mut(), Instant::now());
        // There are as many kinds as sentences in this program: a few.
        let Some(fault) = faults.iter_mut().find(|fault| fault.why == why) else {
            faults.push(Fault { why, told_at: now, untold: 0 });
            return Some(1);
        };
        fault.untold += 1;
        if now.duration_since(fault.told_at) < INTERVAL {
            return None;
        }
        fault.told_at = now;
        Some(std::mem::take(&mut fault.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    #[test]
    fn the_first_of_each_kind_is_told_at_once_and_then_how_many_there_were() {
        run(async || {
            let faults = Faults::default();
            assert_eq!([faults.note("one"), faults.note("two")], [Some(1), Some(1)]);
            assert!((0..1000).all(|_| faults.note("one").is_none()));
            tokio::time::advance(INTERVAL).await;
            assert_eq!([faults.note("one"), faults.note("two")], [Some(1001), Some(1)]);
            assert_eq!(faults.note("one"), None);
        });
    }
}
