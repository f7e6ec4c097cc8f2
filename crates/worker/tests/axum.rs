//! An axum Router as the app: HTTP, and WebSockets by axum's extractor and by ours.

mod harness;

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Path, Query, Request, State, ws};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use futures_util::{SinkExt, StreamExt, stream};
use harness::{
    CONNECTION, Heard, Notes, REQUEST, Shared, Supervisor, UUID_TEXT, closed, commit, head, sent,
    text,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use shovel_protocol::control::{Effect, Headers, OfferedConnection, RequestHead};
use shovel_protocol::{MessageKind, ToSupervisor, ToWorker};
use shovel_worker::axum::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use shovel_worker::{App, Channels, ConnectionId, WorkerInfo};
use std::sync::Arc;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::trace::TraceLayer;

type Told = State<Arc<Shared>>;

/// Both extractors are given the same work.
const KINDS: [&str; 2] = ["/ours", "/theirs"];

fn shared() -> (Arc<Shared>, Heard) {
    let shared = Arc::new(Shared::default());
    let heard = shared.notes.listen();
    (shared, heard)
}

async fn start(router: Router) -> Supervisor {
    Supervisor::start(App::from(router)).await
}

/// An upgrade request as the supervisor passes it on: without what concerns one hop.
fn upgrade_request(target: &str) -> ToWorker<'_> {
    let offer = OfferedConnection { connection: CONNECTION.to_wire(), uuid: UUID };
    let headers = Headers(vec![
        ("host", b"example.org"),
        ("origin", b"http://example.org"),
        ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", b"13"),
        ("sec-websocket-protocol", b"v2, v1"),
        ("sec-websocket-extensions", b"permessage-deflate"),
    ]);
    let head = RequestHead { offer: Some(offer), headers, ..head("GET", target) };
    ToWorker::Request { request: REQUEST, head, end: true }
}

const UUID: [u8; 16] = [1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16];

