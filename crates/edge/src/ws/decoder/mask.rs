//! The mask on what clients send (RFC 6455 §5.3).

/// Unmasks a payload (RFC 6455 §5.3); `mask` begins with the byte for the payload's first.
#[inline]
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    // Blocks of a known size are a form that the compiler turns into vector instructions.
    let (blocks, rest) = payload.as_chunks_mut::<32>();
    blocks.iter_mut().for_each(|block| unmask_block(block, mask));
    let (words, rest) = rest.as_chunks_mut::<4>();
    words.iter_mut().for_each(|word| unmask_block(word, mask));
    rest.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
}

#[inline]
fn unmask_block<const N: usize>(block: &mut [u8; N], mask: [u8; 4]) {
    block.iter_mut().zip(0..).for_each(|(byte, at)| *byte ^= mask[at % 4]);
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
