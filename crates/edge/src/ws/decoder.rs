//! What a client's bytes mean: WebSocket frames in, whole messages and control frames out.
//!
//! The walk: [`Decoder::decode`] lends a short message that is whole in the input at once; else
//! `decode_any` -> `PartialHead::take` -> `Decoder::begin` -> either the payload is whole in the input
//! and is lent from there, or it is gathered in the decoder and lent at its end.

use std::fmt;

use shovel_protocol::{CloseCode, MessageKind};

use self::head::{Frame, Opcode, PartialHead};
use self::mask::{append_unmasked, unmask};
use super::utf8::{InvalidUtf8, Utf8Validator};

mod head;
mod mask;

/// The longest payload of a control frame (RFC 6455 §5.5).
pub(crate) const MAX_CONTROL_BYTES: usize = 125;

/// What a client may make the server hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest message, over all its fragments.
    pub max_message_bytes: usize,
}

/// Decodes what one client sends.
///
/// It holds memory only while a message or control frame has arrived in part, and never more than
/// [`Limits::max_message_bytes`] and one control frame.
pub struct Decoder {
    max_message_bytes: usize,
    state: State,
    /// The kind of the message that has begun and not ended.
    open: Option<MessageKind>,
    /// The open message's payload so far; or, until the next call, the last one's.
    message: Vec<u8>,
    /// Where the open message's text stands. Bytes are checked as they arrive.
    utf8: Utf8Validator,
    /// The payload so far of a control frame. It may come between the fragments of a message
    /// (RFC 6455 §5.4), so it has a place of its own.
    control: Vec<u8>,
    /// Frames that began, but for those of the short way.
    frames: u32,
}

