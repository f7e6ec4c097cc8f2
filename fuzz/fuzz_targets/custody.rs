//! What is read as a custody, and what is done with it: whatever bytes are taken for one, if it makes
//! sense no event or call makes it panic or spin, and one that was not damaged does.

#![no_main]
#![allow(dead_code, reason = "shared with the tests of the crate, which use more of it")]

#[path = "../../crates/core/tests/custody/cell.rs"]
mod cell;
#[path = "../../crates/core/tests/custody/house.rs"]
mod house;
#[path = "../../crates/core/tests/custody/nonsense.rs"]
mod nonsense;

use bincode::config::standard;
use libfuzzer_sys::fuzz_target;
use nonsense::Fool;

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    /// What has happened before it was written.
    seed: u16,
    calls: u8,
    /// What becomes of the bytes.
    damages: Vec<(u16, u8)>,
    /// Instead of all of them.
    raw: &'a [u8],
    /// What happens afterwards.
    next: u16,
}

fuzz_target!(|input: Input<'_>| {
    let mut fool = Fool::new(u64::from(input.seed));
    (0..input.calls).for_each(|_| drop(fool.call()));
    let config = standard().with_limit::<{ 1 << 20 }>();
    let mut bytes = bincode::serde::encode_to_vec(&fool.custody, config).expect("it is written");
    let is_whole = input.damages.is_empty() && input.raw.is_empty();
    for (at, byte) in input.damages {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= byte;
    }
    if !input.raw.is_empty() {
        bytes = input.raw.to_vec();
    }
    let Ok((custody, _)) = bincode::serde::decode_from_slice(&bytes, config) else { return };
    let mut fool = Fool::with(custody, u64::from(input.next));
    if let Err(unsound) = fool.custody.check() {
        assert!(!is_whole, "{unsound}");
        return;
    }
    for _ in 0..60 {
        fool.call();
    }
});
