//! Connections of a Router that outlive their worker.

use std::net::SocketAddr;

use axum::extract::{self, ConnectInfo, Path, Query, Request};
use axum::http::{Extensions, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::any};
use serde::{Deserialize, Serialize};
use shovel_protocol::control::{AdoptCause, AdoptHead, Effect, Names, request_head_bytes};
use shovel_protocol::id::Leased;
use shovel_protocol::to_worker::RequestBytes;
use shovel_protocol::{
    Act, Again, Close, CloseCode, LeaseId, MessageKind, ToSupervisor, ToWorker, When, WsMessage,
    WsSend,
};
use shovel_worker::axum::{Adopted, Connection, Message, WebSocketUpgrade};
use shovel_worker::{Attachment, AttachmentError, SendError};

use crate::harness::{CONNECTION, Heard, State, Supervisor, UUID_TEXT, commit, head, text};
use crate::{start, upgrade_request};

/// The second tenure of [`CONNECTION`].
const SECOND: LeaseId = LeaseId(Leased { slot: 5, lease: 7 });

/// What the route keeps. Version 1 was a number alone.
#[derive(Default, Serialize, Deserialize)]
struct Count {
    n: u64,
}

impl Attachment for Count {
    const VERSION: u32 = 2;

    fn migrate(version: u32, data: &[u8]) -> Result<Self, AttachmentError> {
        let 1 = version else { return Err(AttachmentError::Version(version)) };
        Ok(Count { n: serde_json::from_slice(data).map_err(AttachmentError::read)? })
    }
}

#[derive(Deserialize)]
struct From {
    from: Option<u64>,
}

/// Says so when its task has ended, however that was.
struct Told(State);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notes.say("dropped");
    }
}

fn routes() -> (Router, State, Heard) {
    let state = State::default();
    let heard = state.notes.listen();
    let router = Router::new()
        .route("/count/{name}", any(count))
        .route("/plain/{name}", any(plain))
        .layer(middleware::from_fn_with_state(state.clone(), gate))
        .with_state(state.clone());
    (router, state, heard)
}

/// Runs before each route, and lets nobody in who is called mallory.
async fn gate(
    extract::State(state): extract::State<State>,
    request: Request,
    next: Next,
) -> Response {
    state.notes.say(format!("gate {}", request.uri()));
    match request.uri().path().ends_with("mallory") {
        true => StatusCode::FORBIDDEN.into_response(),
        false => next.run(request).await,
    }
}

async fn count(
    upgrade: WebSocketUpgrade,
    Path(name): Path<String>,
    Query(From { from }): Query<From>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    extract::State(state): extract::State<State>,
    extensions: Extensions,
) -> Response {
    let cause = extensions.get::<Adopted>().map(|adopted| adopted.cause);
    state.notes.say(format!("{name} from {client}, {cause:?}"));
    let upgrade = upgrade.protocols(["v1"]);
    let run = async move |conn| say(conn, name, state).await;
    match from {
        Some(n) => upgrade.portable_from(Count { n }, run),
        None => upgrade.portable(run),
    }
}

async fn say(mut conn: Connection<Count>, name: String, state: State) {
    let _told = Told(state.clone());
    while let Some(Ok(Message::Text(text))) = conn.recv().await {
        conn.state.n += 1;
        if conn.redelivered() {
            state.notes.say(format!("{} again, partial {}", conn.seq(), conn.partial()));
        }
        let answer = format!("{name} {}", conn.state.n);
        if conn.send(answer.into()).await.is_err() || text == "leave" {
            return;
        }
        assert!(text != "panic", "by intent");
        if text == "wait" {
            state.notes.say("waits");
            state.go.notified().await;
        }
    }
}

/// What a portable route may have become with a deploy.
async fn plain(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |_socket| panic!("it was refused"))
}

