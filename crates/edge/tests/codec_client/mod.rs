//! A client's side of the codec: frames with every bit open to choice, and what a decoder made of
//! them.

use shovel_edge::ws::decoder::{Decoder, Hold, Limits, Received, Violation};
use shovel_protocol::MessageKind;

/// How a frame's length is written (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LengthForm {
    /// As required.
    Shortest,
    /// In 16 bits, even if 7 would do. For payloads under 64 KiB.
    TwoBytes,
    /// In 64 bits, even if fewer would do.
    EightBytes,
    /// In 64 bits with the top bit set.
    TopBit,
}

/// One frame as a client may send it, broken or not.
#[derive(Clone, Debug)]
pub(crate) struct ClientFrame {
    pub(crate) fin: bool,
    /// RSV1 to RSV3, three bits.
    pub(crate) reserved: u8,
    pub(crate) opcode: u8,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) length_form: LengthForm,
    pub(crate) payload: Vec<u8>,
}

impl ClientFrame {
    /// A well-formed frame.
    pub(crate) fn new(fin: bool, opcode: u8, payload: &[u8]) -> Self {
        ClientFrame {
            fin,
            reserved: 0,
            opcode,
            mask: Some([0x37, 0xfa, 0x21, 0x3d]),
            length_form: LengthForm::Shortest,
            payload: payload.to_vec(),
        }
    }

    /// The bytes of the frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let len = self.payload.len();
        let mask_bit = if self.mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode];
        match (self.length_form, len) {
            (LengthForm::Shortest, 0..=125) => out.push(mask_bit | len as u8),
            (LengthForm::Shortest, 126..=0xffff) | (LengthForm::TwoBytes, _) => {
                out.push(mask_bit | 126);
                out.extend(u16::try_from(len).expect("fits 16 bits").to_be_bytes());
            }
            (LengthForm::Shortest | LengthForm::EightBytes, _) => {
                out.push(mask_bit | 127);
                out.extend((len as u64).to_be_bytes());
            }
            (LengthForm::TopBit, _) => {
                out.push(mask_bit | 127);
                out.extend((len as u64 | 1 << 63).to_be_bytes());
            }
        }
        out.extend(self.mask.iter().flatten());
        let keys = self.mask.unwrap_or_default();
        out.extend(self.payload.iter().zip(keys.iter().cycle()).map(|(byte, key)| byte ^ key));
        out
    }
}

/// The bytes of several frames.
pub(crate) fn encode(frames: &[ClientFrame]) -> Vec<u8> {
    frames.iter().flat_map(ClientFrame::encode).collect()
}

/// A [`Received`] that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl Event {
    /// A copy of what was lent.
    ///
    /// # Panics
    /// For [`Received::Withheld`].
    pub(crate) fn of(received: Received<'_>) -> Self {
        match received {
            Received::Message { kind, data } => Event::Message(kind, data.to_vec()),
            Received::Ping(payload) => Event::Ping(payload.to_vec()),
            Received::Pong(payload) => Event::Pong(payload.to_vec()),
            Received::Close(close) => {
                Event::Close(close.map(|(code, reason)| (code.0, reason.to_owned())))
            }
            Received::Withheld => panic!("nothing is held back here"),
        }
    }
}

/// What a decoder made of a client's bytes, up to a close frame or a violation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) events: Vec<Event>,
    pub(crate) violation: Option<Violation>,
    /// Whether the bytes ended between two messages.
    pub(crate) idle: bool,
}

/// Decodes `bytes` as they arrive in reads of `read_bytes`, over and over again.
pub(crate) fn decode(bytes: &[u8], max_message_bytes: usize, read_bytes: &[usize]) -> Transcript {
    let mut decoder = Decoder::new(Limits { max_message_bytes });
    let mut events = Vec::new();
    let mut left = bytes;
    for &size in read_bytes.iter().cycle() {
        if left.is_empty() {
            break;
        }
        let (read, rest) = left.split_at(size.min(left.len()));
        left = rest;
        let mut read = read.to_vec();
        let mut input = &mut read[..];
        loop {
            let decoded = match decoder.decode(input, Hold::Nothing) {
                Ok(decoded) => decoded,
                Err(violation) => {
                    return Transcript { events, violation: Some(violation), idle: false };
                }
            };
            let consumed = decoded.consumed;
            let event = decoded.event.map(Event::of);
            assert!(decoder.held_bytes() <= max_message_bytes + 125);
            let Some(event) = event else {
                assert_eq!(consumed, input.len(), "without an event everything is consumed");
                break;
            };
            events.push(event);
            if let Some(Event::Close(_)) = events.last() {
                return Transcript { events, violation: None, idle: decoder.is_idle() };
            }
            input = &mut input[consumed..];
        }
    }
    Transcript { events, violation: None, idle: decoder.is_idle() }
}
