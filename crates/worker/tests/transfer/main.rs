//! Connections that outlive their worker, from the worker's side: `docs/wire.md`, "Connections that
//! outlive their worker".
//!
//! Handlers do what a script tells them: that of a message is its text, that of an adoption what is
//! attached, that of a release what the test has left for it.

mod adopting;
#[path = "../harness/mod.rs"]
mod harness;
mod leaving;
mod outbox;
mod staging;

use std::sync::{Arc, LazyLock, Mutex};

use harness::{CONNECTION, Heard, Notes, UUID_TEXT, head};
use shovel_protocol::control::{AdoptCause, AdoptHead, Names, request_head_bytes};
use shovel_protocol::id::Leased;
use shovel_protocol::to_worker::RequestBytes;
use shovel_protocol::{
    Act, Again, Effect, LeaseId, MessageKind, ToSupervisor, ToWorker, When, WsMessage,
};
use shovel_worker::{
    AdoptEvent, App, CloseEvent, Connection, Error, FetchEvent, MessageEvent, ReleaseEvent,
    Response, SlowConsumer,
};
use tokio::sync::Notify;

/// The second and the third tenure of [`CONNECTION`].
const SECOND: LeaseId = LeaseId(Leased { slot: 5, lease: 7 });
const THIRD: LeaseId = LeaseId(Leased { slot: 5, lease: 8 });

/// What handlers and their test share.
#[derive(Default)]
struct Stage {
    notes: Notes,
    go: Notify,
    on_release: Mutex<&'static str>,
    connections: Mutex<Vec<Connection>>,
}

type State = Arc<Stage>;

impl Stage {
    /// The connection that was accepted or adopted last.
    fn connection(&self) -> Connection {
        self.connections.lock().unwrap().last().unwrap().clone()
    }
}

/// An app whose connections move.
fn app() -> (App<State>, State, Heard) {
    let (app, state, heard) = plain_app();
    (app.on_adopt(adopt).on_release(release), state, heard)
}

/// The same, but its connections end with their worker.
fn plain_app() -> (App<State>, State, Heard) {
    let state = State::default();
    let heard = state.notes.listen();
    let app = App::new(state.clone()).on_fetch(fetch).on_message(message).on_close(close);
    (app, state, heard)
}

/// Attaches the path, unless that is `/bare`.
async fn fetch(mut event: FetchEvent<State>) -> Result<Response, Error> {
    let path = event.request().uri().path().to_owned();
    let (connection, response) = event.upgrade_websocket()?;
    match path.as_str() {
        "/bare" => {}
        "/pinned" => connection.pin(),
        path => connection.attach_bytes(1, path.as_bytes())?,
    }
    event.state().connections.lock().unwrap().push(connection);
    Ok(response)
}

async fn message(event: MessageEvent<State>) -> Result<(), Error> {
    if event.redelivered() {
        let note = format!("{} again, partial {}", event.seq(), event.partial());
        event.state().notes.say(note);
    }
    act(event.message().as_text().unwrap(), event.connection(), event.state()).await
}

async fn close(event: CloseEvent<State>) -> Result<(), Error> {
    event.state().notes.say(format!("closed {} {}", event.code(), event.redelivered()));
    act(event.reason(), event.connection(), event.state()).await
}

async fn adopt(event: AdoptEvent<State>) -> Result<(), Error> {
    let (version, script) = event.connection().attachment_bytes().unwrap();
    assert_eq!(version, 1);
    event.state().connections.lock().unwrap().push(event.connection().clone());
    act(std::str::from_utf8(&script).unwrap(), event.connection(), event.state()).await
}

async fn release(event: ReleaseEvent<State>) -> Result<(), Error> {
    let script = *event.state().on_release.lock().unwrap();
    act(script, event.connection(), event.state()).await
}

