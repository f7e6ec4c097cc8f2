//! Frames at random.
//!
//! Frames borrow their payloads. Here they borrow from memory that is never given back: a test
//! process is short, and a strategy cannot lend what it owns.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use shovel_protocol::control::{
    self, AdoptCause, AdoptHead, AskFields, Effect, Headers, Names, OfferedConnection,
    OutboxFields, RequestHead, ResponseHead, UpgradeHead, Welcome,
};
use shovel_protocol::handshake::{Capabilities, Greeting, VERSION};
use shovel_protocol::id::Leased;
use shovel_protocol::limits::ATTACHMENT_BYTES;
use shovel_protocol::to_supervisor::{Effects, put_effect};
use shovel_protocol::to_worker::RequestBytes;
use shovel_protocol::{
    Act, Again, BadFrame, Close, CloseCode, Frame, LeaseId, MessageKind, OutboxQuestion,
    PublishToken, RequestId, SlowConsumer, ToSupervisor, ToWorker, When, WsMessage,
};

/// Failing seeds are printed and kept beside the test, which is where a repeated run finds them.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

/// Any frame that this version sends to a worker.
pub(crate) fn to_worker() -> BoxedStrategy<ToWorker<'static>> {
    use ToWorker::*;
    prop_oneof![
        (greeting(), welcome()).prop_map(|(greeting, welcome)| Hello(greeting, welcome)),
        (request(), request_head(), any::<bool>()).prop_map(|(request, head, end)| Request {
            request,
            head,
            end
        }),
        (request(), bytes(), any::<bool>()).prop_map(|(request, data, end)| RequestBody {
            request,
            data,
            end
        }),
        (request(), headers()).prop_map(|(request, trailers)| RequestEnd { request, trailers }),
        request().prop_map(|request| Cancel { request }),
        (connection(), any::<u64>(), again(), message()).prop_map(
            |(connection, seq, again, (kind, data))| Message(WsMessage {
                connection,
                seq,
                again,
                kind,
                data
            })
        ),
        (connection(), any::<u64>(), again(), any::<u16>(), ".{0,30}", any::<bool>()).prop_map(
            |(connection, seq, again, code, reason, was_clean)| {
                let close = Close { code: CloseCode(code), reason, was_clean };
                Closed { connection, seq, again, close }
            }
        ),
        (connection(), any::<u16>(), ".{0,30}").prop_map(|(connection, code, reason)| {
            Gone { connection, close: Close { code: CloseCode(code), reason, was_clean: false } }
        }),
        (connection(), any::<bool>()).prop_map(|(connection, over)| Pressure { connection, over }),
        (connection(), any::<u64>(), any::<Option<u64>>()).prop_map(
            |(connection, token, bytes)| {
                Outbox { connection, outbox: OutboxFields { token, bytes } }
            }
        ),
        connection().prop_map(|connection| Release { connection }),
        connection().prop_map(|connection| Revoke { connection }),
        (connection(), adopt_head(), request_head()).prop_map(|(connection, adopt, request)| {
            let request = RequestBytes(Box::leak(control::request_head_bytes(&request)));
            Adopt { connection, adopt, request }
        }),
        (token(), channel(), message()).prop_map(|(token, channel, (kind, data))| {
            ChannelMessage { token, channel, kind, data }
        }),
        (token(), any::<[u64; 3]>()).prop_map(|(token, [delivered, dropped, closed])| {
            Published { token, published: control::Published { delivered, dropped, closed } }
        }),
        channel().prop_map(|channel| ChannelRefused { channel }),
        (request(), any::<u32>()).prop_map(|(request, bytes)| Credit { request, bytes }),
        any::<u64>().prop_map(|nonce| Ping { nonce }),
        Just(Shutdown),
    ]
    .boxed()
}