/// What one call of [`Decoder::decode`] came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// How many bytes of the input are done with.
    pub consumed: usize,
    /// `None`: all of the input was consumed, and more is needed.
    pub event: Option<Received<'a>>,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole message.
    Message {
        /// Whether it is text.
        kind: MessageKind,
        /// The payload; valid UTF-8 if it is text.
        data: &'a [u8],
    },
    /// A ping, to be answered with a pong of the same payload (RFC 6455 §5.5.2).
    Ping(&'a [u8]),
    /// A pong, asked for or not (RFC 6455 §5.5.3).
    Pong(&'a [u8]),
    /// The last frame of the client: nothing after it is to be decoded (RFC 6455 §5.5.1).
    Close(Option<(CloseCode, &'a str)>),
    /// A data frame that [`Hold::Data`] keeps from beginning. Nothing of it was consumed.
    Withheld,
}

/// What is not to be begun for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Everything is decoded.
    Nothing,
    /// No data frame is begun; control frames ahead of it are handled. A data frame of which a
    /// byte was consumed before has begun, and is finished.
    Data,
}

/// A rule of the protocol that the client broke. The connection is to be failed with
/// [`close_code`](Violation::close_code) (RFC 6455 §7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// RFC 6455 §5.2: RSV1 to RSV3 are zero unless an extension defines them.
    #[error("a reserved bit is set")]
    ReservedBits,
    /// RFC 6455 §5.2: 3 to 7 and 11 to 15 are reserved.
    #[error("opcode {0} is unknown")]
    UnknownOpcode(u8),
    /// RFC 6455 §5.1: a client masks every frame.
    #[error("a frame is not masked")]
    Unmasked,
    /// RFC 6455 §5.2: the length takes the minimal number of bytes.
    #[error("a length is not in its shortest form")]
    LongForm,
    /// RFC 6455 §5.2: the most significant bit of a 64-bit length is 0.
    #[error("the top bit of a length is set")]
    NegativeLength,
    /// RFC 6455 §5.5: control frames are not fragmented.
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// RFC 6455 §5.5: control frames have at most 125 bytes.
    #[error("a control frame has over {MAX_CONTROL_BYTES} bytes")]
    LongControl,
    /// RFC 6455 §5.4: a continuation frame continues a fragmented message.
    #[error("a continuation frame continues nothing")]
    StrayContinuation,
    /// RFC 6455 §5.4: a message's fragments are not interleaved with another message.
    #[error("a message begins inside another")]
    Interleaved,
    /// RFC 6455 §5.5.1: the payload of a close frame is empty or begins with a 2-byte code.
    #[error("a close frame has 1 byte")]
    ShortClose,
    /// RFC 6455 §7.4: codes that are reserved or mean the lack of a code are not sent.
    #[error("close code {0} may not be sent")]
    CloseCode(CloseCode),
    /// RFC 6455 §5.5.1: the reason of a close frame is UTF-8.
    #[error("the reason of a close frame is not UTF-8")]
    CloseReason,
    /// RFC 6455 §8.1: text is UTF-8.
    #[error("a text message is not UTF-8")]
    Text,
    /// RFC 6455 §7.4.1 and §10.4: the message is over [`Limits::max_message_bytes`].
    #[error("a message has over {0} bytes")]
    TooBig(usize),
}

impl Decoder {
    /// A decoder for a connection whose handshake is done.
    pub fn new(limits: Limits) -> Self {
        Decoder {
            max_message_bytes: limits.max_message_bytes,
            state: State::BETWEEN_FRAMES,
            open: None,
            message: Vec::new(),
            utf8: Utf8Validator::default(),
            control: Vec::new(),
            frames: 0,
        }
    }

    /// Decodes the next event from the front of `input`.
    ///
    /// Payloads are unmasked in place, so what is left of `input` is garbage as far as it was
    /// consumed. A message's own memory is given back by the call after it: call until the event
    /// is `None`, also if no input is left.
    ///
    /// # Errors
    /// The [`Violation`] of the next frame, as early as it shows. The decoder is of no use after
    /// it.
    #[inline]
    pub fn decode<'a>(
        &'a mut self,
        input: &'a mut [u8],
        hold: Hold,
    ) -> Result<Decoded<'a>, Violation> {
        if hold == Hold::Nothing
            && self.is_empty()
            && let Some((kind, mask, len)) = head::short_message(input)
            && len <= self.max_message_bytes
        {
            let consumed = head::SHORT_BYTES + len;
            let payload = &mut input[head::SHORT_BYTES..consumed];
            unmask(payload, mask);
            return Ok(Decoded { consumed, event: Some(lend_message(kind, payload)?) });
        }
        self.decode_any(input, hold)
    }

    fn decode_any<'a>(
        &'a mut self,
        input: &'a mut [u8],
        hold: Hold,
    ) -> Result<Decoded<'a>, Violation> {
        self.give_back();
        let mut consumed = 0;
        while consumed < input.len() {
            let frame = match &mut self.state {
                State::Payload(frame) => *frame,
                State::Head(head) => {
                    if hold == Hold::Data && head.len == 0 && head::is_data(input[consumed]) {
                        return Ok(Decoded { consumed, event: Some(Received::Withheld) });
                    }
                    let (taken, frame) = head.take(&input[consumed..])?;
                    consumed += taken;
                    let Some(frame) = frame else { break };
                    self.frames = self.frames.wrapping_add(1);
                    self.begin(&frame)?;
                    frame
                }
            };
            let arrived = frame.remaining.min(input.len() - consumed);
            let payload = consumed..consumed + arrived;
            consumed += arrived;
            let ended = arrived == frame.remaining;
            if ended && self.holds_nothing_of(&frame) {
                self.state = State::BETWEEN_FRAMES;
                unmask(&mut input[payload.clone()], frame.mask);
                let event = lend(frame.opcode, &input[payload])?;
                return Ok(Decoded { consumed, event: Some(event) });
            }
            self.gather(frame, &input[payload])?;
            if ended && frame.fin {
                return Ok(Decoded { consumed, event: Some(self.lend_gathered(frame.opcode)?) });
            }
        }
        Ok(Decoded { consumed, event: None })
    }

    /// Whether no part of a frame or message is held.
    pub fn is_idle(&self) -> bool {
        self.open.is_none() && matches!(self.state, State::Head(PartialHead { len: 0, .. }))
    }

    /// How many frames have begun since this was asked last. Short messages are not counted, which
    /// cost no look.
    pub fn take_frames(&mut self) -> u32 {
        std::mem::take(&mut self.frames)
    }

    /// How many bytes of payload are held: of what is unfinished, and of the last event until the
    /// next call.
    pub fn held_bytes(&self) -> usize {
        self.message.len() + self.control.len()
    }

    /// How much memory is taken for that.
    #[inline]
    pub fn reserved_bytes(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    /// Whether nothing is held, not even what the last event was lent from.
    #[inline]
    fn is_empty(&self) -> bool {
        self.is_idle() && self.message.capacity() == 0 && self.control.capacity() == 0
    }

    /// Frees what the last event was lent from, so that an idle connection holds nothing.
    fn give_back(&mut self) {
        if self.open.is_none() {
            self.message = Vec::new();
        }
        if !matches!(self.state, State::Payload(frame) if frame.opcode.is_control()) {
            self.control = Vec::new();
        }
    }

    /// Applies the rules about a frame's place among others, before any of its payload is taken.
    fn begin(&self, frame: &Frame) -> Result<(), Violation> {
        match (frame.opcode, self.open) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
            (Opcode::Continuation, None) => return Err(Violation::StrayContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::Interleaved),
            (Opcode::Continuation, Some(_)) | (Opcode::Text | Opcode::Binary, None) => {}
        }
        if frame.remaining > self.max_message_bytes - self.message.len() {
            return Err(Violation::TooBig(self.max_message_bytes));
        }
        Ok(())
    }

    /// Whether a frame that ends with this input can be lent from it as the whole event.
    fn holds_nothing_of(&self, frame: &Frame) -> bool {
        if frame.opcode.is_control() {
            self.control.is_empty()
        } else {
            frame.fin && self.open.is_none()
        }
    }

    /// Copies what has arrived of a frame's payload, and checks it if it is text.
    fn gather(&mut self, frame: Frame, masked: &[u8]) -> Result<(), Violation> {
        self.state = match frame.rest(masked.len()) {
            Some(rest) => State::Payload(rest),
            None => State::BETWEEN_FRAMES,
        };
        if frame.opcode.is_control() {
            append_unmasked(&mut self.control, masked, frame.mask);
            return Ok(());
        }
        let kind = self.open.or(frame.opcode.message_kind());
        self.open = kind;
        self.make_room(masked.len());
        let before = self.message.len();
        append_unmasked(&mut self.message, masked, frame.mask);
        if kind == Some(MessageKind::Text) {
            self.utf8.push(&self.message[before..])?;
        }
        Ok(())
    }

    /// Grows by doubling, for linear time, but never beyond the limit: a client pays with arrived
    /// bytes for all that is reserved.
    fn make_room(&mut self, more: usize) {
        let needed = self.message.len() + more;
        let doubled = self.message.capacity().saturating_mul(2).min(self.max_message_bytes);
        if needed > self.message.capacity() {
            self.message.reserve_exact(needed.max(doubled) - self.message.len());
        }
    }

    /// The event whose last byte was just gathered.
    fn lend_gathered(&mut self, opcode: Opcode) -> Result<Received<'_>, Violation> {
        if opcode.is_control() {
            return lend(opcode, &self.control);
        }
        self.utf8.finish()?;
        let kind = self.open.take().expect("a gathered data frame has opened a message");
        Ok(Received::Message { kind, data: &self.message })
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without payloads: they are the clients' own.
        f.debug_struct("Decoder")
            .field("open", &self.open)
            .field("held_bytes", &self.held_bytes())
            .finish_non_exhaustive()
    }
}