/// Upgrades, and returns the subprotocol and the headers of the 101.
async fn upgrade(supervisor: &mut Supervisor, target: &str) -> (Option<String>, Vec<String>) {
    supervisor.send(&[upgrade_request(target)]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Upgrade { connection, upgrade, effects } = seen.read() else {
        panic!("no upgrade: {:?}", seen.read());
    };
    assert_eq!(connection, CONNECTION);
    assert_eq!(effects.map(Result::unwrap).collect::<Vec<Effect<'_>>>(), []);
    let name = |(name, _): &(&str, &[u8])| (*name).to_owned();
    (upgrade.protocol.map(str::to_owned), upgrade.headers.0.iter().map(name).collect())
}

/// The next close that the worker asks for.
async fn expect_close(supervisor: &mut Supervisor, code: u16, reason: &str) {
    let seen = supervisor.next().await;
    let ToSupervisor::Close { connection, code: found, reason: said } = seen.read() else {
        panic!("no close: {:?}", seen.read());
    };
    assert_eq!((connection, found.0, said), (CONNECTION, code, reason));
}

/// The message that is sent next, and commits of those before it.
async fn expect_sent(supervisor: &mut Supervisor, expected: &str) {
    loop {
        let seen = supervisor.next().await;
        match seen.read() {
            ToSupervisor::Commit { .. } => {}
            ToSupervisor::Send { kind: MessageKind::Text, data, .. } => {
                assert_eq!(data, expected.as_bytes());
                return;
            }
            other => panic!("no message: {other:?}"),
        }
    }
}

/// Reads until a message is committed.
async fn expect_commit(supervisor: &mut Supervisor, number: u64) {
    loop {
        if let ToSupervisor::Commit { seq, .. } = supervisor.next().await.read()
            && seq == number
        {
            return;
        }
    }
}

async fn echo_ours(mut socket: WebSocket, notes: &Notes) {
    notes.say(format!("protocol {:?}", socket.protocol()));
    while let Some(message) = socket.recv().await {
        match message {
            Ok(Message::Text(text)) if text == "close" => {
                let close = CloseFrame { code: 4002, reason: "as told".into() };
                socket.send(Message::Close(Some(close))).await.unwrap();
            }
            Ok(Message::Text(text)) if text == "leave" => return,
            Ok(Message::Close(frame)) => {
                notes.say(format!("close {:?}", frame.map(|frame| frame.code)));
            }
            // The client may have closed behind this message.
            Ok(message) => drop(socket.send(message).await),
            Err(_) => notes.say("lost"),
        }
    }
    notes.say("end");
}

/// The same, letter for letter, with axum's types.
async fn echo_theirs(mut socket: ws::WebSocket, notes: &Notes) {
    notes.say(format!("protocol {:?}", socket.protocol()));
    while let Some(message) = socket.recv().await {
        match message {
            Ok(ws::Message::Text(text)) if text == "close" => {
                let close = ws::CloseFrame { code: 4002, reason: "as told".into() };
                socket.send(ws::Message::Close(Some(close))).await.unwrap();
            }
            Ok(ws::Message::Text(text)) if text == "leave" => return,
            Ok(ws::Message::Close(frame)) => {
                notes.say(format!("close {:?}", frame.map(|frame| frame.code)));
            }
            // The client may have closed behind this message.
            Ok(message) => drop(socket.send(message).await),
            Err(_) => notes.say("lost"),
        }
    }
    notes.say("end");
}

async fn ours(upgrade: WebSocketUpgrade, State(told): Told) -> Response {
    let upgrade = upgrade.protocols(["v1", "v2"]);
    upgrade.on_upgrade(async move |socket| echo_ours(socket, &told.notes).await)
}

async fn theirs(upgrade: ws::WebSocketUpgrade, State(told): Told) -> Response {
    let upgrade = upgrade.protocols(["v1", "v2"]);
    upgrade.on_upgrade(async move |socket| echo_theirs(socket, &told.notes).await)
}

fn echoes(shared: Arc<Shared>) -> Router {
    Router::new().route("/ours", any(ours)).route("/theirs", any(theirs)).with_state(shared)
}

#[tokio::test]
async fn both_extractors_echo_text_and_binary_in_order() {
    for kind in KINDS {
        let (shared, mut heard) = shared();
        let mut supervisor = start(echoes(shared)).await;
        let (protocol, headers) = upgrade(&mut supervisor, kind).await;
        assert_eq!(protocol.as_deref(), Some("v1"), "{kind}");
        assert_eq!(headers, Vec::<String>::new(), "{kind}");
        assert_eq!(heard.next().await, "protocol Some(\"v1\")", "{kind}");
        let long = "x".repeat(200_000);
        supervisor.send(&[text(1, "one"), text(2, ""), text(3, &long)]).await;
        for expected in ["one", "", &long] {
            expect_sent(&mut supervisor, expected).await;
        }
        let (kind, data) = (MessageKind::Binary, &b"\x00\xff"[..]);
        supervisor.send(&[ToWorker::Message { connection: CONNECTION, seq: 4, kind, data }]).await;
        loop {
            match supervisor.next().await.read() {
                ToSupervisor::Commit { .. } => {}
                ToSupervisor::Send { kind, data, .. } => {
                    assert_eq!((kind, data), (MessageKind::Binary, &b"\x00\xff"[..]));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_client_s_close_is_received_with_its_code_and_committed_when_the_task_has_ended() {
    for kind in KINDS {
        let (shared, mut heard) = shared();
        let mut supervisor = start(echoes(shared)).await;
        upgrade(&mut supervisor, kind).await;
        heard.next().await;
        supervisor.send(&[text(1, "last"), closed(2, 4001)]).await;
        assert_eq!(heard.next().await, "close Some(4001)", "{kind}");
        assert_eq!(heard.next().await, "end", "{kind}");
        expect_commit(&mut supervisor, 2).await;
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_an_error_to_the_task() {
    for kind in KINDS {
        let (shared, mut heard) = shared();
        let mut supervisor = start(echoes(shared)).await;
        upgrade(&mut supervisor, kind).await;
        heard.next().await;
        supervisor.send(&[closed(1, 1006)]).await;
        assert_eq!(heard.next().await, "lost", "{kind}");
        assert_eq!(heard.next().await, "end", "{kind}");
        supervisor.expect(commit(1)).await;
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_close_by_the_task_has_its_code_and_reason() {
    for kind in KINDS {
        let (shared, mut heard) = shared();
        let mut supervisor = start(echoes(shared)).await;
        upgrade(&mut supervisor, kind).await;
        heard.next().await;
        supervisor.send(&[text(1, "close")]).await;
        // axum's is behind a pipe, so that its message is handled first.
        if kind == "/theirs" {
            supervisor.expect(commit(1)).await;
        }
        expect_close(&mut supervisor, 4002, "as told").await;
        if kind == "/ours" {
            supervisor.expect(commit(1)).await;
        }
        supervisor.send(&[closed(2, 4002)]).await;
        supervisor.expect(commit(2)).await;
        assert!(heard.next().await.starts_with("close"), "{kind}");
        assert_eq!(heard.next().await, "end", "{kind}");
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_task_that_ends_closes_its_connection() {
    for kind in KINDS {
        let (shared, mut heard) = shared();
        let mut supervisor = start(echoes(shared)).await;
        upgrade(&mut supervisor, kind).await;
        heard.next().await;
        supervisor.send(&[text(1, "leave")]).await;
        if kind == "/theirs" {
            supervisor.expect(commit(1)).await;
        }
        expect_close(&mut supervisor, 1000, "").await;
        if kind == "/ours" {
            supervisor.expect(commit(1)).await;
        }
        supervisor.send(&[closed(2, 1000)]).await;
        supervisor.expect(commit(2)).await;
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_task_that_panics_closes_its_connection_1011() {
    let router = Router::new().route(
        "/",
        any(async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |mut socket| {
                socket.recv().await;
                panic!("by intent");
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    supervisor.send(&[text(1, "go")]).await;
    expect_close(&mut supervisor, 1011, "").await;
    supervisor.expect(commit(1)).await;
    supervisor.send(&[closed(2, 1011)]).await;
    supervisor.expect(commit(2)).await;
    supervisor.shut_down().await;
}

/// The window of the supervisor holds the client back, for nothing is committed unhandled.
#[tokio::test]
async fn a_message_is_committed_only_when_the_next_one_is_asked_for() {
    let (shared, mut heard) = shared();
    let told = shared.clone();
    let router = Router::new().route(
        "/",
        any(async move |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket| {
                while let Some(Ok(message)) = socket.recv().await {
                    told.notes.say(message.to_text().unwrap());
                    told.go.notified().await;
                }
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    supervisor.send(&[text(1, "one"), text(2, "two")]).await;
    assert_eq!(heard.next().await, "one");
    supervisor.expect_nothing().await;
    shared.go.notify_one();
    supervisor.expect(commit(1)).await;
    assert_eq!(heard.next().await, "two");
    assert!(heard.nothing_more());
    supervisor.expect_nothing().await;
    shared.go.notify_one();
    supervisor.expect(commit(2)).await;
}

/// axum's extractor has the pipe's 64 KiB before it in addition.
#[tokio::test]
async fn messages_that_axum_s_task_does_not_read_are_held_back() {
    let (shared, _heard) = shared();
    let told = shared.clone();
    let router = Router::new().route(
        "/",
        any(async move |upgrade: ws::WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket| {
                told.go.notified().await;
                while let Some(Ok(message)) = socket.recv().await {
                    let length = message.into_data().len();
                    socket.send(length.to_string().into()).await.unwrap();
                }
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    let long = "x".repeat(100_000);
    supervisor.send(&[text(1, &long), text(2, "short")]).await;
    supervisor.expect_nothing().await;
    shared.go.notify_one();
    expect_sent(&mut supervisor, "100000").await;
    expect_sent(&mut supervisor, "5").await;
}

/// A17: what came before a close is handled before it, also by a task that is slow.
#[tokio::test]
async fn a_close_comes_after_the_messages_that_a_slow_task_has_not_read() {
    for kind in KINDS {
        let (shared, mut heard) = shared();
        let told = shared.clone();
        let slow_ours = async move |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket| {
                told.go.notified().await;
                while let Some(Ok(message)) = socket.recv().await {
                    told.notes.say(format!("{:?}", message.into_data()));
                }
            })
        };
        let told = shared.clone();
        let slow_theirs = async move |upgrade: ws::WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket| {
                told.go.notified().await;
                while let Some(Ok(message)) = socket.recv().await {
                    told.notes.say(format!("{:?}", message.into_data()));
                }
            })
        };
        let router =
            Router::new().route("/ours", any(slow_ours)).route("/theirs", any(slow_theirs));
        let mut supervisor = start(router).await;
        upgrade(&mut supervisor, kind).await;
        supervisor.send(&[text(1, "one"), text(2, "two"), text(3, "three"), closed(4, 1001)]).await;
        shared.go.notify_one();
        for expected in ["b\"one\"", "b\"two\"", "b\"three\"", "b\"bye\""] {
            assert_eq!(heard.next().await, expected, "{kind}");
        }
        expect_commit(&mut supervisor, 4).await;
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_split_socket_sends_while_it_receives_and_waits_for_a_slow_client() {
    let router = Router::new().route(
        "/",
        any(async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |socket| {
                let (to_client, from_client) = socket.split();
                from_client.forward(to_client).await.unwrap();
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    let pressure = |over| ToWorker::Pressure { connection: CONNECTION, over };
    supervisor.send(&[pressure(true), text(1, "one"), text(2, "two")]).await;
    supervisor.expect(ToSupervisor::Pressed { connection: CONNECTION }).await;
    supervisor.send(&[pressure(false)]).await;
    expect_sent(&mut supervisor, "one").await;
    expect_sent(&mut supervisor, "two").await;
    supervisor.send(&[closed(3, 1000)]).await;
    expect_commit(&mut supervisor, 3).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_message_over_the_route_s_limit_closes_1009() {
    let router = Router::new().route(
        "/",
        any(async |upgrade: WebSocketUpgrade| {
            upgrade.max_message_size(3).on_upgrade(async |mut socket| {
                assert_eq!(socket.recv().await.unwrap().unwrap(), Message::text("abc"));
                assert!(socket.recv().await.unwrap().is_err());
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    supervisor.send(&[text(1, "abc"), text(2, "abcd")]).await;
    supervisor.expect(commit(1)).await;
    expect_close(&mut supervisor, 1009, "message too big").await;
}

#[tokio::test]
async fn a_socket_s_connection_subscribes_and_publishes() {
    let router = Router::new().route(
        "/rooms/{room}",
        any(async |upgrade: WebSocketUpgrade, Path(room): Path<String>| {
            upgrade.on_upgrade(async move |mut socket| {
                socket.connection().subscribe(&room).unwrap();
                while let Some(Ok(Message::Text(text))) = socket.recv().await {
                    socket.connection().publish(&room, text).await.unwrap();
                }
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/rooms/attic").await;
    let channel = "attic";
    supervisor.expect(ToSupervisor::Subscribe { connection: Some(CONNECTION), channel }).await;
    supervisor.send(&[text(1, "hello")]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Publish { channel: "attic", data: b"hello", .. } = seen.read() else {
        panic!("{:?}", seen.read());
    };
    supervisor.expect(commit(1)).await;
}

/// A3.
#[tokio::test]
async fn a_refusal_by_middleware_reaches_the_client_and_fails_the_upgrade() {
    async fn refuse(request: Request, next: Next) -> Response {
        let _discarded = next.run(request).await;
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "who?").into_response()
    }
    let (shared, mut heard) = shared();
    let (told, also_told) = (shared.clone(), shared.clone());
    let ours = async move |upgrade: WebSocketUpgrade| {
        upgrade
            .on_failed_upgrade(move |_error| told.notes.say("failed"))
            .on_upgrade(async |_socket| panic!("it was refused"))
    };
    let theirs = async move |upgrade: ws::WebSocketUpgrade| {
        upgrade
            .on_failed_upgrade(move |_error| also_told.notes.say("failed"))
            .on_upgrade(async |_socket| panic!("it was refused"))
    };
    let router = Router::new().route("/ours", any(ours)).route("/theirs", any(theirs));
    let mut supervisor = start(router.layer(middleware::from_fn(refuse))).await;
    for kind in KINDS {
        supervisor.send(&[upgrade_request(kind)]).await;
        assert_eq!(supervisor.response().await, (401, b"who?".to_vec()), "{kind}");
        assert_eq!(heard.next().await, "failed", "{kind}");
    }
    supervisor.shut_down().await;
}

/// A6.
#[tokio::test]
async fn headers_that_middleware_adds_are_on_the_101() {
    for kind in KINDS {
        let (shared, _heard) = shared();
        let router = echoes(shared)
            .layer(CompressionLayer::new())
            .layer(CorsLayer::permissive())
            .layer(TraceLayer::new_for_http());
        let mut supervisor = start(router).await;
        let (_, headers) = upgrade(&mut supervisor, kind).await;
        assert!(headers.iter().any(|name| name == "access-control-allow-origin"), "{headers:?}");
        assert!(!headers.iter().any(|name| name.starts_with("sec-websocket")), "{headers:?}");
    }
}

/// A9.
#[tokio::test]
async fn a_client_that_leaves_in_mid_handshake_fails_the_upgrade() {
    async fn pause(State(told): Told, request: Request, next: Next) -> Response {
        let response = next.run(request).await;
        told.notes.say("upgraded");
        std::future::pending::<()>().await;
        response
    }
    for kind in KINDS {
        let (shared, mut heard) = shared();
        let (told, also_told) = (shared.clone(), shared.clone());
        let ours = async move |upgrade: WebSocketUpgrade| {
            upgrade
                .on_failed_upgrade(move |_error| told.notes.say("failed"))
                .on_upgrade(async |_socket| panic!("the client has left"))
        };
        let theirs = async move |upgrade: ws::WebSocketUpgrade| {
            upgrade
                .on_failed_upgrade(move |_error| also_told.notes.say("failed"))
                .on_upgrade(async |_socket| panic!("the client has left"))
        };
        let router = Router::new()
            .route("/ours", any(ours))
            .route("/theirs", any(theirs))
            .layer(middleware::from_fn_with_state(shared.clone(), pause));
        let mut supervisor = start(router).await;
        supervisor.send(&[upgrade_request(kind)]).await;
        assert_eq!(heard.next().await, "upgraded", "{kind}");
        supervisor.send(&[ToWorker::Cancel { request: REQUEST }]).await;
        assert_eq!(heard.next().await, "failed", "{kind}");
        supervisor.shut_down().await;
    }
}

/// A2.
#[tokio::test]
async fn an_ordinary_request_to_a_websocket_s_route_is_told_to_upgrade() {
    let router = Router::new().route("/", any(async |_upgrade: WebSocketUpgrade| StatusCode::OK));
    let mut supervisor = start(router).await;
    supervisor.get(REQUEST, "/").await;
    let (status, body) = supervisor.response().await;
    assert_eq!(status, 426);
    assert!(String::from_utf8(body).unwrap().contains("upgrade"));
    supervisor.shut_down().await;
}

/// A7.
#[tokio::test]
async fn a_subprotocol_that_is_not_offered_fails_the_upgrade() {
    let router = Router::new().route(
        "/",
        any(async |mut upgrade: WebSocketUpgrade| {
            let requested: Vec<_> = upgrade.requested_protocols().cloned().collect();
            assert_eq!(requested, ["v2", "v1"]);
            upgrade.set_selected_protocol(HeaderValue::from_static("v3"));
            upgrade.on_upgrade(async |_socket| panic!("it was refused"))
        }),
    );
    let mut supervisor = start(router).await;
    supervisor.send(&[upgrade_request("/")]).await;
    assert_eq!(supervisor.response().await.0, 500);
    supervisor.shut_down().await;
}

/// Extractors are told what the supervisor told of the request.
#[tokio::test]
async fn state_nested_routes_extractors_and_the_fallback_work_as_ever() {
    #[derive(Clone)]
    struct Greeting(&'static str);

    #[expect(clippy::too_many_arguments, reason = "to see them all at once")]
    async fn greet(
        State(Greeting(greeting)): State<Greeting>,
        Path(name): Path<String>,
        Query(query): Query<Vec<(String, String)>>,
        ConnectInfo(client): ConnectInfo<SocketAddr>,
        Extension(worker): Extension<WorkerInfo>,
        path: MatchedPath,
        headers: HeaderMap,
        connection: Option<Extension<ConnectionId>>,
        _channels: Extension<Channels>,
    ) -> Json<Vec<String>> {
        Json(vec![
            format!("{greeting} {name}"),
            format!("{query:?}"),
            client.to_string(),
            worker.index.to_string(),
            path.as_str().to_owned(),
            headers[header::HOST].to_str().unwrap().to_owned(),
            connection.map(|Extension(id)| id.to_string()).unwrap_or_default(),
        ])
    }
    let api = Router::new().route("/greet/{name}", get(greet)).with_state(Greeting("hello"));
    let router = Router::new()
        .nest("/api", api)
        .fallback(async |request: Request| (StatusCode::NOT_FOUND, request.uri().to_string()));
    let mut supervisor = start(router).await;
    supervisor.get(REQUEST, "/api/greet/world?a=1").await;
    let (status, body) = supervisor.response().await;
    assert_eq!(status, 200);
    let told = r#"["hello world","[(\"a\", \"1\")]","192.0.2.1:4321","2","/api/greet/{name}","#;
    assert_eq!(String::from_utf8(body).unwrap(), format!(r#"{told}"example.org",""]"#));
    supervisor.send(&[upgrade_request("/api/greet/world?a=1")]).await;
    let (_, body) = supervisor.response().await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(body, format!(r#"{told}"example.org","{UUID_TEXT}"]"#));
    supervisor.get(REQUEST, "/nowhere").await;
    assert_eq!(supervisor.response().await, (404, b"/nowhere".to_vec()));
    supervisor.shut_down().await;
}

#[tokio::test]
async fn tower_http_s_layers_trace_compress_and_allow_origins() {
    let router = Router::new()
        .route("/", get(async || "compress me ".repeat(1000)))
        .layer(CompressionLayer::new())
        .layer(CorsLayer::permissive())
        .layer(TraceLayer::new_for_http());
    let mut supervisor = start(router).await;
    let headers: [(&str, &[u8]); 2] = [("accept-encoding", b"gzip"), ("origin", b"http://a.test")];
    let head = RequestHead { headers: Headers(headers.into()), ..head("GET", "/") };
    supervisor.send(&[ToWorker::Request { request: REQUEST, head, end: true }]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Response { head, end: false, .. } = seen.read() else {
        panic!("{:?}", seen.read());
    };
    assert_eq!(head.status, 200);
    let value = |name| head.headers.0.iter().find(|(found, _)| *found == name).map(|found| found.1);
    assert_eq!(value("content-encoding"), Some(&b"gzip"[..]));
    assert_eq!(value("access-control-allow-origin"), Some(&b"*"[..]));
    let mut length = 0;
    loop {
        let seen = supervisor.next().await;
        let ToSupervisor::ResponseBody { data, end, .. } = seen.read() else {
            panic!("{:?}", seen.read());
        };
        length += data.len();
        if end {
            break;
        }
    }
    assert!((1..1000).contains(&length), "{length}");
    supervisor.shut_down().await;
}

/// D30: an event is sent before the next one is made.
#[tokio::test]
async fn server_sent_events_stream() {
    let (shared, _heard) = shared();
    let told = shared.clone();
    let router = Router::new().route(
        "/",
        get(async move || {
            Sse::new(stream::unfold((0, told), async |(number, told)| {
                if number > 0 {
                    told.go.notified().await;
                }
                let event = Event::default().data(number.to_string());
                (number < 2).then_some((Ok::<_, Infallible>(event), (number + 1, told)))
            }))
        }),
    );
    let mut supervisor = start(router).await;
    supervisor.get(REQUEST, "/").await;
    let seen = supervisor.next().await;
    assert!(matches!(seen.read(), ToSupervisor::Response { end: false, .. }));
    for expected in ["data: 0\n\n", "data: 1\n\n"] {
        let seen = supervisor.next().await;
        let ToSupervisor::ResponseBody { data, end: false, .. } = seen.read() else {
            panic!("{:?}", seen.read());
        };
        assert_eq!(data, expected.as_bytes());
        supervisor.expect_nothing().await;
        shared.go.notify_one();
    }
    let seen = supervisor.next().await;
    assert!(matches!(seen.read(), ToSupervisor::ResponseBody { data: b"", end: true, .. }));
    supervisor.shut_down().await;
}

/// D30: a chunk is answered before the next one is sent.
#[tokio::test]
async fn an_upload_streams_in_and_back_out() {
    let router = Router::new().route("/", post(async |body: Body| Body::new(body)));
    let mut supervisor = start(router).await;
    let head = head("POST", "/");
    supervisor.send(&[ToWorker::Request { request: REQUEST, head, end: false }]).await;
    let seen = supervisor.next().await;
    assert!(matches!(seen.read(), ToSupervisor::Response { end: false, .. }));
    for data in [&b"first"[..], b"second"] {
        let chunk = ToWorker::RequestBody { request: REQUEST, data, end: false };
        supervisor.send(&[chunk]).await;
        loop {
            match supervisor.next().await.read() {
                ToSupervisor::Credit { .. } => {}
                other => {
                    let back = ToSupervisor::ResponseBody { request: REQUEST, data, end: false };
                    assert_eq!(other, back);
                    break;
                }
            }
        }
    }
    let end = ToWorker::RequestBody { request: REQUEST, data: b"", end: true };
    supervisor.send(&[end]).await;
    let seen = supervisor.next().await;
    assert!(matches!(seen.read(), ToSupervisor::ResponseBody { end: true, .. }));
    supervisor.shut_down().await;
}

/// Only the message's own handle keeps it from being committed, not a clone of the connection.
#[tokio::test]
async fn a_connection_taken_from_its_socket_may_still_send_until_it_is_closed() {
    let (shared, _heard) = shared();
    let told = shared.clone();
    let router = Router::new().route(
        "/",
        any(async move |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket| {
                let connection = socket.connection().clone();
                socket.recv().await;
                socket.send("by the socket".into()).await.unwrap();
                connection.send("by the connection").await.unwrap();
                SinkExt::close(&mut socket).await.unwrap();
                assert!(connection.try_send("too late").is_err());
                told.go.notified().await;
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    supervisor.send(&[text(1, "go")]).await;
    supervisor.expect(sent("by the socket", false)).await;
    supervisor.expect(sent("by the connection", false)).await;
    expect_close(&mut supervisor, 1000, "").await;
    shared.go.notify_one();
    supervisor.expect(commit(1)).await;
}