/// Any frame that this version sends to the supervisor.
pub(crate) fn to_supervisor() -> BoxedStrategy<ToSupervisor<'static>> {
    use ToSupervisor::*;
    prop_oneof![
        greeting().prop_map(Ready),
        (request(), any::<u16>(), headers(), any::<bool>()).prop_map(
            |(request, status, headers, end)| {
                Response { request, head: ResponseHead { status, headers }, end }
            }
        ),
        (request(), bytes(), any::<bool>()).prop_map(|(request, data, end)| ResponseBody {
            request,
            data,
            end
        }),
        (request(), headers()).prop_map(|(request, trailers)| ResponseEnd { request, trailers }),
        request().prop_map(|request| Abort { request }),
        (connection(), upgrade_head(), any::<bool>(), vec(effect(), 0..5)).prop_map(
            |(connection, upgrade, portable, effects)| {
                let mut bytes = Vec::new();
                effects.iter().for_each(|effect| put_effect(&mut bytes, effect));
                Upgrade { connection, upgrade, portable, effects: Effects::new(bytes.leak()) }
            }
        ),
        act().prop_map(Act),
        (connection(), any::<u64>()).prop_map(|(connection, seq)| Commit { connection, seq }),
        (connection(), any::<[u64; 2]>()).prop_map(|(connection, [handled, started])| {
            Released { connection, handled, started }
        }),
        (connection(), any::<bool>()).prop_map(|(connection, taken)| Adopted { connection, taken }),
        connection().prop_map(|connection| Pressed { connection }),
        (connection(), any::<u64>(), question()).prop_map(|(connection, token, question)| Ask {
            connection,
            ask: AskFields { token, question }
        }),
        channel().prop_map(|channel| Subscribe { channel }),
        channel().prop_map(|channel| Unsubscribe { channel }),
        (token(), channel(), message())
            .prop_map(|(token, channel, (kind, data))| { Publish { token, channel, kind, data } }),
        (request(), any::<u32>()).prop_map(|(request, bytes)| Credit { request, bytes }),
        any::<u64>().prop_map(|nonce| Pong { nonce }),
        Just(ShutdownComplete),
    ]
    .boxed()
}

/// Any act that a frame can say.
fn act() -> impl Strategy<Value = Act<'static>> {
    (connection(), when(), effect(), any::<bool>()).prop_map(|(connection, when, effect, last)| {
        match effect {
            Effect::Send { .. } => Act { connection, when, effect, last },
            // Without a handler it has a token, and is no act; with one it has none.
            Effect::Publish { channel, binary, data, .. } => {
                let when = if when == When::Now { When::Staged } else { when };
                let token = PublishToken::NONE.to_wire();
                Act::new(connection, when, Effect::Publish { token, channel, binary, data })
            }
            effect => Act::new(connection, when, effect),
        }
    })
}

/// Any effect of a fetch handler.
pub(crate) fn effect() -> BoxedStrategy<Effect<'static>> {
    prop_oneof![
        message().prop_map(|(kind, data)| Effect::Send { binary: kind.is_binary(), data }),
        channel().prop_map(|channel| Effect::Subscribe { channel }),
        channel().prop_map(|channel| Effect::Unsubscribe { channel }),
        (token(), channel(), message()).prop_map(|(token, channel, (kind, data))| {
            Effect::Publish { token: token.to_wire(), channel, binary: kind.is_binary(), data }
        }),
        close().prop_map(|(code, reason)| Effect::Close { code, reason }),
        (any::<u32>(), attachment()).prop_map(|(version, data)| Effect::Attach { version, data }),
        prop::sample::select(&POLICIES[..]).prop_map(|policy| Effect::SlowConsumer { policy }),
    ]
    .boxed()
}

const POLICIES: [Option<SlowConsumer>; 4] = [
    None,
    Some(SlowConsumer::Close),
    Some(SlowConsumer::DropNewest),
    Some(SlowConsumer::DropOldest),
];

fn question() -> impl Strategy<Value = OutboxQuestion> {
    prop::sample::select(&[OutboxQuestion::Bytes, OutboxQuestion::Empty][..])
}

/// Cuts the frames off the front of what has arrived; what is left is the beginning of one.
pub(crate) fn take_frames(
    arrived: &mut Vec<u8>,
    mut take: impl FnMut(Frame<'_>) -> Result<(), BadFrame>,
) -> Result<(), BadFrame> {
    let mut at = 0;
    while let Some((frame, taken)) = Frame::cut(&arrived[at..])? {
        take(frame)?;
        at += taken;
    }
    arrived.drain(..at);
    Ok(())
}

fn greeting() -> impl Strategy<Value = Greeting> {
    (VERSION..=u16::MAX, any::<u64>()).prop_map(|(version, capabilities)| Greeting {
        version,
        oldest: VERSION,
        capabilities: Capabilities(capabilities),
    })
}

fn welcome() -> impl Strategy<Value = Welcome> {
    (any::<[u32; 6]>(), any::<u64>(), any::<bool>()).prop_map(
        |([worker, index, generation, link, links, body_window_bytes], max_message_bytes, dev)| {
            Welcome {
                worker,
                index,
                generation,
                link,
                links,
                max_message_bytes,
                body_window_bytes,
                dev,
            }
        },
    )
}

fn request_head() -> impl Strategy<Value = RequestHead<'static>> {
    let offer = (any::<u64>(), any::<[u8; 16]>())
        .prop_map(|(connection, uuid)| OfferedConnection { connection, uuid });
    (text("[A-Z]{1,8}"), text(".{0,40}"), any::<u8>(), headers(), text("[0-9.:]{0,20}"))
        .prop_flat_map(move |(method, target, version, headers, client)| {
            prop::option::of(offer.clone()).prop_map(move |offer| RequestHead {
                method,
                target,
                version,
                headers: headers.clone(),
                client,
                offer,
            })
        })
}

