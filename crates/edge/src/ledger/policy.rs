//! What is done at which amount of memory: numbers in, decisions out.

use std::time::Duration;

/// A client whose holdings have not moved for so long has others go on in its place.
pub(super) const STALLED: Duration = Duration::from_secs(1);

/// A client whose holdings have not moved for so long makes no progress. Longer, since it is closed
/// for that: on a busy machine an honest one stands still for seconds.
pub(super) const BLAMED: Duration = Duration::from_secs(10);

/// A client that holds no more than this is read, if little at a time, however much others hold.
pub(super) const LEAST_BYTES: usize = 16 * 1024;

/// A client that holds no more than this is never greedy: it is what one read brings.
const FAIR_BYTES: usize = 64 * 1024;

/// A client that holds less than this is not closed for it.
const WORTH_CLOSING_BYTES: usize = 4 * 1024;

/// How scarce memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// There is enough.
    #[default]
    Calm,
    /// Clients that hold more than their fair share are not read.
    Pressed,
    /// No client is read that holds something worth mentioning, and those that hold most are closed.
    Full,
}

/// Decides by the bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) limit_bytes: usize,
}

/// A client as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) bytes: usize,
    /// How long it has made no progress.
    pub(super) idle: Duration,
    /// It is to be closed already.
    pub(super) is_evicted: bool,
}

/// Whom to close.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Evictions {
    /// By their places in what was looked at.
    pub(super) places: Vec<usize>,
    /// What will be held beyond the bound even so.
    pub(super) is_not_enough: bool,
}

impl Policy {
    /// The level at which so much is held, when it was `now`: each ends well below where it begins.
    pub(super) fn level(self, now: Level, held_bytes: usize) -> Level {
        let limit = self.limit_bytes;
        let (full, pressed) = match now {
            Level::Calm => (limit, limit / 2),
            Level::Pressed => (limit, limit / 8 * 3),
            Level::Full => (self.relieved_bytes(), limit / 8 * 3),
        };
        match held_bytes {
            bytes if bytes >= full.max(1) => Level::Full,
            bytes if bytes >= pressed.max(1) => Level::Pressed,
            _ => Level::Calm,
        }
    }

    /// What each of so many clients may hold and still be read.
    pub(super) fn fair_bytes(self, holders: usize) -> usize {
        (self.limit_bytes / 2 / holders.max(1)).max(FAIR_BYTES)
    }

    /// Whether so much more can be held without anybody being closed for it.
    pub(super) fn has_room(self, held_bytes: usize, more_bytes: usize) -> bool {
        held_bytes.saturating_add(more_bytes) <= self.relieved_bytes()
    }

    /// Whether so much is held that nobody can be waited for.
    pub(super) fn is_over(self, held_bytes: usize) -> bool {
        held_bytes > self.limit_bytes.saturating_add(self.limit_bytes / 8)
    }

    /// Whom to close while all hold `held_bytes`: those without progress, and the others too if that
    /// cannot wait. Those that hold most first, and no more than needed.
    pub(super) fn evict(self, held_bytes: usize, holders: &[Holder]) -> Evictions {
        let evicted = holders.iter().filter(|holder| holder.is_evicted);
        let mut left = held_bytes.saturating_sub(evicted.map(|holder| holder.bytes).sum());
        let mut places: Vec<_> = (0..holders.len())
            .filter(|place| {
                let holder = holders[*place];
                !holder.is_evicted && holder.bytes >= WORTH_CLOSING_BYTES
            })
            .collect();
        let is_idle = |place: usize| holders[place].idle >= BLAMED;
        places.sort_unstable_by_key(|place| {
            (!is_idle(*place), std::cmp::Reverse(holders[*place].bytes))
        });
        let mut count = 0;
        for place in &places {
            if left < self.relieved_bytes() || !(is_idle(*place) || self.is_over(left)) {
                break;
            }
            left = left.saturating_sub(holders[*place].bytes);
            count += 1;
        }
        // Those that move could be closed later, so newcomers need not wait for them.
        let spared: usize = places.drain(count..).map(|place| holders[place].bytes).sum();
        let is_not_enough = self.is_over(left) || left.saturating_sub(spared) >= self.limit_bytes;
        Evictions { places, is_not_enough }
    }

