//! The codec against another implementation, on the same random bytes.
//!
//! As decoder, `tungstenite` must report the same events in the same order, and refuse where ours
//! refuses. It differs by intent in this, and only this is let pass:
//! - it accepts lengths that are not in their shortest form (RFC 6455 §5.2 forbids them), those
//!   of control frames among them;
//! - instead of refusing a close code that may not be sent, it reports 1002 "Protocol violation";
//! - it does so for 1014 too, which is registered with IANA since RFC 6455;
//! - it judges a frame when all of it is there, ours as early as it can: of a frame that is cut
//!   off at the end of the stream.

mod codec_client;
mod codec_second;

use codec_client::{ClientFrame, Event, LengthForm, decode, encode};
use codec_second::{End, decode_with_tungstenite, end};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use shovel_edge::ws::decoder::Violation;
use shovel_edge::ws::encoder;
use shovel_protocol::{CloseCode, MessageKind};
use tokio_tungstenite::tungstenite::protocol::Role;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn our_decoder_and_tungstenite_agree(
        client in any_client(),
        limit_bytes in prop_oneof![Just(125_usize), 126..2000_usize, Just(100_000)],
    ) {
        let bytes = client.bytes();
        let ours = decode(&bytes, limit_bytes, &[usize::MAX]);
        let (theirs, their_end) = decode_with_tungstenite(&bytes, Role::Server, limit_bytes);
        match (ours.violation, ours.events.last()) {
            (Some(Violation::LongForm | Violation::LongControl), _) if client.has_long_form() => {
                prop_assert!(theirs.starts_with(&ours.events), "{ours:?}\n{theirs:?}");
            }
            (_, Some(Event::Close(Some((1014, _))))) => {
                prop_assert_eq!(&ours.events[..ours.events.len() - 1], &theirs);
                prop_assert_eq!(their_end, End::Refused);
            }
            _ => {
                prop_assert_eq!(&ours.events, &theirs);
                let refused_early = client.cut_off.is_some()
                    && their_end == End::Open
                    && end(&ours) == End::Refused;
                prop_assert!(refused_early || end(&ours) == their_end, "{ours:?}\n{their_end:?}");
            }
        }
    }

    #[test]
    fn how_bytes_arrive_makes_no_difference(
        client in any_client(),
        limit_bytes in prop_oneof![0..300_usize, Just(100_000)],
        read_bytes in vec(1..300_usize, 1..8),
    ) {
        let bytes = client.bytes();
        let whole = decode(&bytes, limit_bytes, &[usize::MAX]);
        prop_assert_eq!(&whole, &decode(&bytes, limit_bytes, &read_bytes));
        prop_assert_eq!(&whole, &decode(&bytes, limit_bytes, &[1]));
    }

    #[test]
    fn well_formed_frames_are_all_accepted(frames in vec(any_message(), 1..6)) {
        let frames = frames.concat();
        let transcript = decode(&encode(&frames), 100_000, &[1000]);
        prop_assert_eq!(transcript.violation, None);
        prop_assert!(transcript.idle);
        let sent = frames.iter().filter(|frame| frame.fin).count();
        prop_assert_eq!(transcript.events.len(), sent);
    }

    #[test]
    fn tungstenite_reads_what_our_encoder_writes(
        sent in vec(any_sent(), 0..8),
        close in proptest::option::of(any_close()),
    ) {
        let mut bytes = Vec::new();
        let sent: Vec<Event> = sent.into_iter().chain(close).collect();
        sent.iter().for_each(|event| put(&mut bytes, event));
        let (read, _) = decode_with_tungstenite(&bytes, Role::Client, usize::MAX);
        prop_assert_eq!(read, sent);
    }
}

/// The seed of a failure is printed, and kept beside this file. `PROPTEST_CASES` runs more.
fn config() -> ProptestConfig {
    let beside = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(beside)), ..ProptestConfig::default() }
}

/// What a client sends until it goes away.
#[derive(Clone, Debug)]
struct Client {
    frames: Vec<ClientFrame>,
    /// Where the stream ends, if not with the last frame.
    cut_off: Option<Index>,
}

impl Client {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = encode(&self.frames);
        if let Some(cut_off) = self.cut_off {
            bytes.truncate(cut_off.index(bytes.len()));
        }
        bytes
    }

    fn has_long_form(&self) -> bool {
        self.frames.iter().any(|frame| frame.length_form != LengthForm::Shortest)
    }
}

/// One thing wrong with a frame.
#[derive(Clone, Debug)]
enum Damage {
    Fin,
    Opcode(u8),
    Reserved(u8),
    Mask,
    Length(LengthForm),
    Payload(Index, u8),
}