impl Violation {
    /// The code to fail the connection with (RFC 6455 §7.4.1).
    pub fn close_code(self) -> CloseCode {
        match self {
            Violation::Text | Violation::CloseReason => CloseCode::INVALID_DATA,
            Violation::TooBig(_) => CloseCode::TOO_BIG,
            Violation::ReservedBits
            | Violation::UnknownOpcode(_)
            | Violation::Unmasked
            | Violation::LongForm
            | Violation::NegativeLength
            | Violation::FragmentedControl
            | Violation::LongControl
            | Violation::StrayContinuation
            | Violation::Interleaved
            | Violation::ShortClose
            | Violation::CloseCode(_) => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl From<InvalidUtf8> for Violation {
    fn from(_: InvalidUtf8) -> Self {
        Violation::Text
    }
}

/// Where in a frame the client's bytes stand.
#[derive(Clone, Copy)]
enum State {
    /// Before the payload; between frames if nothing of the head has come.
    Head(PartialHead),
    /// Inside a payload that did not arrive in one piece with its head.
    Payload(Frame),
}

impl State {
    const BETWEEN_FRAMES: State = State::Head(PartialHead::EMPTY);
}

/// The event that a whole, unfragmented payload is.
#[inline]
fn lend(opcode: Opcode, payload: &[u8]) -> Result<Received<'_>, Violation> {
    match opcode {
        Opcode::Text => lend_message(MessageKind::Text, payload),
        Opcode::Binary => lend_message(MessageKind::Binary, payload),
        Opcode::Continuation => Err(Violation::StrayContinuation),
        Opcode::Ping => Ok(Received::Ping(payload)),
        Opcode::Pong => Ok(Received::Pong(payload)),
        Opcode::Close => lend_close(payload).map(Received::Close),
    }
}

#[inline]
fn lend_message(kind: MessageKind, payload: &[u8]) -> Result<Received<'_>, Violation> {
    if kind == MessageKind::Text {
        simdutf8::basic::from_utf8(payload).map_err(|_| Violation::Text)?;
    }
    Ok(Received::Message { kind, data: payload })
}

fn lend_close(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::ShortClose) };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        return Err(Violation::CloseCode(code));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseReason)?;
    Ok(Some((code, reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_decoder_is_small() {
        assert!(size_of::<Decoder>() <= 72 + size_of::<Vec<u8>>(), "{}", size_of::<Decoder>());
    }

    #[test]
    fn a_held_message_never_reserves_beyond_the_limit() {
        let mut decoder = Decoder::new(Limits { max_message_bytes: 1000 });
        let head = [0x82, 0x80 | 126, 0x03, 0xe8, 0, 0, 0, 0];
        assert_eq!(decoder.decode(&mut head.clone(), Hold::Nothing).unwrap().event, None);
        assert_eq!(decoder.message.capacity(), 0, "nothing is reserved for what is announced");
        for _ in 0..9 {
            decoder.decode(&mut [0; 111], Hold::Nothing).unwrap();
            assert!(decoder.message.capacity() <= 1000, "{}", decoder.message.capacity());
        }
    }

    #[test]
    fn memory_is_given_back_by_the_call_after_the_event() {
        let mut decoder = Decoder::new(Limits { max_message_bytes: 1000 });
        for (head, rest) in [(b"\x82\x82\0\0\0\0h", b"i"), (b"\x89\x82\0\0\0\0h", b"i")] {
            decoder.decode(&mut head.clone(), Hold::Nothing).unwrap();
            assert!(!decoder.is_idle());
            assert!(decoder.decode(&mut rest.clone(), Hold::Nothing).unwrap().event.is_some());
            assert!(decoder.is_idle());
            assert_eq!(decoder.held_bytes(), 2);
            decoder.decode(&mut [], Hold::Nothing).unwrap();
            assert_eq!(decoder.message.capacity() + decoder.control.capacity(), 0);
        }
    }
}
