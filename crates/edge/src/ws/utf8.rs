//! UTF-8 checked as it arrives: a sequence may be cut anywhere, between frames or reads.

/// Checks one text that comes in parts.
#[derive(Debug, Default)]
pub(crate) struct Utf8Validator {
    /// The beginning of a sequence that the last part cut off; one byte more than can wait, so
    /// that the byte that completes it has room.
    carry: [u8; 4],
    carried: u8,
}

/// The text is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidUtf8;

impl Utf8Validator {
    /// Takes the next part.
    ///
    /// # Errors
    /// [`InvalidUtf8`] as soon as no further bytes could make the text valid.
    pub(crate) fn push(&mut self, mut part: &[u8]) -> Result<(), InvalidUtf8> {
        while self.carried > 0 {
            let Some((&next, rest)) = part.split_first() else { return Ok(()) };
            part = rest;
            self.carry[usize::from(self.carried)] = next;
            self.carried += 1;
            match std::str::from_utf8(&self.carry[..usize::from(self.carried)]) {
                Ok(_) => self.carried = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(InvalidUtf8),
            }
        }
        match simdutf8::compat::from_utf8(part) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let unfinished = &part[error.valid_up_to()..];
                self.carry[..unfinished.len()].copy_from_slice(unfinished);
                // At most 3: four bytes are a whole sequence or an invalid one.
                self.carried = unfinished.len() as u8;
                Ok(())
            }
            Err(_) => Err(InvalidUtf8),
        }
    }

    /// Ends the text and makes the validator ready for the next one.
    ///
    /// # Errors
    /// [`InvalidUtf8`] if the last sequence is unfinished.
    pub(crate) fn finish(&mut self) -> Result<(), InvalidUtf8> {
        if std::mem::take(&mut self.carried) > 0 { Err(InvalidUtf8) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `parts`; the index of the part that was refused, or `Err(parts.len())` at the end.
    fn check(parts: &[&[u8]]) -> Result<(), usize> {
        let mut validator = Utf8Validator::default();
        for (index, part) in parts.iter().enumerate() {
            validator.push(part).map_err(|_| index)?;
        }
        validator.finish().map_err(|_| parts.len())
    }

    #[test]
    fn a_valid_text_is_valid_wherever_it_is_cut() {
        let text = "aé€\u{10ffff}\u{800}\u{d7ff}z".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                assert_eq!(check(&[&text[..first], &text[first..second], &text[second..]]), Ok(()));
            }
        }
        assert_eq!(check(&text.chunks(1).collect::<Vec<_>>()), Ok(()));
    }

    #[test]
    fn every_short_byte_string_is_judged_as_std_judges_it() {
        let bytes =
            [0x41, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xe0, 0xed, 0xef, 0xf0, 0xf4];
        for a in bytes {
            for b in bytes {
                for c in bytes {
                    for d in bytes {
                        let text = [a, b, c, d];
                        let whole = std::str::from_utf8(&text).is_ok();
                        assert_eq!(check(&[&text]).is_ok(), whole, "{text:x?}");
                        assert_eq!(check(&[&[a], &[b], &[c], &[d]]).is_ok(), whole, "{text:x?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_hopeless_beginning_is_refused_before_the_sequence_is_whole() {
        // Above U+10FFFF, a surrogate, and an overlong form: the second byte decides.
        assert_eq!(check(&[b"\xf4", b"\x90", b"\x80\x80"]), Err(1));
        assert_eq!(check(&[b"\xed", b"\xa0", b"\x80"]), Err(1));
        assert_eq!(check(&[b"ok\xe0", b"\x80", b"\x80"]), Err(1));
    }

    #[test]
    fn an_unfinished_sequence_is_refused_at_the_end_only() {
        assert_eq!(check(&[b"\xf0\x9f\x98"]), Err(1));
        assert_eq!(check(&[b"\xf0\x9f", b"", b"\x98"]), Err(3));
    }
}
