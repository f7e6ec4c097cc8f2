//! The rules of RFC 6455 for what a client sends, one by one.

mod codec_client;

use codec_client::{ClientFrame, Event, LengthForm, decode, encode};
use shovel_edge::ws::decoder::{Decoded, Decoder, Hold, Limits, Received, Violation};
use shovel_protocol::MessageKind::{Binary, Text};
use shovel_protocol::{CloseCode, MessageKind};

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

const LIMIT_BYTES: usize = 1000;

fn frame(fin: bool, opcode: u8, payload: impl AsRef<[u8]>) -> ClientFrame {
    ClientFrame::new(fin, opcode, payload.as_ref())
}

fn message(kind: MessageKind, data: impl AsRef<[u8]>) -> Event {
    Event::Message(kind, data.as_ref().to_vec())
}

fn decoder() -> Decoder {
    Decoder::new(Limits { max_message_bytes: LIMIT_BYTES })
}

/// The events of well-formed frames, which must not depend on how they arrive.
fn events(frames: &[ClientFrame]) -> Vec<Event> {
    let bytes = encode(frames);
    let whole = decode(&bytes, LIMIT_BYTES, &[bytes.len()]);
    assert_eq!(whole.violation, None);
    assert!(whole.idle);
    assert_eq!(whole, decode(&bytes, LIMIT_BYTES, &[1]));
    whole.events
}

/// The violation of frames of which the last breaks a rule.
fn violation(frames: &[ClientFrame]) -> Violation {
    let bytes = encode(frames);
    let whole = decode(&bytes, LIMIT_BYTES, &[bytes.len()]);
    assert_eq!(whole, decode(&bytes, LIMIT_BYTES, &[1]));
    whole.violation.unwrap_or_else(|| panic!("accepted {frames:?}"))
}

#[test]
fn the_examples_of_rfc_6455_section_5_7_are_read_as_printed() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(decode(hello, LIMIT_BYTES, &[11]).events, [message(Text, "Hello")]);
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(decode(pong, LIMIT_BYTES, &[11]).events, [Event::Pong(b"Hello".to_vec())]);
    let fragmented = [frame(false, TEXT, "Hel"), frame(true, CONTINUATION, "lo")];
    assert_eq!(events(&fragmented), [message(Text, "Hello")]);
}

#[test]
fn messages_of_every_length_form_are_read() {
    for len in [0, 1, 125, 126, 127, LIMIT_BYTES] {
        assert_eq!(events(&[frame(true, BINARY, vec![7; len])]), [message(Binary, vec![7; len])]);
    }
    let bytes = frame(true, BINARY, vec![7; 65536]).encode();
    assert_eq!(bytes.len(), 65536 + 14);
    assert_eq!(decode(&bytes, 65536, &[1000]).events, [message(Binary, vec![7; 65536])]);
}

