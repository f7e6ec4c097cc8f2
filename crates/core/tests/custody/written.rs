//! A custody that is written and read back goes on as the other does.

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
            assert!(fool.custody == other.custody, "what was read is not what was written");
            for step in 0..60 {
                assert_eq!(fool.call(), other.call(), "step {step} after history {history}");
            }
            states += usize::from(!fool.custody.is_empty());
        }
    }
    assert!(states > 500, "only {states} of them had connections");
}
