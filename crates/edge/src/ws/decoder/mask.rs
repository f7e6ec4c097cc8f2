//! The mask on what clients send (RFC 6455 §5.3).

/// Unmasks a payload (RFC 6455 §5.3); `mask` begins with the byte for the payload's first.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    // Eight bytes at a time is a form that the compiler turns into vector instructions.
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends what `masked` is without its mask; see [`unmask`].
pub(super) fn append_unmasked(held: &mut Vec<u8>, masked: &[u8], mask: [u8; 4]) {
    let before = held.len();
    held.extend_from_slice(masked);
    unmask(&mut held[before..], mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmasking_is_the_same_byte_by_byte() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let masked: Vec<u8> = (0..100).collect();
        for len in 0..masked.len() {
            let mut payload = masked[..len].to_vec();
            unmask(&mut payload, mask);
            for (index, byte) in payload.iter().enumerate() {
                assert_eq!(*byte, masked[index] ^ mask[index % 4], "byte {index} of {len}");
            }
        }
    }
}
