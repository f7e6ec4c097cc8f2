//! What a hostile client may send: no bytes make the WebSocket decoder panic or hold more than its
//! limit, how they are cut into reads changes nothing, and `tungstenite` finds the same in them.

#![no_main]

#[allow(dead_code, reason = "shared with the tests that build frames, which this does not")]
#[path = "../../crates/edge/tests/codec_client/mod.rs"]
mod codec_client;
#[path = "../../crates/edge/tests/codec_second/mod.rs"]
mod codec_second;

use codec_client::{Event, Transcript};
use codec_second::{End, decode_with_tungstenite, end};
use libfuzzer_sys::fuzz_target;
use shovel_edge::ws::decoder::Violation;
use tokio_tungstenite::tungstenite::protocol::Role;

fuzz_target!(|input: (u16, [u8; 4], &[u8])| {
    let (limit_bytes, read_bytes, bytes) = input;
    let limit_bytes = usize::from(limit_bytes);
    let read_bytes = read_bytes.map(|size| usize::from(size).max(1));
    let whole = codec_client::decode(bytes, limit_bytes, &[usize::MAX]);
    assert_eq!(whole, codec_client::decode(bytes, limit_bytes, &read_bytes));
    assert_eq!(whole, codec_client::decode(bytes, limit_bytes, &[1]));
    // Its limit is one of frames too, so that it would refuse the longest ping within a small one.
    if limit_bytes >= 125 {
        compare(&whole, bytes, limit_bytes);
    }
});

/// All differences that are meant; `crates/edge/tests/codec_differential.rs` says why.
fn compare(ours: &Transcript, bytes: &[u8], limit_bytes: usize) {
    let (theirs, their_end) = decode_with_tungstenite(bytes, Role::Server, limit_bytes);
    match (&ours.violation, ours.events.last()) {
        (Some(Violation::LongForm | Violation::LongControl), _) => {
            assert!(theirs.starts_with(&ours.events), "{ours:?}\n{theirs:?}");
        }
        (_, Some(Event::Close(Some((1014, _))))) => {
            assert_eq!(ours.events[..ours.events.len() - 1], theirs[..]);
            assert_eq!(their_end, End::Refused);
        }
        _ => {
            assert_eq!(ours.events, theirs);
            let is_early = their_end == End::Open && end(ours) == End::Refused;
            assert!(is_early || end(ours) == their_end, "{ours:?}\n{their_end:?}");
        }
    }
}
