//! What a hostile client may send: no bytes make the reading of requests panic, and how they are cut
//! into reads changes nothing of what is found: heads, bodies, trailers, and where each ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shovel_edge::http::Limits;
use shovel_edge::http1::framing::{self, Decoder};
use shovel_edge::http1::head;

const LIMITS: Limits = Limits { max_bytes: 4096, max_fields: 20 };

/// All that is found in these bytes: a line for each thing.
fn read(input: &[u8], sizes: &[usize]) -> Vec<String> {
    let mut found = Vec::new();
    let (mut carry, mut looked_at, mut body) = (Vec::new(), 0, None::<Decoder>);
    let (mut rest, mut sizes) = (input, sizes.iter().cycle());
    loop {
        match &mut body {
            Some(decoder) => match decoder.decode(&carry) {
                Ok((skipped, framing::Found::Data(bytes))) => {
                    for byte in &carry[skipped..skipped + bytes] {
                        found.push(format!("byte {byte}"));
                    }
                    carry.drain(..skipped + bytes);
                    continue;
                }
                Ok((skipped, framing::Found::End(trailers))) => {
                    found.push(format!("end {trailers:?}"));
                    carry.drain(..skipped);
                    (body, looked_at) = (None, 0);
                    continue;
                }
                Ok((skipped, framing::Found::Nothing)) => {
                    carry.drain(..skipped);
                    if *decoder == Decoder::Done {
                        body = None;
                        continue;
                    }
                }
                Err(bad) => {
                    found.push(format!("{bad:?}"));
                    return found;
                }
            },
            None => match head::find(&carry, looked_at, &LIMITS) {
                Ok(head::Found::Head(head, bytes)) => {
                    found.push(format!("{head:?}"));
                    carry.drain(..bytes);
                    body = Some(Decoder::new(head.length));
                    continue;
                }
                Ok(head::Found::Nothing) => looked_at = carry.len(),
                Err(refusal) => {
                    found.push(format!("{}", refusal.status));
                    return found;
                }
            },
        }
        if rest.is_empty() {
            return found;
        }
        let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
        carry.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
    }
}

fuzz_target!(|input: ([u8; 4], &[u8])| {
    let (sizes, bytes) = input;
    let whole = read(bytes, &[usize::MAX]);
    let cut = read(bytes, &sizes.map(usize::from));
    // What is nonsense may be seen as such sooner or later, and for another reason; all that was
    // found before it is the same.
    let common = whole.len().min(cut.len()).saturating_sub(1);
    assert_eq!(whole[..common], cut[..common]);
});