async fn act(script: &str, connection: &Connection, state: &State) -> Result<(), Error> {
    for step in script.split("; ") {
        let (verb, what) = step.split_once(' ').unwrap_or((step, ""));
        match verb {
            "send" => connection.send(what).await?,
            "long" => connection.send(long(what.parse()?)).await?,
            "attach" => connection.attach_bytes(1, what.as_bytes())?,
            "drop" => connection.set_slow_consumer(SlowConsumer::DropOldest),
            "empty" => connection.outbox_empty().await?,
            "subscribe" => connection.subscribe(what)?,
            "unsubscribe" => connection.unsubscribe(what)?,
            "publish" => connection.publish("news", what).await?,
            "flush" => connection.flush().await,
            "close" => connection.close(4000, what)?,
            "say" => state.notes.say(what),
            "wait" => {
                let mut until_dropped = Waiting(Some(state.clone()));
                state.notes.say("waits");
                state.go.notified().await;
                until_dropped.0 = None;
            }
            "fail" => return Err(Error::message("by intent")),
            "panic" => panic!("by intent"),
            _ => {}
        }
    }
    Ok(())
}

/// Tells the test if a handler is dropped while it waits.
struct Waiting(Option<State>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            state.notes.say("dropped");
        }
    }
}

fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn message_of(connection: LeaseId, seq: u64, script: &str) -> ToWorker<'_> {
    let (kind, data) = (MessageKind::Text, script.as_bytes());
    ToWorker::Message(WsMessage { connection, seq, again: Again::default(), kind, data })
}

fn release_of(connection: LeaseId) -> ToWorker<'static> {
    ToWorker::Release { connection }
}

fn revoke_of(connection: LeaseId) -> ToWorker<'static> {
    ToWorker::Revoke { connection }
}

/// Four events are finished, and what is attached is the script of the adopt handler.
fn adopt_as<'a>(connection: LeaseId, script: &'a str, pressed: bool) -> ToWorker<'a> {
    static REQUEST: LazyLock<Box<[u8]>> =
        LazyLock::new(|| request_head_bytes(&head("GET", "/room?name=a")));
    let adopt = AdoptHead {
        cause: AdoptCause::Crash,
        uuid: uuid::Uuid::parse_str(UUID_TEXT).unwrap().into_bytes(),
        protocol: Some("v2"),
        committed: 4,
        pressed,
        version: 1,
        attachment: script.as_bytes(),
        channels: Names(vec!["news", "weather"]),
    };
    ToWorker::Adopt { connection, adopt, request: RequestBytes(&REQUEST) }
}

fn sent_by(connection: LeaseId, when: When, text: &str, last: bool) -> ToSupervisor<'_> {
    let effect = Effect::Send { binary: false, data: text.as_bytes() };
    Act { last, ..Act::new(connection, when, effect) }.into()
}

fn staged(text: &str, last: bool) -> ToSupervisor<'_> {
    sent_by(CONNECTION, When::Staged, text, last)
}

fn during(text: &str) -> ToSupervisor<'_> {
    sent_by(CONNECTION, When::During, text, false)
}

fn attached(connection: LeaseId, when: When, data: &str) -> ToSupervisor<'_> {
    let effect = Effect::Attach { version: 1, data: data.as_bytes() };
    Act::new(connection, when, effect).into()
}

fn published(connection: LeaseId, when: When, text: &str) -> ToSupervisor<'_> {
    let (token, binary, data) = (0, false, text.as_bytes());
    let effect = Effect::Publish { token, channel: "news", binary, data };
    Act::new(connection, when, effect).into()
}

fn subscribed(connection: LeaseId, channel: &str) -> ToSupervisor<'_> {
    Act::new(connection, When::Staged, Effect::Subscribe { channel }).into()
}

fn released(connection: LeaseId, handled: u64, started: u64) -> ToSupervisor<'static> {
    ToSupervisor::Released { connection, handled, started }
}

fn adopted(connection: LeaseId, taken: bool) -> ToSupervisor<'static> {
    ToSupervisor::Adopted { connection, taken }
}