fn adopt_head() -> impl Strategy<Value = AdoptHead<'static>> {
    use AdoptCause::{Crash, Rebalance, Reload, Wake};
    let cause = prop::sample::select(&[Reload, Crash, Wake, Rebalance][..]);
    let about = (cause, any::<[u8; 16]>(), prop::option::of(text(".{0,20}")), any::<u64>());
    let left = (any::<bool>(), any::<u32>(), attachment(), vec(channel(), 0..5));
    (about, left).prop_map(|((cause, uuid, protocol, committed), left)| {
        let (pressed, version, attachment, channels) = left;
        let channels = Names(channels);
        AdoptHead { cause, uuid, protocol, committed, pressed, version, attachment, channels }
    })
}

fn upgrade_head() -> impl Strategy<Value = UpgradeHead<'static>> {
    (any::<u64>(), prop::option::of(text(".{0,20}")), headers())
        .prop_map(|(request, protocol, headers)| UpgradeHead { request, protocol, headers })
}

fn headers() -> impl Strategy<Value = Headers<'static>> {
    let header = (text("[a-z-]{0,12}"), short_bytes());
    let few = vec(header, 0..6).boxed();
    // So many that the list does not fit into one frame.
    let many = (3000..5000usize).prop_map(|count| vec![("x-filler", &b"0123456789"[..]); count]);
    prop_oneof![20 => few, 1 => many].prop_map(Headers)
}

fn request() -> impl Strategy<Value = RequestId> {
    leased().prop_map(RequestId)
}

fn connection() -> impl Strategy<Value = LeaseId> {
    leased().prop_map(LeaseId)
}

/// The last lease is never given out: with the last slot it would name the worker itself.
fn leased() -> impl Strategy<Value = Leased> {
    (any::<u32>(), 0..u32::MAX).prop_map(|(slot, lease)| Leased { slot, lease })
}

fn when() -> impl Strategy<Value = When> {
    prop::sample::select(&[When::Now, When::Staged, When::During][..])
}

fn again() -> impl Strategy<Value = Again> {
    any::<[bool; 2]>().prop_map(|[redelivered, partial]| Again { redelivered, partial })
}

fn attachment() -> impl Strategy<Value = &'static [u8]> {
    let longest = any::<u8>().prop_map(|byte| &*vec![byte; ATTACHMENT_BYTES].leak());
    prop_oneof![9 => short_bytes(), 1 => longest]
}

fn token() -> impl Strategy<Value = PublishToken> {
    any::<u64>().prop_map(PublishToken::from_wire)
}

fn channel() -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => text(".{1,40}"), 1 => Just(&*"n".repeat(1024).leak())]
}

fn close() -> impl Strategy<Value = (u16, &'static str)> {
    (prop_oneof![1000u16..=1003, 1007u16..=1014, 3000u16..=4999], text(".{0,30}"))
}

fn message() -> impl Strategy<Value = (MessageKind, &'static [u8])> {
    // The odd first byte lets pieces end within a character.
    let long = (33_000..100_000usize).prop_map(|count| &*format!("x{}", "ä".repeat(count)).leak());
    let texts = prop_oneof![20 => text(".{0,40}"), 1 => long];
    prop_oneof![
        texts.prop_map(|text| (MessageKind::Text, text.as_bytes())),
        bytes().prop_map(|bytes| (MessageKind::Binary, bytes)),
    ]
}

fn bytes() -> impl Strategy<Value = &'static [u8]> {
    let edges = prop::sample::select(&[65_527usize, 65_528, 65_529, 65_535, 65_536, 65_537][..]);
    let lengths = prop_oneof![edges, 65_538..200_000usize];
    // Varies over more than a piece, so that pieces in a wrong order are seen.
    let long = (any::<u8>(), lengths).prop_map(|(first, length)| {
        let byte = |at: usize| first.wrapping_add((at ^ at >> 8 ^ at >> 16) as u8);
        &*(0..length).map(byte).collect::<Vec<_>>().leak()
    });
    prop_oneof![20 => short_bytes(), 1 => long]
}

fn short_bytes() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..60).prop_map(|bytes| &*bytes.leak())
}

fn text(pattern: &'static str) -> impl Strategy<Value = &'static str> {
    pattern.prop_map(|text| &*text.leak())
}