#[test]
fn a_message_that_is_whole_in_the_input_is_lent_from_it() {
    let mut input = frame(true, TEXT, "Hello").encode();
    let payload = input.as_ptr_range().start.wrapping_add(6);
    let mut decoder = decoder();
    let decoded = decoder.decode(&mut input, Hold::Nothing).unwrap();
    let Some(Received::Message { data, .. }) = decoded.event else { panic!("{decoded:?}") };
    assert_eq!(data.as_ptr(), payload);
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn control_frames_may_come_between_fragments() {
    let frames = [
        frame(false, BINARY, "a"),
        frame(true, PING, "ping"),
        frame(false, CONTINUATION, ""),
        frame(true, PONG, vec![1; 125]),
        frame(true, CONTINUATION, "b"),
    ];
    let expected =
        [Event::Ping(b"ping".to_vec()), Event::Pong(vec![1; 125]), message(Binary, "ab")];
    assert_eq!(events(&frames), expected);
}

#[test]
fn a_message_of_very_many_fragments_is_put_together() {
    // Were the time quadratic, this would copy 137 GB.
    let mut frames = vec![frame(false, TEXT, [b'x'; 64])];
    frames.resize(65536, frame(false, CONTINUATION, [b'x'; 64]));
    frames.push(frame(true, CONTINUATION, ""));
    let transcript = decode(&encode(&frames), 4 << 20, &[4096]);
    assert_eq!(transcript.events, [message(Text, vec![b'x'; 4 << 20])]);
}

#[test]
fn each_malformed_head_is_refused_with_1002() {
    let good = frame(true, TEXT, "x");
    let cases = [
        (ClientFrame { reserved: 0b100, ..good.clone() }, Violation::ReservedBits),
        (ClientFrame { reserved: 0b010, ..good.clone() }, Violation::ReservedBits),
        (ClientFrame { reserved: 0b001, ..good.clone() }, Violation::ReservedBits),
        (frame(true, 0x3, ""), Violation::UnknownOpcode(3)),
        (frame(true, 0x7, ""), Violation::UnknownOpcode(7)),
        (frame(true, 0xb, ""), Violation::UnknownOpcode(11)),
        (frame(true, 0xf, ""), Violation::UnknownOpcode(15)),
        (ClientFrame { mask: None, ..good.clone() }, Violation::Unmasked),
        (ClientFrame { length_form: LengthForm::TwoBytes, ..good.clone() }, Violation::LongForm),
        (ClientFrame { length_form: LengthForm::EightBytes, ..good.clone() }, Violation::LongForm),
        (ClientFrame { length_form: LengthForm::TopBit, ..good }, Violation::NegativeLength),
        (frame(false, PING, ""), Violation::FragmentedControl),
        (frame(true, PING, vec![0; 126]), Violation::LongControl),
        (frame(true, CLOSE, vec![0; 126]), Violation::LongControl),
    ];
    for (broken, expected) in cases {
        assert_eq!(violation(&[frame(true, PONG, ""), broken]), expected);
        assert_eq!(expected.close_code(), CloseCode::PROTOCOL_ERROR);
    }
}

#[test]
fn the_longest_length_of_each_form_must_not_be_written_longer() {
    for (len, length_form) in [
        (125, LengthForm::TwoBytes),
        (126, LengthForm::EightBytes),
        (0xffff, LengthForm::EightBytes),
    ] {
        let broken = ClientFrame { length_form, ..frame(true, BINARY, vec![0; len]) };
        assert_eq!(decode(&broken.encode(), 0xffff, &[99]).violation, Some(Violation::LongForm));
    }
}

#[test]
fn a_head_is_refused_without_waiting_for_the_rest_of_it() {
    let unmasked = decoder().decode(&mut [0x89, 0x00], Hold::Nothing).unwrap_err();
    assert_eq!(unmasked, Violation::Unmasked);
    let long_ping = decoder().decode(&mut [0x89, 0x80 | 126], Hold::Nothing).unwrap_err();
    assert_eq!(long_ping, Violation::LongControl);
}

#[test]
fn fragments_must_be_in_sequence() {
    let stray = frame(true, CONTINUATION, "x");
    assert_eq!(violation(std::slice::from_ref(&stray)), Violation::StrayContinuation);
    assert_eq!(violation(&[frame(true, TEXT, "x"), stray]), Violation::StrayContinuation);
    for opcode in [TEXT, BINARY] {
        let frames = [frame(false, TEXT, ""), frame(true, opcode, "")];
        assert_eq!(violation(&frames), Violation::Interleaved);
    }
    assert_eq!(Violation::StrayContinuation.close_code(), CloseCode::PROTOCOL_ERROR);
    assert_eq!(Violation::Interleaved.close_code(), CloseCode::PROTOCOL_ERROR);
}

#[test]
fn a_message_over_the_limit_is_refused_before_its_payload_comes() {
    let mut bytes = frame(true, BINARY, vec![0; LIMIT_BYTES + 1]).encode();
    let too_big = decoder().decode(&mut bytes[..8], Hold::Nothing).unwrap_err();
    assert_eq!(too_big, Violation::TooBig(LIMIT_BYTES));
    assert_eq!(too_big.close_code(), CloseCode::TOO_BIG);

    let mut bytes = frame(true, BINARY, "").encode();
    bytes.splice(1..2, [0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(decoder().decode(&mut bytes, Hold::Nothing).unwrap_err(), too_big);
}

#[test]
fn the_limit_is_on_the_sum_of_a_messages_fragments() {
    let first = frame(false, BINARY, vec![0; LIMIT_BYTES - 1]);
    let fits = [first.clone(), frame(true, PING, "no part of it"), frame(true, CONTINUATION, "x")];
    assert_eq!(events(&fits).len(), 2);
    let over = [first, frame(true, CONTINUATION, "xx")];
    assert_eq!(violation(&over), Violation::TooBig(LIMIT_BYTES));
}

#[test]
fn text_must_be_utf_8_over_all_its_fragments() {
    let euro = "€".as_bytes();
    let cut = [frame(false, TEXT, &euro[..1]), frame(true, CONTINUATION, &euro[1..])];
    assert_eq!(events(&cut), [message(Text, "€")]);
    assert_eq!(violation(&[frame(true, TEXT, &euro[..2])]), Violation::Text);
    let unfinished = [frame(false, TEXT, &euro[..2]), frame(true, CONTINUATION, "")];
    assert_eq!(violation(&unfinished), Violation::Text);
    assert_eq!(violation(&[frame(true, TEXT, b"\xed\xa0\x80")]), Violation::Text);
    assert_eq!(Violation::Text.close_code(), CloseCode::INVALID_DATA);
    assert_eq!(events(&[frame(true, BINARY, &euro[..2])]), [message(Binary, &euro[..2])]);
}

#[test]
fn invalid_text_is_refused_as_soon_as_it_has_arrived() {
    let mut bytes = frame(true, TEXT, b"ok\xf4\x90\x80\x80 and more").encode();
    let mut decoder = decoder();
    let (valid, rest) = bytes.split_at_mut(6 + 3);
    assert_eq!(decoder.decode(valid, Hold::Nothing).unwrap().event, None);
    assert_eq!(decoder.decode(&mut rest[..1], Hold::Nothing).unwrap_err(), Violation::Text);
}

#[test]
fn a_close_frame_is_read_with_and_without_a_reason() {
    assert_eq!(events(&[frame(true, CLOSE, "")]), [Event::Close(None)]);
    let bare = [Event::Close(Some((1000, String::new())))];
    assert_eq!(events(&[frame(true, CLOSE, b"\x03\xe8")]), bare);
    let bye = [Event::Close(Some((4001, "bye".to_owned())))];
    assert_eq!(events(&[frame(true, CLOSE, b"\x0f\xa1bye")]), bye);
}

#[test]
fn a_close_frame_may_come_inside_a_message() {
    let bytes = encode(&[frame(false, TEXT, "x"), frame(true, CLOSE, "")]);
    let transcript = decode(&bytes, LIMIT_BYTES, &[bytes.len()]);
    assert_eq!(transcript.events, [Event::Close(None)]);
    assert!(!transcript.idle, "the message has not ended");
}

#[test]
fn a_malformed_close_payload_is_refused() {
    assert_eq!(violation(&[frame(true, CLOSE, "x")]), Violation::ShortClose);
    assert_eq!(Violation::ShortClose.close_code(), CloseCode::PROTOCOL_ERROR);
    assert_eq!(violation(&[frame(true, CLOSE, b"\x03\xe8\xff")]), Violation::CloseReason);
    assert_eq!(Violation::CloseReason.close_code(), CloseCode::INVALID_DATA);
}

#[test]
fn close_codes_are_accepted_only_if_they_may_be_sent() {
    for code in 0..=u16::MAX {
        let bytes = frame(true, CLOSE, code.to_be_bytes()).encode();
        let violation = decode(&bytes, LIMIT_BYTES, &[bytes.len()]).violation;
        if matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            assert_eq!(violation, None, "{code}");
        } else {
            assert_eq!(violation, Some(Violation::CloseCode(CloseCode(code))));
        }
    }
    assert_eq!(Violation::CloseCode(CloseCode(1005)).close_code(), CloseCode::PROTOCOL_ERROR);
}

#[test]
fn control_frames_ahead_of_withheld_data_are_handled() {
    for data in [frame(true, TEXT, "x"), frame(false, BINARY, "x")] {
        let mut input = encode(&[frame(true, PING, "p"), data]);
        let mut decoder = decoder();
        let ping = decoder.decode(&mut input, Hold::Data).unwrap();
        assert_eq!(ping, Decoded { consumed: 7, event: Some(Received::Ping(b"p")) });
        let withheld = decoder.decode(&mut input[7..], Hold::Data).unwrap();
        assert_eq!(withheld, Decoded { consumed: 0, event: Some(Received::Withheld) });
        assert!(decoder.is_idle());
        assert_eq!(decoder.decode(&mut [], Hold::Data).unwrap().event, None);
    }
}

#[test]
fn a_ping_that_ends_in_this_input_is_handled_before_data_is_withheld() {
    let mut input = encode(&[frame(true, PING, "pp"), frame(true, TEXT, "x")]);
    let mut decoder = decoder();
    let (begin, rest) = input.split_at_mut(7);
    assert_eq!(decoder.decode(begin, Hold::Data).unwrap().event, None);
    let ping = decoder.decode(rest, Hold::Data).unwrap();
    assert_eq!(ping, Decoded { consumed: 1, event: Some(Received::Ping(b"pp")) });
    let withheld = decoder.decode(&mut rest[1..], Hold::Data).unwrap();
    assert_eq!(withheld, Decoded { consumed: 0, event: Some(Received::Withheld) });
}

#[test]
fn a_data_frame_that_has_begun_is_not_withheld() {
    let bytes = frame(true, TEXT, "Hello").encode();
    for begun in 1..bytes.len() {
        let mut input = bytes.clone();
        let (begin, rest) = input.split_at_mut(begun);
        let mut decoder = decoder();
        assert_eq!(decoder.decode(begin, Hold::Nothing).unwrap().event, None);
        let event = decoder.decode(rest, Hold::Data).unwrap().event;
        assert_eq!(event, Some(Received::Message { kind: Text, data: b"Hello" }));
    }
}

#[test]
fn the_next_fragment_of_a_begun_message_is_withheld() {
    let mut input = encode(&[frame(false, TEXT, "Hel"), frame(true, CONTINUATION, "lo")]);
    let mut decoder = decoder();
    let (first, second) = input.split_at_mut(9);
    decoder.decode(&mut first[..1], Hold::Nothing).unwrap();
    assert_eq!(decoder.decode(&mut first[1..], Hold::Data).unwrap().event, None);
    let withheld = decoder.decode(second, Hold::Data).unwrap();
    assert_eq!(withheld, Decoded { consumed: 0, event: Some(Received::Withheld) });
    let event = decoder.decode(second, Hold::Nothing).unwrap().event;
    assert_eq!(event, Some(Received::Message { kind: Text, data: b"Hello" }));
}