impl Damage {
    fn apply(self, frame: &mut ClientFrame) {
        match self {
            Damage::Fin => frame.fin = !frame.fin,
            Damage::Opcode(opcode) => frame.opcode = opcode,
            Damage::Reserved(reserved) => frame.reserved = reserved,
            Damage::Mask => frame.mask = None,
            Damage::Length(form) if frame.payload.len() <= 0xffff => frame.length_form = form,
            Damage::Length(_) => {}
            Damage::Payload(at, byte) if !frame.payload.is_empty() => {
                let at = at.index(frame.payload.len());
                frame.payload[at] = byte;
            }
            Damage::Payload(..) => {}
        }
    }
}

fn any_client() -> impl Strategy<Value = Client> {
    let messages = vec(any_message(), 1..6).prop_map(|messages| messages.concat());
    let frames = (messages, proptest::option::of(any_close()), any::<[u8; 4]>()).prop_map(
        |(mut frames, close, mask)| {
            frames
                .extend(close.map(|close| ClientFrame { mask: Some(mask), ..close_frame(&close) }));
            frames
        },
    );
    let damages = vec((any::<Index>(), any_damage()), 0..3);
    (frames, damages, proptest::option::weighted(0.2, any::<Index>())).prop_map(
        |(mut frames, damages, cut_off)| {
            for (at, damage) in damages {
                let at = at.index(frames.len());
                damage.apply(&mut frames[at]);
            }
            Client { frames, cut_off }
        },
    )
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let forms = vec![LengthForm::TwoBytes, LengthForm::EightBytes, LengthForm::TopBit];
    prop_oneof![
        Just(Damage::Fin),
        (0..16_u8).prop_map(Damage::Opcode),
        (1..8_u8).prop_map(Damage::Reserved),
        Just(Damage::Mask),
        proptest::sample::select(forms).prop_map(Damage::Length),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Payload(at, byte)),
    ]
}

/// The frames of one well-formed message, cut anywhere, with control frames in between.
fn any_message() -> impl Strategy<Value = Vec<ClientFrame>> {
    let cuts = vec((any::<Index>(), proptest::option::of(any_control())), 0..4);
    (any_data(), cuts, any_control(), any::<[u8; 4]>()).prop_map(|(data, cuts, last, mask)| {
        let (opcode, data) = data;
        let mut cuts: Vec<_> =
            cuts.into_iter().map(|(at, control)| (at.index(data.len() + 1), control)).collect();
        cuts.sort_by_key(|cut| cut.0);
        let mut frames = Vec::new();
        let mut from = 0;
        for (at, control) in cuts {
            let opcode = if frames.is_empty() { opcode } else { 0x0 };
            frames.push(ClientFrame::new(false, opcode, &data[from..at]));
            frames.extend(control);
            from = at;
        }
        let opcode = if frames.is_empty() { opcode } else { 0x0 };
        frames.push(ClientFrame::new(true, opcode, &data[from..]));
        frames.push(last);
        frames.iter_mut().for_each(|frame| frame.mask = Some(mask));
        frames
    })
}

/// The opcode and payload of a message; some are long enough for each form of the length.
fn any_data() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        8 => any::<String>().prop_map(|text| (0x1, text.into_bytes())),
        2 => (1..40_usize).prop_map(|times| (0x1, "h\u{e9}\u{20ac}\u{1f40e}".repeat(times).into())),
        4 => vec(any::<u8>(), 0..300).prop_map(|data| (0x2, data)),
        1 => (65_500..65_600_usize).prop_map(|len| (0x2, vec![0xa5; len])),
    ]
}

fn any_control() -> impl Strategy<Value = ClientFrame> {
    let opcode = proptest::sample::select(&[0x9, 0xa]);
    (opcode, vec(any::<u8>(), 0..=125))
        .prop_map(|(opcode, payload)| ClientFrame::new(true, opcode, &payload))
}

fn any_close() -> impl Strategy<Value = Event> {
    let code = prop_oneof![1000..=1003_u16, 1007..=1013_u16, 3000..=4999_u16];
    proptest::option::of((code, "\\PC{0,30}")).prop_map(Event::Close)
}

fn any_sent() -> impl Strategy<Value = Event> {
    let payload = || vec(any::<u8>(), 0..=125);
    prop_oneof![
        any_data().prop_map(|(opcode, data)| {
            let kind = if opcode == 0x1 { MessageKind::Text } else { MessageKind::Binary };
            Event::Message(kind, data)
        }),
        payload().prop_map(Event::Ping),
        payload().prop_map(Event::Pong),
    ]
}

fn close_frame(close: &Event) -> ClientFrame {
    let Event::Close(close) = close else { panic!("{close:?} is no close") };
    let payload = close
        .iter()
        .flat_map(|(code, reason)| code.to_be_bytes().into_iter().chain(reason.bytes()));
    ClientFrame::new(true, 0x8, &payload.collect::<Vec<u8>>())
}

fn put(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Message(kind, data) => encoder::put_message(out, *kind, data),
        Event::Ping(payload) => encoder::put_ping(out, payload),
        Event::Pong(payload) => encoder::put_pong(out, payload),
        Event::Close(close) => {
            let close = close.as_ref().map(|(code, reason)| (CloseCode(*code), reason.as_str()));
            encoder::put_close(out, close);
        }
    }
}
