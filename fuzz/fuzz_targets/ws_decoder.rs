//! What a hostile client may send: no bytes make the WebSocket decoder panic or hold more than its
//! limit, and how they are cut into reads changes nothing.

#![no_main]

#[allow(dead_code, reason = "shared with the tests that build frames, which this does not")]
#[path = "../../crates/edge/tests/codec_client/mod.rs"]
mod codec_client;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, [u8; 4], &[u8])| {
    let (limit_bytes, read_bytes, bytes) = input;
    let limit_bytes = usize::from(limit_bytes);
    let read_bytes = read_bytes.map(|size| usize::from(size).max(1));
    let whole = codec_client::decode(bytes, limit_bytes, &[usize::MAX]);
    assert_eq!(whole, codec_client::decode(bytes, limit_bytes, &read_bytes));
    assert_eq!(whole, codec_client::decode(bytes, limit_bytes, &[1]));
});
