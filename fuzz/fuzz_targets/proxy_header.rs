//! What may come in place of a PROXY header: no bytes make the parser panic, read on for ever, or read
//! beyond the header, and it says the same however the bytes come.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shovel_edge::proxy_header::{BadHeader, Progress, Source, read};

/// Head of version 2 and what its length can tell.
const MOST_BYTES: usize = 16 + 65_535;

fuzz_target!(|bytes: &[u8]| {
    let Some(outcome) = come(bytes) else { return };
    let (source, end) = outcome;
    assert_eq!(read(&bytes[..end]), source.map(Progress::Whole));
    // Whatever is behind it changes no refusal into a header.
    if source.is_err() {
        assert!(read(bytes).is_err() || bytes.len() < end);
    }
});

/// Reads as from a connection. `None` if more would have to come.
fn come(bytes: &[u8]) -> Option<(Result<Source, BadHeader>, usize)> {
    let mut had = 0;
    loop {
        match read(&bytes[..had]) {
            Ok(Progress::Whole(source)) => return Some((Ok(source), had)),
            Err(bad) => return Some((Err(bad), had)),
            Ok(Progress::Missing(more)) => {
                assert!(more > 0 && had + more <= MOST_BYTES);
                had += more;
                if had > bytes.len() {
                    return None;
                }
            }
        }
    }
}