    fn relieved_bytes(self) -> usize {
        self.limit_bytes - self.limit_bytes / 8
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1024 * 1024;
    const POLICY: Policy = Policy { limit_bytes: 80 * MIB };

    fn holder(mib: usize, idle_secs: u64) -> Holder {
        let idle = Duration::from_secs(idle_secs);
        Holder { bytes: mib * MIB, idle, is_evicted: false }
    }

    #[test]
    fn a_level_ends_well_below_where_it_begins() {
        let mut level = Level::Calm;
        let mut go_to = |mib: usize| {
            level = POLICY.level(level, mib * MIB);
            level
        };
        let seen = [39, 40, 31, 29, 80, 71, 69, 31, 29].map(&mut go_to);
        use Level::{Calm, Full, Pressed};
        assert_eq!(seen, [Calm, Pressed, Pressed, Calm, Full, Full, Pressed, Pressed, Calm]);
    }

    #[test]
    fn those_that_hold_most_without_progress_are_closed_first_and_no_more_than_needed() {
        let holders = [holder(30, 0), holder(5, 19), holder(20, 19), holder(25, 19)];
        let evictions = POLICY.evict(80 * MIB, &holders);
        assert_eq!(evictions, Evictions { places: vec![3], is_not_enough: false });
        // 80 less 25 is below 70; and 130 less all that stand still is not.
        let evictions = POLICY.evict(130 * MIB, &holders);
        assert_eq!(evictions, Evictions { places: vec![3, 2, 1], is_not_enough: false });
        let evictions = POLICY.evict(160 * MIB, &holders);
        assert_eq!(evictions, Evictions { places: vec![3, 2, 1, 0], is_not_enough: true });
    }

    #[test]
    fn clients_that_move_are_waited_for_while_that_is_possible() {
        let holders = [holder(50, 0), holder(30, 0)];
        let evictions = POLICY.evict(81 * MIB, &holders);
        assert_eq!(evictions, Evictions { places: vec![], is_not_enough: false });
        let evictions = POLICY.evict(91 * MIB, &holders);
        assert_eq!(evictions, Evictions { places: vec![0], is_not_enough: false });
    }

    #[test]
    fn whoever_is_closed_already_counts_as_gone() {
        let closed = Holder { is_evicted: true, ..holder(60, 19) };
        assert_eq!(POLICY.evict(100 * MIB, &[closed, holder(40, 19)]), Evictions::default());
    }

    proptest! {
        #[test]
        fn closing_ends_at_the_first_that_is_enough(
            sizes in prop::collection::vec((0_usize..20 * MIB, 0_u64..20), 0..50),
            pots in 0_usize..100 * MIB,
        ) {
            let holders: Vec<_> = sizes
                .iter()
                .map(|(bytes, secs)| Holder {
                    bytes: *bytes,
                    idle: Duration::from_secs(*secs),
                    is_evicted: false,
                })
                .collect();
            let held = pots + sizes.iter().map(|(bytes, _)| bytes).sum::<usize>();
            let evictions = POLICY.evict(held, &holders);
            let freed = |places: &[usize]| -> usize {
                places.iter().map(|place| holders[*place].bytes).sum()
            };
            let left = held - freed(&evictions.places);
            if let Some((_, but_last)) = evictions.places.split_last() {
                prop_assert!(held - freed(but_last) >= POLICY.relieved_bytes());
            }
            let is_spared = |place: &usize| !evictions.places.contains(place);
            let spared = (0..holders.len()).filter(is_spared);
            let worth = spared.filter(|place| holders[*place].bytes >= WORTH_CLOSING_BYTES);
            let worth: Vec<_> = worth.collect();
            let of_pots = left - freed(&worth);
            let is_not_enough = POLICY.is_over(left) || of_pots >= POLICY.limit_bytes;
            prop_assert_eq!(evictions.is_not_enough, is_not_enough);
            for place in worth {
                let is_enough = left < POLICY.relieved_bytes();
                let is_moving = holders[place].idle < BLAMED && !POLICY.is_over(left);
                prop_assert!(is_enough || is_moving);
            }
        }
    }
}
