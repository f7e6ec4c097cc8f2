//! How much is read of a client at once.

/// The most that is read at once.
const MOST_BYTES: usize = 64 * 1024;

/// As much is read of a client whose frames are hardly more than their heads, and once in a turn: 680
/// pings take some 30 µs. The 43,000 of four full reads kept all others waiting.
const LEAST_BYTES: usize = 4 * 1024;

/// A read with fewer bytes for each frame was crowded.
const CROWDED_FRAME_BYTES: usize = 64;

/// How much is read of a client next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    bytes: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { bytes: MOST_BYTES }
    }
}

impl Pace {
    /// So much.
    pub(super) fn bytes(self) -> usize {
        self.bytes
    }

    /// Notes what was read, and how many frames began in it. Returns whether others should have
    /// their turn first.
    pub(super) fn note(&mut self, frames: u32, bytes: usize) -> bool {
        if frames == 0 && self.bytes == MOST_BYTES {
            return false;
        }
        let is_crowded = frames as usize * CROWDED_FRAME_BYTES > bytes;
        self.bytes = if is_crowded { LEAST_BYTES } else { MOST_BYTES.min(self.bytes * 2) };
        is_crowded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crowded_frames_are_read_in_small_parts_and_what_is_not_crowded_in_large_ones_again() {
        let mut pace = Pace::default();
        assert!(!pace.note(1, 65_536) && pace.bytes() == 65_536);
        assert!(pace.note(10_922, 65_536) && pace.bytes() == 4096);
        assert!(pace.note(682, 4096) && pace.bytes() == 4096);
        // Not at once: whoever mixes both would have a full read of pings each time.
        let reads = [8192, 16_384, 32_768, 65_536, 65_536];
        for bytes in reads {
            assert!(!pace.note(1, 4096));
            assert_eq!(pace.bytes(), bytes);
        }
    }
}
