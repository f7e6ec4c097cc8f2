//! Puts payloads together again that were cut into several frames.

use crate::head::{BadFrame, Frame, Kind, flags};

/// Most payloads that may be under way at once on one link: more than a well-meaning peer has, and
/// few enough that a hostile one gains nothing by opening them.
const OPEN_PAYLOADS: usize = 4096;

/// The unfinished payloads of one link.
///
/// Bounded twice: each payload, and all of them together (four times as much). Only bytes that
/// have arrived take memory.
#[derive(Debug)]
pub struct Pieces {
    limit_bytes: usize,
    held: Vec<Held>,
    held_bytes: usize,
    whole: Vec<u8>,
}

#[derive(Debug)]
struct Held {
    kind: u8,
    flags: u8,
    id: u64,
    payload: Vec<u8>,
}

impl Held {
    fn new(frame: Frame<'_>) -> Self {
        let flags = frame.flags & !flags::MORE;
        Held { kind: frame.kind, flags, id: frame.id, payload: Vec::new() }
    }

    /// Whether the frame goes on with this payload. Flags count too: one id is a token on a
    /// `channel:publish` without STAGED or DURING and a connection on one that has them.
    fn goes_on(&self, frame: Frame<'_>) -> bool {
        self.id == frame.id && self.kind == frame.kind && self.flags == frame.flags & !flags::MORE
    }
}

impl Pieces {
    /// `limit_bytes` bounds one payload.
    pub fn new(limit_bytes: usize) -> Self {
        Pieces { limit_bytes, held: Vec::new(), held_bytes: 0, whole: Vec::new() }
    }

    /// Takes the next frame of the link and returns it with its payload whole, or `None` if more
    /// pieces have to come.
    ///
    /// # Errors
    /// [`BadFrame::PiecesTooLong`] if a payload exceeds its bound, [`BadFrame::TooManyPieces`] if all
    /// unfinished ones together exceed theirs.
    pub fn push<'a>(&'a mut self, frame: Frame<'a>) -> Result<Option<Frame<'a>>, BadFrame> {
        if self.is_whole(&frame) {
            return Ok(Some(frame));
        }
        self.whole = Vec::new();
        let more = frame.has(flags::MORE);
        let at = self.held.iter().position(|held| held.goes_on(frame));
        let at = match at {
            None if !more => return Ok(Some(frame)),
            None => {
                self.held.push(Held::new(frame));
                self.held.len() - 1
            }
            Some(at) => at,
        };
        self.append(at, frame)?;
        if more {
            return Ok(None);
        }
        let held = self.held.swap_remove(at);
        self.held_bytes -= held.payload.len();
        self.whole = held.payload;
        Ok(Some(Frame { payload: &self.whole, ..frame }))
    }

    /// Whether [`Pieces::push`] would return the frame as it is and has nothing else to do, which is
    /// so of most.
    #[inline]
    pub fn is_whole(&self, frame: &Frame<'_>) -> bool {
        !frame.has(flags::MORE) && self.held.is_empty() && self.whole.is_empty()
    }

    /// Bytes held of payloads that are not whole yet.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn append(&mut self, at: usize, frame: Frame<'_>) -> Result<(), BadFrame> {
        let len = frame.payload.len();
        let kind = Kind::from_wire(frame.kind).map_or("unknown", Kind::name);
        let (payloads, bytes) = (OPEN_PAYLOADS, self.limit_bytes.saturating_mul(4));
        if self.held_bytes + len > bytes || self.held.len() > payloads {
            return Err(BadFrame::TooManyPieces { kind, payloads, bytes });
        }
        let payload = &mut self.held[at].payload;
        if payload.len() + len > self.limit_bytes {
            return Err(BadFrame::PiecesTooLong { kind, limit: self.limit_bytes });
        }
        payload.extend_from_slice(frame.payload);
        self.held_bytes += len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(id: u64, payload: &[u8], more: bool) -> Frame<'_> {
        Frame { kind: Kind::WsSend as u8, flags: more as u8 * flags::MORE, id, payload }
    }

    #[test]
    fn pieces_of_several_payloads_may_mingle() {
        let mut pieces = Pieces::new(100);
        assert_eq!(pieces.push(piece(1, b"one ", true)), Ok(None));
        assert_eq!(pieces.push(piece(2, b"two ", true)), Ok(None));
        assert_eq!(pieces.push(piece(3, b"alone", false)).unwrap().unwrap().payload, b"alone");
        assert_eq!(pieces.push(piece(1, b"half", false)).unwrap().unwrap().payload, b"one half");
        assert_eq!(pieces.push(piece(2, b"half", false)).unwrap().unwrap().payload, b"two half");
        assert_eq!(pieces.held_bytes(), 0);
    }

    #[test]
    fn an_id_that_is_a_token_here_and_a_connection_there_names_two_payloads() {
        let publish =
            |flags, payload| Frame { kind: Kind::ChannelPublish as u8, flags, id: 1, payload };
        let mut pieces = Pieces::new(100);
        assert_eq!(pieces.push(publish(flags::MORE, b"token ")), Ok(None));
        assert_eq!(pieces.push(publish(flags::MORE | flags::STAGED, b"handler ")), Ok(None));
        let whole = pieces.push(publish(0, b"half")).unwrap().unwrap();
        assert_eq!(whole.payload, b"token half");
        let whole = pieces.push(publish(flags::STAGED, b"half")).unwrap().unwrap();
        assert_eq!(whole.payload, b"handler half");
    }

    #[test]
    fn a_payload_over_the_limit_is_refused() {
        let mut pieces = Pieces::new(10);
        assert_eq!(pieces.push(piece(1, b"12345678", true)), Ok(None));
        let refused = pieces.push(piece(1, b"901", false));
        assert!(matches!(refused, Err(BadFrame::PiecesTooLong { .. })), "{refused:?}");
    }

    #[test]
    fn many_unfinished_payloads_are_refused_together() {
        let mut pieces = Pieces::new(10);
        let refused = (0..6).find(|id| pieces.push(piece(*id, b"12345678", true)).is_err());
        assert_eq!(refused, Some(5));
    }

    #[test]
    fn payloads_without_bytes_are_bounded_too() {
        let mut pieces = Pieces::new(10);
        let mut all = (0..10_000).map(|id| pieces.push(piece(id, b"", true)).map(|_| ()));
        let refused = all.find(Result::is_err);
        assert!(matches!(refused, Some(Err(BadFrame::TooManyPieces { .. }))), "{refused:?}");
    }
}
