//! One frame of each kind, and of each shape that a kind can have: the byte fixtures of a version
//! and the examples of `docs/wire.md` are these.

use shovel_protocol::control::{
    self, AdoptCause, AdoptHead, AskFields, Effect, Headers, Names, OfferedConnection,
    OutboxFields, RequestHead, ResponseHead, UpgradeHead, Welcome,
};
use shovel_protocol::handshake::{Capabilities, Greeting};
use shovel_protocol::id::Leased;
use shovel_protocol::to_supervisor::{Effects, put_effect};
use shovel_protocol::to_worker::RequestBytes;
use shovel_protocol::{
    Act, Again, Close, CloseCode, LeaseId, MessageKind, OutboxQuestion, PublishToken, RequestId,
    SlowConsumer, ToSupervisor, ToWorker, When, WsMessage,
};

const GREETING: Greeting = Greeting { version: 1, oldest: 1, capabilities: Capabilities(0) };
const ADOPTER: Greeting = Greeting { capabilities: Capabilities::ADOPT, ..GREETING };
const REQUEST: RequestId = RequestId(Leased { slot: 5, lease: 2 });
const CONNECTION: LeaseId = LeaseId(Leased { slot: 7, lease: 1 });
/// [`CONNECTION`] in its second tenure.
const AGAIN: LeaseId = LeaseId(Leased { slot: 7, lease: 2 });
const TOKEN: PublishToken = PublishToken { publisher: 3, question: 9 };
const UUID: [u8; 16] = [1, 0x94, 0xd4, 0x6e, 0x10, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x2a];

/// Frames to a worker, each with its name.
pub(crate) fn to_worker() -> Vec<(&'static str, ToWorker<'static>)> {
    use ToWorker::*;
    let (request, token) = (REQUEST, TOKEN);
    let published = control::Published { delivered: 300, dropped: 2, closed: 1 };
    let text = MessageKind::Text;
    let mut frames = vec![
        ("to worker: hello", Hello(ADOPTER, welcome())),
        ("to worker: http:request", Request { request, head: get(None), end: true }),
        ("to worker: http:request, an upgrade", Request { request, head: upgrade(), end: true }),
        ("to worker: http:body", RequestBody { request, data: b"hello", end: false }),
        ("to worker: http:body, the last", RequestBody { request, data: b"", end: true }),
        ("to worker: http:end", RequestEnd { request, trailers: Headers(vec![("x-sum", b"17")]) }),
        ("to worker: http:cancel", Cancel { request }),
    ];
    frames.extend(about_a_connection());
    frames.extend([
        (
            "to worker: channel:message",
            ChannelMessage { token, channel: "news", kind: text, data: b"hello" },
        ),
        ("to worker: channel:published", Published { token, published }),
        ("to worker: credit", Credit { request, bytes: 131_072 }),
        ("to worker: ping", Ping { nonce: 0x0102_0304_0506_0708 }),
        ("to worker: shutdown", Shutdown),
        ("to worker: channel:refused", ChannelRefused { channel: "news" }),
    ]);
    frames
}

fn about_a_connection() -> [(&'static str, ToWorker<'static>); 13] {
    use ToWorker::*;
    let connection = CONNECTION;
    let (text, binary) = (MessageKind::Text, MessageKind::Binary);
    let (first, again) = (Again::default(), Again { redelivered: true, partial: false });
    let partial = Again { redelivered: true, partial: true };
    let closed = || Close { code: CloseCode(1000), reason: "bye".to_owned(), was_clean: true };
    let outbox = |bytes| Outbox { connection, outbox: OutboxFields { token: 9, bytes } };
    let gone = Close {
        code: CloseCode::INTERNAL_ERROR,
        reason: "upgrade arrived after request timeout".to_owned(),
        was_clean: false,
    };
    [
        (
            "to worker: ws:message",
            Message(WsMessage { connection, seq: 1, again: first, kind: text, data: b"hello" }),
        ),
        (
            "to worker: ws:message, binary",
            Message(WsMessage { connection, seq: 2, again: first, kind: binary, data: &[0, 255] }),
        ),
        (
            "to worker: ws:message, again",
            Message(WsMessage {
                connection: AGAIN,
                seq: 5,
                again: partial,
                kind: text,
                data: b"five",
            }),
        ),
        ("to worker: ws:close", Closed { connection, seq: 3, again: first, close: closed() }),
        (
            "to worker: ws:close, again",
            Closed { connection: AGAIN, seq: 6, again, close: closed() },
        ),
        ("to worker: ws:gone", Gone { connection, close: gone }),
        ("to worker: ws:pressure", Pressure { connection, over: true }),
        ("to worker: ws:outbox", outbox(Some(1024))),
        ("to worker: ws:outbox, of a client that is gone", outbox(None)),
        ("to worker: ws:release", Release { connection }),
        ("to worker: ws:revoke", Revoke { connection }),
        (
            "to worker: ws:adopt",
            Adopt { connection: AGAIN, adopt: adopt(), request: adopted_request() },
        ),
        (
            "to worker: ws:adopt, with everything",
            Adopt { connection: AGAIN, adopt: adopt_everything(), request: adopted_request() },
        ),
    ]
}

