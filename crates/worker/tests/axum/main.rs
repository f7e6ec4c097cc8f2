//! An axum Router as the app: HTTP, and WebSockets by axum's extractor and by ours.

#[path = "../harness/mod.rs"]
mod harness;
mod http;
mod moves;
mod portable;
mod upgrade;
mod websocket;

use axum::Router;
use harness::{CONNECTION, Heard, REQUEST, State, Supervisor, head};
use shovel_protocol::control::{Effect, Headers, OfferedConnection, RequestHead};
use shovel_protocol::{ToSupervisor, ToWorker};
use shovel_worker::App;

mod ours {
    use axum::{Router, extract, response::Response, routing::any};
    use futures_util::StreamExt;
    use shovel_worker::axum::{CloseFrame, Message, WebSocket, WebSocketUpgrade};

    use super::harness::{Notes, State};

    include!("routes.rs");
}

mod theirs {
    use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
    use axum::{Router, extract, response::Response, routing::any};
    use futures_util::StreamExt;

    use super::harness::{Notes, State};

    include!("routes.rs");
}

/// A route that has either extractor.
const ECHOES: [&str; 2] = ["/ours/echo", "/theirs/echo"];
const SLOW: [&str; 2] = ["/ours/slow", "/theirs/slow"];
const REFUSED: [&str; 2] = ["/ours/refused", "/theirs/refused"];

/// The routes of both, and what they share with the test.
fn routes() -> (Router, State, Heard) {
    let state = State::default();
    let heard = state.notes.listen();
    let router = Router::new().nest("/ours", ours::routes()).nest("/theirs", theirs::routes());
    (router.with_state(state.clone()), state, heard)
}

async fn start(router: Router) -> Supervisor {
    Supervisor::start(App::from(router)).await
}

/// An upgrade request as the supervisor passes it on: without what concerns one hop.
fn upgrade_request(target: &str) -> ToWorker<'_> {
    let uuid = uuid::Uuid::parse_str(harness::UUID_TEXT).unwrap().into_bytes();
    let offer = OfferedConnection { connection: CONNECTION.to_wire(), uuid };
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

/// Upgrades, and returns the subprotocol and the names of the headers for the 101.
async fn upgrade(supervisor: &mut Supervisor, target: &str) -> (Option<String>, Vec<String>) {
    supervisor.send(&[upgrade_request(target)]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Upgrade { connection, upgrade, effects, .. } = seen.read() else {
        panic!("no upgrade: {:?}", seen.read());
    };
    assert_eq!(connection, CONNECTION);
    assert_eq!(effects.map(Result::unwrap).collect::<Vec<Effect<'_>>>(), []);
    let names = upgrade.headers.0.iter().map(|(name, _)| (*name).to_owned());
    (upgrade.protocol.map(str::to_owned), names.collect())
}