/// Opens `/count/ann`; returns what is attached at once.
async fn open(supervisor: &mut Supervisor, heard: &mut Heard, target: &str) -> String {
    supervisor.send(&[upgrade_request(target)]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Upgrade { portable: true, effects, .. } = seen.read() else {
        panic!("no upgrade of a portable connection: {:?}", seen.read());
    };
    let effects: Vec<_> = effects.map(Result::unwrap).collect();
    let [Effect::Attach { version: 2, data }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(heard.next().await, format!("gate {target}"));
    assert_eq!(heard.next().await, "ann from 192.0.2.1:4321, None");
    String::from_utf8(data.to_vec()).unwrap()
}

async fn adopt(supervisor: &mut Supervisor, target: &str, version: u32, attachment: &str) {
    let request = request_head_bytes(&head("GET", target));
    let adopt = AdoptHead {
        cause: AdoptCause::Reload,
        uuid: uuid::Uuid::parse_str(UUID_TEXT).unwrap().into_bytes(),
        protocol: Some("v1"),
        committed: 4,
        pressed: false,
        version,
        attachment: attachment.as_bytes(),
        channels: Names(vec![]),
    };
    let request = RequestBytes(&request);
    supervisor.send(&[ToWorker::Adopt { connection: SECOND, adopt, request }]).await;
}

fn message_again(seq: u64, again: Again, text: &str) -> ToWorker<'_> {
    let (kind, data) = (MessageKind::Text, text.as_bytes());
    ToWorker::Message(WsMessage { connection: SECOND, seq, again, kind, data })
}

async fn expect_attached(supervisor: &mut Supervisor, connection: LeaseId, n: u64) {
    let data = format!("{{\"n\":{n}}}");
    let attach = Effect::Attach { version: 2, data: data.as_bytes() };
    supervisor.expect(Act::new(connection, When::Staged, attach).into()).await;
}

async fn expect_answer(supervisor: &mut Supervisor, connection: LeaseId, n: u64, last: bool) {
    let data = format!("ann {n}");
    let (when, kind, data) = (When::Staged, MessageKind::Text, data.as_bytes());
    supervisor.expect(WsSend { connection, when, kind, data, last }.into()).await;
}

async fn expect_released(supervisor: &mut Supervisor, handled: u64, started: u64) {
    let connection = CONNECTION;
    supervisor.expect(ToSupervisor::Released { connection, handled, started }).await;
}

#[tokio::test]
async fn the_state_is_attached_when_accepted_and_with_each_message_s_answer() {
    let (router, _state, mut heard) = routes();
    let mut supervisor = start(router).await;
    assert_eq!(open(&mut supervisor, &mut heard, "/count/ann").await, "{\"n\":0}");
    supervisor.send(&[text(1, "one"), text(2, "two")]).await;
    for n in [1, 2] {
        expect_attached(&mut supervisor, CONNECTION, n).await;
        expect_answer(&mut supervisor, CONNECTION, n, true).await;
    }
    supervisor.expect_nothing().await;
}

#[tokio::test]
async fn another_state_to_begin_with_is_attached_instead() {
    let (router, _state, mut heard) = routes();
    let mut supervisor = start(router).await;
    let attached = open(&mut supervisor, &mut heard, "/count/ann?from=7").await;
    assert_eq!(attached, "{\"n\":7}");
}

#[tokio::test]
async fn nothing_of_a_message_is_seen_before_the_next_is_asked_for() {
    let (router, state, mut heard) = routes();
    let mut supervisor = start(router).await;
    open(&mut supervisor, &mut heard, "/count/ann").await;
    supervisor.send(&[text(1, "wait")]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.expect_nothing().await;
    state.go.notify_one();
    expect_attached(&mut supervisor, CONNECTION, 1).await;
    expect_answer(&mut supervisor, CONNECTION, 1, true).await;
}

#[tokio::test]
async fn a_release_drops_the_task_where_it_waits_and_closes_nothing() {
    let (router, state, mut heard) = routes();
    let mut supervisor = start(router).await;
    open(&mut supervisor, &mut heard, "/count/ann").await;
    supervisor.send(&[text(1, "wait"), text(2, "two")]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.send(&[ToWorker::Release { connection: CONNECTION }]).await;
    supervisor.expect_nothing().await;
    state.go.notify_one();
    expect_attached(&mut supervisor, CONNECTION, 1).await;
    expect_answer(&mut supervisor, CONNECTION, 1, true).await;
    expect_released(&mut supervisor, 1, 1).await;
    assert!(!heard.nothing_more(), "the task lives on");
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_revoke_drops_the_task_in_the_middle_of_a_message_with_what_it_did() {
    let (router, _state, mut heard) = routes();
    let mut supervisor = start(router).await;
    open(&mut supervisor, &mut heard, "/count/ann").await;
    supervisor.send(&[text(1, "wait"), text(2, "two")]).await;
    assert_eq!(heard.next().await, "waits");
    let connection = CONNECTION;
    let leave = [ToWorker::Release { connection }, ToWorker::Revoke { connection }];
    supervisor.send(&leave).await;
    expect_released(&mut supervisor, 0, 1).await;
    assert!(!heard.nothing_more(), "the task lives on");
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_task_that_panics_closes_with_1011_and_nothing_that_it_did_with_its_message_happens() {
    let (router, _state, mut heard) = routes();
    let mut supervisor = start(router).await;
    open(&mut supervisor, &mut heard, "/count/ann").await;
    supervisor.send(&[text(1, "panic")]).await;
    let close = Effect::Close { code: 1011, reason: "" };
    supervisor.expect(Act::new(CONNECTION, When::Staged, close).into()).await;
    supervisor.expect(commit(1)).await;
    assert_eq!(heard.next().await, "dropped");
}

#[tokio::test]
async fn a_socket_that_is_dropped_closes_with_1000_together_with_its_last_message() {
    let (router, _state, mut heard) = routes();
    let mut supervisor = start(router).await;
    open(&mut supervisor, &mut heard, "/count/ann").await;
    supervisor.send(&[text(1, "leave")]).await;
    expect_answer(&mut supervisor, CONNECTION, 1, false).await;
    let close = Effect::Close { code: 1000, reason: "" };
    supervisor.expect(Act::new(CONNECTION, When::Staged, close).into()).await;
    supervisor.expect(commit(1)).await;
    assert_eq!(heard.next().await, "dropped");
}

#[tokio::test]
async fn an_adopted_connection_runs_its_request_through_the_router_again() {
    let (router, _state, mut heard) = routes();
    let mut supervisor = start(router).await;
    adopt(&mut supervisor, "/count/ann?from=99", 2, "{\"n\":41}").await;
    expect_attached(&mut supervisor, SECOND, 41).await;
    supervisor.expect(ToSupervisor::Adopted { connection: SECOND, taken: true }).await;
    assert_eq!(heard.next().await, "gate /count/ann?from=99");
    assert_eq!(heard.next().await, "ann from 192.0.2.1:4321, Some(Reload)");
    let again = Again { redelivered: true, partial: true };
    supervisor.send(&[message_again(5, again, "five")]).await;
    expect_attached(&mut supervisor, SECOND, 42).await;
    expect_answer(&mut supervisor, SECOND, 42, true).await;
    assert_eq!(heard.next().await, "5 again, partial true");
    supervisor.send(&[message_again(6, Again::default(), "six")]).await;
    expect_attached(&mut supervisor, SECOND, 43).await;
    expect_answer(&mut supervisor, SECOND, 43, true).await;
    assert!(heard.nothing_more());
}

#[tokio::test]
async fn a_state_of_an_older_version_is_migrated_and_attached_anew() {
    let (router, _state, _heard) = routes();
    let mut supervisor = start(router).await;
    adopt(&mut supervisor, "/count/ann", 1, "7").await;
    expect_attached(&mut supervisor, SECOND, 7).await;
    supervisor.expect(ToSupervisor::Adopted { connection: SECOND, taken: true }).await;
    supervisor.send(&[message_again(5, Again::default(), "five")]).await;
    expect_attached(&mut supervisor, SECOND, 8).await;
    expect_answer(&mut supervisor, SECOND, 8, true).await;
}

#[tokio::test]
async fn a_router_that_answers_otherwise_refuses_and_sees_the_close() {
    let refusing = [
        // Not portable any more, gone, kept out, and a state that cannot be read.
        ("/plain/ann", 2, "{\"n\":1}"),
        ("/nowhere", 2, "{\"n\":1}"),
        ("/count/mallory", 2, "{\"n\":1}"),
        ("/count/ann", 2, "{}"),
        ("/count/ann", 9, "{\"n\":1}"),
    ];
    for (target, version, attachment) in refusing {
        let (router, ..) = routes();
        let mut supervisor = start(router).await;
        adopt(&mut supervisor, target, version, attachment).await;
        supervisor.expect(ToSupervisor::Adopted { connection: SECOND, taken: false }).await;
        let close = Close { code: CloseCode(1012), reason: String::new(), was_clean: true };
        let (connection, again) = (SECOND, Again::default());
        supervisor.send(&[ToWorker::Closed { connection, seq: 5, again, close }]).await;
        supervisor.expect(ToSupervisor::Commit { connection, seq: 5 }).await;
        supervisor.shut_down().await;
    }
}

/// Somebody may still hold the connection of the task that was dropped.
#[tokio::test]
async fn a_clone_of_a_connection_that_has_moved_tells_so() {
    let (router, state, mut heard) = routes();
    let router = router.merge(Router::new().route(
        "/kept",
        any(async move |upgrade: WebSocketUpgrade| {
            upgrade.portable(async move |mut conn: Connection<()>| {
                let connection = conn.connection().clone();
                tokio::spawn(async move {
                    connection.moved().await;
                    let late = connection.send("late").await;
                    state.notes.say(format!("{}", late == Err(SendError::Moved)));
                });
                conn.recv().await;
            })
        }),
    ));
    let mut supervisor = start(router).await;
    supervisor.send(&[upgrade_request("/kept")]).await;
    let upgrade = supervisor.next().await;
    assert!(matches!(upgrade.read(), ToSupervisor::Upgrade { portable: true, .. }));
    supervisor.send(&[ToWorker::Release { connection: CONNECTION }]).await;
    expect_released(&mut supervisor, 0, 0).await;
    assert_eq!(heard.next().await, "true");
    supervisor.shut_down().await;
}