/// Frames to the supervisor, each with its name.
pub(crate) fn to_supervisor() -> Vec<(&'static str, ToSupervisor<'static>)> {
    use ToSupervisor::*;
    let request = REQUEST;
    let head =
        ResponseHead { status: 200, headers: Headers(vec![("content-type", b"text/plain")]) };
    let mut frames = vec![
        ("to supervisor: ready", Ready(GREETING)),
        ("to supervisor: ready, of a worker that adopts", Ready(ADOPTER)),
        ("to supervisor: http:response", Response { request, head, end: false }),
        (
            "to supervisor: http:body, the last",
            ResponseBody { request, data: b"Hello, world!", end: true },
        ),
        (
            "to supervisor: http:end",
            ResponseEnd { request, trailers: Headers(vec![("x-sum", b"17")]) },
        ),
        ("to supervisor: http:abort", Abort { request }),
    ];
    frames.extend(of_a_connection());
    frames.extend(of_its_outbox());
    frames.extend(of_its_transfer());
    frames.extend(of_channels());
    frames.extend([
        ("to supervisor: credit", Credit { request, bytes: 131_072 }),
        ("to supervisor: pong", Pong { nonce: 0x0102_0304_0506_0708 }),
        ("to supervisor: shutdown-complete", ShutdownComplete),
    ]);
    frames
}

fn of_a_connection() -> [(&'static str, ToSupervisor<'static>); 13] {
    use ToSupervisor::*;
    use When::{During, Now, Staged};
    let connection = CONNECTION;
    let (upgrade, none) = (accept(None), Effects::new(&[]));
    let mut policy = Vec::new();
    put_effect(&mut policy, &Effect::SlowConsumer { policy: Some(SlowConsumer::DropNewest) });
    let policy = Effects::new(policy.leak());
    let chat = accept(Some("chat"));
    let hello = Effect::Send { binary: false, data: b"hello" };
    let send = |when, last| act(when, hello.clone(), last);
    let binary = Effect::Send { binary: true, data: &[0, 255] };
    let close = |when| act(when, Effect::Close { code: 4001, reason: "bye" }, false);
    [
        (
            "to supervisor: ws:upgrade",
            Upgrade { connection, upgrade: upgrade.clone(), portable: false, effects: none },
        ),
        (
            "to supervisor: ws:upgrade, of a portable connection",
            Upgrade { connection, upgrade: upgrade.clone(), portable: true, effects: none },
        ),
        (
            "to supervisor: ws:upgrade, with a policy for slow consumers",
            Upgrade { connection, upgrade, portable: false, effects: policy },
        ),
        (
            "to supervisor: ws:upgrade, with everything",
            Upgrade { connection, upgrade: chat, portable: true, effects: every_effect() },
        ),
        ("to supervisor: ws:send", send(Now, false)),
        ("to supervisor: ws:send, the last of its handler", act(Now, binary, true)),
        ("to supervisor: ws:send, staged", send(Staged, false)),
        ("to supervisor: ws:send, staged and the last of its handler", send(Staged, true)),
        ("to supervisor: ws:send, during its handler", send(During, false)),
        ("to supervisor: ws:close", close(Now)),
        ("to supervisor: ws:close, staged", close(Staged)),
        ("to supervisor: ws:commit", Commit { connection, seq: 1 }),
        ("to supervisor: ws:pressed", Pressed { connection }),
    ]
}

fn of_its_outbox() -> [(&'static str, ToSupervisor<'static>); 5] {
    let connection = CONNECTION;
    let slow_consumer = |when, policy| act(when, Effect::SlowConsumer { policy }, false);
    let ask = |question| ToSupervisor::Ask { connection, ask: AskFields { token: 9, question } };
    let drop_oldest = Some(SlowConsumer::DropOldest);
    [
        ("to supervisor: ws:slow-consumer", slow_consumer(When::Now, drop_oldest)),
        ("to supervisor: ws:slow-consumer, staged", slow_consumer(When::Staged, drop_oldest)),
        ("to supervisor: ws:slow-consumer, the pool's", slow_consumer(When::Now, None)),
        ("to supervisor: ws:ask, how many bytes", ask(OutboxQuestion::Bytes)),
        ("to supervisor: ws:ask, when it is empty", ask(OutboxQuestion::Empty)),
    ]
}

fn of_its_transfer() -> [(&'static str, ToSupervisor<'static>); 6] {
    use ToSupervisor::*;
    let connection = CONNECTION;
    let attached = Effect::Attach { version: 1, data: b"4" };
    let attach = |when| act(when, attached.clone(), false);
    [
        ("to supervisor: ws:attach", attach(When::Now)),
        ("to supervisor: ws:attach, staged", attach(When::Staged)),
        ("to supervisor: ws:released", Released { connection, handled: 4, started: 4 }),
        (
            "to supervisor: ws:released, a handler cut short",
            Released { connection, handled: 4, started: 5 },
        ),
        ("to supervisor: ws:adopted", Adopted { connection: AGAIN, taken: true }),
        ("to supervisor: ws:adopted, refused", Adopted { connection: AGAIN, taken: false }),
    ]
}

