//! One frame of each kind, and of each shape that a kind can have: the byte fixtures of a version
//! and the examples of `docs/wire.md` are these.

use shovel_protocol::control::{
    self, Effect, Headers, OfferedConnection, RequestHead, ResponseHead, UpgradeHead, Welcome,
};
use shovel_protocol::handshake::{Capabilities, Greeting};
use shovel_protocol::id::Leased;
use shovel_protocol::to_supervisor::{Effects, put_effect};
use shovel_protocol::{
    Close, CloseCode, ConnectionId, MessageKind, PublishToken, RequestId, ToSupervisor, ToWorker,
};

const GREETING: Greeting = Greeting { version: 1, oldest: 1, capabilities: Capabilities(0) };
const REQUEST: RequestId = RequestId(Leased { slot: 5, lease: 2 });
const CONNECTION: ConnectionId = ConnectionId(Leased { slot: 7, lease: 1 });
const TOKEN: PublishToken = PublishToken { publisher: 3, question: 9 };
const UUID: [u8; 16] = [1, 0x94, 0xd4, 0x6e, 0x10, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x2a];

/// Frames to a worker, each with its name.
pub(crate) fn to_worker() -> Vec<(&'static str, ToWorker<'static>)> {
    use ToWorker::*;
    let (request, connection, token) = (REQUEST, CONNECTION, TOKEN);
    let closed = Close { code: CloseCode(1000), reason: "bye".to_owned(), was_clean: true };
    let gone = Close {
        code: CloseCode::INTERNAL_ERROR,
        reason: "upgrade arrived after request timeout".to_owned(),
        was_clean: false,
    };
    let published = control::Published { delivered: 300, dropped: 2, closed: 1 };
    let (text, binary) = (MessageKind::Text, MessageKind::Binary);
    vec![
        ("to worker: hello", Hello(GREETING, welcome())),
        ("to worker: http:request", Request { request, head: get(None), end: true }),
        ("to worker: http:request, an upgrade", Request { request, head: upgrade(), end: true }),
        ("to worker: http:body", RequestBody { request, data: b"hello", end: false }),
        ("to worker: http:body, the last", RequestBody { request, data: b"", end: true }),
        ("to worker: http:end", RequestEnd { request, trailers: Headers(vec![("x-sum", b"17")]) }),
        ("to worker: http:cancel", Cancel { request }),
        ("to worker: ws:message", Message { connection, seq: 1, kind: text, data: b"hello" }),
        (
            "to worker: ws:message, binary",
            Message { connection, seq: 2, kind: binary, data: &[0, 255] },
        ),
        ("to worker: ws:close", Closed { connection, seq: 3, close: closed }),
        ("to worker: ws:gone", Gone { connection, close: gone }),
        ("to worker: ws:pressure", Pressure { connection, over: true }),
        (
            "to worker: channel:message",
            ChannelMessage { token, channel: "news", kind: text, data: b"hello" },
        ),
        ("to worker: channel:published", Published { token, published }),
        ("to worker: credit", Credit { request, bytes: 131_072 }),
        ("to worker: ping", Ping { nonce: 0x0102_0304_0506_0708 }),
        ("to worker: shutdown", Shutdown),
    ]
}

/// Frames to the supervisor, each with its name.
pub(crate) fn to_supervisor() -> Vec<(&'static str, ToSupervisor<'static>)> {
    use ToSupervisor::*;
    let (request, connection, token) = (REQUEST, CONNECTION, TOKEN);
    let (text, binary) = (MessageKind::Text, MessageKind::Binary);
    let head =
        ResponseHead { status: 200, headers: Headers(vec![("content-type", b"text/plain")]) };
    let close = ToSupervisor::Close { connection, code: CloseCode(4001), reason: "bye" };
    vec![
        ("to supervisor: ready", Ready(GREETING)),
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
        (
            "to supervisor: ws:upgrade",
            Upgrade { connection, upgrade: accept(None), effects: Effects::new(&[]) },
        ),
        (
            "to supervisor: ws:upgrade, with everything",
            Upgrade { connection, upgrade: accept(Some("chat")), effects: every_effect() },
        ),
        ("to supervisor: ws:send", Send { connection, kind: text, data: b"hello", last: false }),
        (
            "to supervisor: ws:send, the last of its handler",
            Send { connection, kind: binary, data: &[0, 255], last: true },
        ),
        ("to supervisor: ws:close", close),
        ("to supervisor: ws:commit", Commit { connection, seq: 1 }),
        ("to supervisor: ws:pressed", Pressed { connection }),
        (
            "to supervisor: channel:subscribe",
            Subscribe { connection: Some(connection), channel: "news" },
        ),
        (
            "to supervisor: channel:subscribe, the worker itself",
            Subscribe { connection: None, channel: "news" },
        ),
        (
            "to supervisor: channel:unsubscribe",
            Unsubscribe { connection: Some(connection), channel: "news" },
        ),
        (
            "to supervisor: channel:publish",
            Publish { token, channel: "news", kind: text, data: b"hello" },
        ),
        ("to supervisor: credit", Credit { request, bytes: 131_072 }),
        ("to supervisor: pong", Pong { nonce: 0x0102_0304_0506_0708 }),
        ("to supervisor: shutdown-complete", ShutdownComplete),
    ]
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
        Effect::Close { code: 1000, reason: "bye" },
    ];
    let mut bytes = Vec::new();
    effects.iter().for_each(|effect| put_effect(&mut bytes, effect));
    Effects::new(bytes.leak())
}
