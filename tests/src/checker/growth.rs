//! Whether a pool keeps something of each crowd that has come and gone.
//!
//! What is allocated in the end says little by itself. Tables keep the room for the largest crowd that
//! there ever was, which is the larger the longer the machine lets the pool stand still (about 400 KiB
//! in a run, once), and an I/O thread keeps the buffers that sockets borrowed in its busiest turn
//! (some 200 KiB, sometimes more and sometimes less). Neither goes on for ever. So equal crowds come
//! and go until some of them leave nothing behind; if they never do and it adds up, it is a leak.

use std::fmt;

/// So many crowds come at most.
const ROUNDS: usize = 6;

/// So many of them must leave nothing behind: after the first, something older may have been freed.
const CALM_ROUNDS: usize = 2;

/// What differs from one look to the next though nothing is left.
const NOISE_BYTES: u64 = 32 * 1024;

/// What all crowds may leave behind, each of them. A crowd moves about 350 connections, so what one
/// leaves shows from about 300 bytes on.
const TOLERATED_BYTES: u64 = 100 * 1024;

/// What was allocated when nobody was connected: at first, and after each crowd.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth {
    bytes: Vec<u64>,
}

impl Growth {
    /// What is allocated now that a crowd has gone.
    pub(super) fn note(&mut self, bytes: u64) {
        self.bytes.push(bytes);
    }

    /// Whether nothing would be learnt from another crowd.
    pub(super) fn is_known(&self) -> bool {
        self.calm_rounds() >= CALM_ROUNDS || self.bytes.len() > ROUNDS
    }

    /// Whether more is kept with each crowd.
    pub(super) fn is_leak(&self) -> bool {
        let rounds = self.bytes.len().saturating_sub(1) as u64;
        let first = self.bytes.first().copied().unwrap_or_default();
        let last = self.bytes.last().copied().unwrap_or_default();
        let adds_up = last > first + rounds * TOLERATED_BYTES;
        self.calm_rounds() < CALM_ROUNDS && adds_up
    }

    fn calm_rounds(&self) -> usize {
        let is_calm = |pair: &&[u64]| pair[1] <= pair[0] + NOISE_BYTES;
        self.bytes.windows(2).filter(is_calm).count()
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib: Vec<_> = self.bytes.iter().map(|bytes| (bytes / 1024).to_string()).collect();
        write!(f, "{} KiB allocated after one crowd after the other", kib.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(kib: &[u64]) -> Growth {
        Growth { bytes: kib.iter().map(|kib| kib * 1024).collect() }
    }

    #[test]
    fn what_grows_with_each_crowd_is_a_leak_and_what_comes_to_rest_is_not() {
        for (kib, is_known, is_leak) in [
            (&[1000][..], false, false),
            (&[1000, 1010, 1005], true, false),
            (&[1000, 900, 1900, 1910], true, false),
            (&[1000, 1040, 1080, 1120, 1160, 1200, 1240], true, false),
            (&[1000, 1400, 1800, 2200, 2600, 3000], false, true),
            (&[1000, 1400, 1800, 2200, 2600, 3000, 3400], true, true),
            // Something older is freed only once.
            (&[1000, 700, 1100, 1500, 1900, 2300, 2700], true, true),
        ] {
            let growth = growth(kib);
            assert_eq!((growth.is_known(), growth.is_leak()), (is_known, is_leak), "{growth}");
        }
    }
}
