//! A custody that is written and read back goes on as the other does.

use fastrand::Rng;

use crate::nonsense::Fool;

#[test]
fn no_difference_can_be_seen_after_it_was_written_and_read_back() {
    let mut states = 0;
    for seed in 0..150 {
        println!("seed {seed}");
        let mut fool = Fool::new(seed);
        for history in 0..8 {
            (0..history * 12).for_each(|_| drop(fool.call()));
            let written = serde_json::to_vec(&fool.custody).expect("it can be written");
            let mut other = fool.clone();
            other.custody = serde_json::from_slice(&written).expect("it can be read back");
            assert_eq!(other.custody.check(), Ok(()), "step {history}");
            assert!(fool.custody == other.custody, "what was read is not what was written");
            for step in 0..60 {
                assert_eq!(fool.call(), other.call(), "step {step} after history {history}");
            }
            states += usize::from(!fool.custody.is_empty());
        }
    }
    assert!(states > 500, "only {states} of them had connections");
}

/// What was changed on its way is refused, or does no harm.
#[test]
fn a_custody_that_was_damaged_is_refused_or_makes_sense() {
    let (mut read, mut refused) = (0, 0);
    for seed in 0..300 {
        println!("seed {seed}");
        let mut random = Rng::with_seed(seed);
        let mut fool = Fool::new(seed);
        (0..random.u32(0..100)).for_each(|_| drop(fool.call()));
        let mut written = serde_json::to_string(&fool.custody).expect("it can be written");
        // Another number: what its types allow is all that is left of it.
        let digits: Vec<_> =
            written.match_indices(|one: char| one.is_ascii_digit()).map(|(at, _)| at).collect();
        let at = digits[random.usize(..digits.len())];
        written.replace_range(at..=at, &random.u32(1..10).to_string());
        let Ok(custody) = serde_json::from_str(&written) else { continue };
        let mut other = Fool::with(custody, seed);
        if other.custody.check().is_err() {
            refused += 1;
            continue;
        }
        read += 1;
        (0..60).for_each(|_| drop(other.call()));
    }
    assert!(refused > 20 && read > 20, "{refused} were refused, {read} were not");
}
