//! WebSocket frames of a server: never masked (RFC 6455 §5.1), never fragmented.
//!
//! A message's header is the same for every client, so a publish is encoded once.

use shovel_protocol::{CloseCode, MessageKind};

use super::decoder::MAX_CONTROL_BYTES;

const FIN: u8 = 0x80;

/// The header of one frame; 2, 4 or 10 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; 10],
    len: u8,
}

impl AsRef<[u8]> for Head {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The header of a message of `payload_bytes`, for callers that write the payload separately.
pub fn message_header(kind: MessageKind, payload_bytes: usize) -> Head {
    head(opcode(kind), payload_bytes)
}

/// Appends a whole message. For [`MessageKind::Text`], `payload` must be UTF-8.
#[inline]
pub fn put_message(out: &mut Vec<u8>, kind: MessageKind, payload: &[u8]) {
    match payload.len() {
        // As `head` has it; most are short, and a copy of a known size is no call.
        len @ 0..=125 => out.extend_from_slice(&[FIN | opcode(kind), len as u8]),
        len => out.extend_from_slice(message_header(kind, len).as_ref()),
    }
    out.extend_from_slice(payload);
}

/// Appends a close frame (RFC 6455 §5.5.1).
///
/// The code must be [sendable](CloseCode::is_sendable). At most 123 bytes of the reason fit; what
/// is beyond is cut off, at a character's boundary.
pub fn put_close(out: &mut Vec<u8>, close: Option<(CloseCode, &str)>) {
    let Some((code, reason)) = close else { return put_control(out, 0x8, &[]) };
    debug_assert!(code.is_sendable(), "close code {code} may not be sent");
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL_BYTES - 2)];
    out.extend_from_slice(head(0x8, 2 + reason.len()).as_ref());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a ping (RFC 6455 §5.5.2) with the first 125 bytes of `payload`.
pub fn put_ping(out: &mut Vec<u8>, payload: &[u8]) {
    put_control(out, 0x9, payload);
}

/// Appends a pong (RFC 6455 §5.5.3) with the first 125 bytes of `payload`: all of a ping's.
pub fn put_pong(out: &mut Vec<u8>, payload: &[u8]) {
    put_control(out, 0xa, payload);
}

fn put_control(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let payload = &payload[..payload.len().min(MAX_CONTROL_BYTES)];
    out.extend_from_slice(head(opcode, payload.len()).as_ref());
    out.extend_from_slice(payload);
}

fn opcode(kind: MessageKind) -> u8 {
    match kind {
        MessageKind::Text => 0x1,
        MessageKind::Binary => 0x2,
    }
}

/// A header with the shortest form of the length (RFC 6455 §5.2).
fn head(opcode: u8, payload_bytes: usize) -> Head {
    let mut bytes = [0; 10];
    bytes[0] = FIN | opcode;
    let len = match payload_bytes {
        0..=125 => {
            bytes[1] = payload_bytes as u8;
            2
        }
        126..=0xffff => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 127;
            bytes[2..].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            10
        }
    };
    Head { bytes, len }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = b"before".to_vec();
        put(&mut out);
        assert_eq!(&out[..6], b"before");
        out.split_off(6)
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7_are_written_as_printed() {
        assert_eq!(written(|out| put_message(out, MessageKind::Text, b"Hello")), b"\x81\x05Hello");
        assert_eq!(written(|out| put_ping(out, b"Hello")), b"\x89\x05Hello");
        assert_eq!(
            message_header(MessageKind::Binary, 256).as_ref(),
            [0x82, 0x7e, 0x01, 0x00],
            "256 bytes in a single unmasked frame"
        );
        assert_eq!(
            message_header(MessageKind::Binary, 65536).as_ref(),
            [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0],
            "64 KiB in a single unmasked frame"
        );
    }

    #[test]
    fn a_length_takes_the_fewest_bytes() {
        for (payload_bytes, head_bytes) in
            [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10), (1 << 30, 10)]
        {
            let head = message_header(MessageKind::Text, payload_bytes);
            assert_eq!(head.as_ref().len(), head_bytes, "{payload_bytes}");
        }
    }

    #[test]
    fn a_close_frame_holds_code_and_reason_or_nothing() {
        assert_eq!(written(|out| put_close(out, None)), b"\x88\x00");
        let bye = Some((CloseCode(4001), "bye"));
        assert_eq!(written(|out| put_close(out, bye)), b"\x88\x05\x0f\xa1bye");
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let reason = "€".repeat(42);
        let frame = written(|out| put_close(out, Some((CloseCode::NORMAL, &reason))));
        assert_eq!(frame[1], 2 + 123);
        let reason = format!("a{reason}");
        let frame = written(|out| put_close(out, Some((CloseCode::NORMAL, &reason))));
        assert_eq!(frame[1], 2 + 121);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }

    #[test]
    fn a_control_frame_is_never_over_125_bytes() {
        let frame = written(|out| put_pong(out, &[7; 126]));
        assert_eq!(frame[..2], [0x8a, 125]);
        assert_eq!(frame.len(), 127);
    }
}
