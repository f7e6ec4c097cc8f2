//! The head of one frame: everything before its payload (RFC 6455 §5.2).

use shovel_protocol::MessageKind;

use super::{MAX_CONTROL_BYTES, Violation};

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// The first byte of a message in one frame.
const TEXT_ALONE: u8 = FIN | 0x1;
const BINARY_ALONE: u8 = FIN | 0x2;
const TWO_BYTES: u8 = 126;
const EIGHT_BYTES: u8 = 127;

/// A client's longest head: two bytes, 64 bits of length, the mask.
const MAX_BYTES: usize = 14;

/// What a frame's head says, and how much of its payload is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    /// Whether it is the last frame of its message.
    pub(super) fin: bool,
    /// Rotated, so that it begins with the byte for the next byte of the payload.
    pub(super) mask: [u8; 4],
    /// Bytes of the payload that have not arrived.
    pub(super) remaining: usize,
}

/// The opcodes that are defined (RFC 6455 §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// As much of a head as has arrived.
#[derive(Clone, Copy)]
pub(super) struct PartialHead {
    bytes: [u8; MAX_BYTES],
    pub(super) len: u8,
}

/// Whether a frame with this first byte is a data frame: opcodes 8 to 15 are control frames.
pub(super) fn is_data(first: u8) -> bool {
    first & 0x8 == 0
}

/// The length of a head whose payload has at most 125 bytes.
pub(super) const SHORT_BYTES: usize = 6;

/// Recognises at once what most clients send most: a message of at most 125 bytes, in one frame that
/// has arrived whole. Returns its kind, its mask and how many bytes it has. `None` says only that it
/// is not that.
#[inline]
pub(super) fn short_message(input: &[u8]) -> Option<(MessageKind, [u8; 4], usize)> {
    let (&[first, second, a, b, c, d], rest) = input.split_first_chunk::<SHORT_BYTES>()?;
    let kind = match first {
        TEXT_ALONE => MessageKind::Text,
        BINARY_ALONE => MessageKind::Binary,
        _ => return None,
    };
    let len = usize::from(second.checked_sub(MASKED)?);
    (len < usize::from(TWO_BYTES) && len <= rest.len()).then_some((kind, [a, b, c, d], len))
}

impl Frame {
    /// The frame after `arrived` more bytes of its payload; `None` if that was the end.
    pub(super) fn rest(self, arrived: usize) -> Option<Frame> {
        let mut mask = self.mask;
        mask.rotate_left(arrived % 4);
        let remaining = self.remaining - arrived;
        (remaining > 0).then_some(Frame { mask, remaining, ..self })
    }
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    /// The kind of the message that a frame with this opcode begins.
    pub(super) fn message_kind(self) -> Option<MessageKind> {
        match self {
            Opcode::Text => Some(MessageKind::Text),
            Opcode::Binary => Some(MessageKind::Binary),
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => None,
        }
    }
}

impl PartialHead {
    pub(super) const EMPTY: PartialHead = PartialHead { bytes: [0; MAX_BYTES], len: 0 };

    /// Takes bytes from the front of `input`: how many, and the frame if its head is whole now, at
    /// which this has done its work. Without a frame, all of the input was taken.
    #[inline]
    pub(super) fn take(&mut self, input: &[u8]) -> Result<(usize, Option<Frame>), Violation> {
        // Most heads arrive whole and are read where they stand.
        if self.len == 0
            && let Some((frame, head_bytes)) = parse(input)?
        {
            return Ok((head_bytes, Some(frame)));
        }
        self.gather(input)
    }

    #[cold]
    fn gather(&mut self, input: &[u8]) -> Result<(usize, Option<Frame>), Violation> {
        let before = usize::from(self.len);
        let more = input.len().min(MAX_BYTES - before);
        self.bytes[before..before + more].copy_from_slice(&input[..more]);
        let seen = &self.bytes[..before + more];
        self.len = seen.len() as u8;
        Ok(match parse(seen)? {
            Some((frame, head_bytes)) => (head_bytes - before, Some(frame)),
            None => (more, None),
        })
    }
}

/// Reads a head and how many bytes it has; `None` if there is less than a head.
///
/// # Errors
/// The first rule broken. It shows as soon as the bytes that it is about are there: what follows
/// them, such as the mask of a frame that has none, may never come.
#[inline]
fn parse(bytes: &[u8]) -> Result<Option<(Frame, usize)>, Violation> {
    let &[first, second, ref extended @ ..] = bytes else { return Ok(None) };
    // The one place to allow RSV1 in, should permessage-deflate be negotiated (RFC 7692 §6).
    if first & RESERVED != 0 {
        return Err(Violation::ReservedBits);
    }
    let fin = first & FIN != 0;
    let opcode = parse_opcode(first & 0xf)?;
    if second & MASKED == 0 {
        return Err(Violation::Unmasked);
    }
    let short_length = second & !MASKED;
    if opcode.is_control() {
        if !fin {
            return Err(Violation::FragmentedControl);
        }
        if usize::from(short_length) > MAX_CONTROL_BYTES {
            return Err(Violation::LongControl);
        }
    }
    let Some((length, rest)) = parse_length(short_length, extended)? else { return Ok(None) };
    let Some((&mask, payload)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    // A length beyond the address space is beyond any limit too.
    let remaining = usize::try_from(length).unwrap_or(usize::MAX);
    Ok(Some((Frame { opcode, fin, mask, remaining }, bytes.len() - payload.len())))
}

fn parse_opcode(opcode: u8) -> Result<Opcode, Violation> {
    Ok(match opcode {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xa => Opcode::Pong,
        unknown => return Err(Violation::UnknownOpcode(unknown)),
    })
}

/// The length and what follows it; `None` if it is not whole.
fn parse_length(short: u8, extended: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (length, rest, least) = match short {
        TWO_BYTES => match extended.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 126),
            None => return Ok(None),
        },
        EIGHT_BYTES => match extended.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest, 0x1_0000),
            None => return Ok(None),
        },
        short => (u64::from(short), extended, 0),
    };
    if length < least {
        return Err(Violation::LongForm);
    }
    if length > i64::MAX as u64 {
        return Err(Violation::NegativeLength);
    }
    Ok(Some((length, rest)))
}