fn of_channels() -> [(&'static str, ToSupervisor<'static>); 8] {
    use ToSupervisor::*;
    use When::{During, Now, Staged};
    let channel = "news";
    let subscribe = |when| act(when, Effect::Subscribe { channel }, false);
    let unsubscribe = |when| act(when, Effect::Unsubscribe { channel }, false);
    let (token, binary, data) = (PublishToken::NONE.to_wire(), false, &b"hello"[..]);
    let publish = |when| act(when, Effect::Publish { token, channel, binary, data }, false);
    [
        ("to supervisor: channel:subscribe", subscribe(Now)),
        ("to supervisor: channel:subscribe, staged", subscribe(Staged)),
        ("to supervisor: channel:subscribe, the worker itself", Subscribe { channel }),
        ("to supervisor: channel:unsubscribe", unsubscribe(Now)),
        ("to supervisor: channel:unsubscribe, staged", unsubscribe(Staged)),
        (
            "to supervisor: channel:publish",
            Publish { token: TOKEN, channel, kind: MessageKind::Text, data },
        ),
        ("to supervisor: channel:publish, staged", publish(Staged)),
        ("to supervisor: channel:publish, during its handler", publish(During)),
    ]
}

fn act(when: When, effect: Effect<'static>, last: bool) -> ToSupervisor<'static> {
    Act { last, ..Act::new(CONNECTION, when, effect) }.into()
}

/// All examples with the bytes that this version writes.
pub(crate) fn encoded() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    for (name, frame) in to_worker() {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        all.push((name, bytes));
    }
    for (name, frame) in to_supervisor() {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        all.push((name, bytes));
    }
    all
}

/// Reads a line of hexadecimal bytes. What follows a `;` is for people.
pub(crate) fn hex_line(line: &str) -> Vec<u8> {
    let bytes = line.split(';').next().unwrap_or_default().split_whitespace();
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("not bytes: {line}")))
        .collect()
}

/// Bytes as [`hex_line`] reads them, sixteen on a line: the header is the first.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    bytes.chunks(16).map(|bytes| line(bytes).join(" ") + "\n").collect()
}

fn welcome() -> Welcome {
    Welcome {
        worker: 17,
        index: 2,
        generation: 3,
        link: 0,
        links: 1,
        max_message_bytes: 16 * 1024 * 1024,
        body_window_bytes: 256 * 1024,
        dev: false,
    }
}

fn get(offer: Option<OfferedConnection>) -> RequestHead<'static> {
    RequestHead {
        method: "GET",
        target: "/hello",
        version: 11,
        headers: Headers(vec![("host", b"a.example")]),
        client: "192.0.2.1:5000",
        offer,
    }
}

fn upgrade() -> RequestHead<'static> {
    let offer = OfferedConnection { connection: CONNECTION.to_wire(), uuid: UUID };
    RequestHead { target: "/ws/echo", ..get(Some(offer)) }
}

fn adopt() -> AdoptHead<'static> {
    AdoptHead {
        cause: AdoptCause::Reload,
        uuid: UUID,
        protocol: None,
        committed: 4,
        pressed: false,
        version: 1,
        attachment: b"4",
        channels: Names(vec!["news"]),
    }
}

fn adopt_everything() -> AdoptHead<'static> {
    let (cause, protocol) = (AdoptCause::Rebalance, Some("chat"));
    let channels = Names(vec!["news", "old"]);
    AdoptHead { cause, protocol, pressed: true, channels, ..adopt() }
}

fn adopted_request() -> RequestBytes<'static> {
    let head = RequestHead { target: "/ws/echo", ..get(None) };
    RequestBytes(Box::leak(control::request_head_bytes(&head)))
}

fn accept(protocol: Option<&'static str>) -> UpgradeHead<'static> {
    let cookies: Vec<(&str, &[u8])> = match protocol {
        Some(_) => vec![("set-cookie", b"a=1"), ("set-cookie", b"b=2")],
        None => Vec::new(),
    };
    UpgradeHead { request: REQUEST.to_wire(), protocol, headers: Headers(cookies) }
}

fn every_effect() -> Effects<'static> {
    let effects = [
        Effect::Send { binary: false, data: b"hi" },
        Effect::Subscribe { channel: "news" },
        Effect::Unsubscribe { channel: "old" },
        Effect::Publish { token: TOKEN.to_wire(), channel: "news", binary: true, data: &[7] },
        Effect::Attach { version: 1, data: b"0" },
        Effect::Close { code: 1000, reason: "bye" },
    ];
    let mut bytes = Vec::new();
    effects.iter().for_each(|effect| put_effect(&mut bytes, effect));
    Effects::new(bytes.leak())
}
