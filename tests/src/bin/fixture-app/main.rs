//! The app that most process tests run: it does what their paths and messages ask for, and tells
//! on stdout what happens to it, each event a line of JSON.
//!
//! `http` serves requests, `socket` serves WebSockets, `portable` those that outlive their worker,
//! `gate` lets tests hold a handler back.

mod gate;
mod http;
mod portable;
mod socket;

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use serde_json::{Value, json};
use shovel_worker::{
    App, BroadcastChannel, CloseEvent, Error, FetchEvent, MessageEvent, Response, RunError,
    ShutdownEvent, StartEvent,
};
use tokio::sync::OnceCell;

use crate::gate::Gates;

/// What all handlers share.
pub(crate) struct State {
    /// What the deploy of this program is called, see `Deploy::app`.
    label: String,
    gates: Gates,
    requests: AtomicU64,
    connections: Mutex<HashMap<String, socket::Entry>>,
    /// A party on the channel `objects`, which also listens.
    object: OnceCell<BroadcastChannel>,
    /// How connections outlive this worker, if they do.
    portable: Option<portable::Settings>,
}

fn main() -> Result<(), RunError> {
    let portable = portable::Settings::of_arguments();
    let is_portable = portable.is_some();
    let state = State {
        label: label(),
        gates: Gates::default(),
        requests: AtomicU64::new(0),
        connections: Mutex::default(),
        object: OnceCell::new(),
        portable,
    };
    let mut app = App::new(state)
        .on_start(start)
        .on_fetch(fetch)
        .on_message(message)
        .on_close(close)
        .on_shutdown(shutdown);
    if is_portable {
        app = app.on_adopt(portable::adopt).on_release(portable::release);
    }
    app.run()
}

/// Says something to the test.
pub(crate) fn tell(event: Value) {
    println!("{event}");
}

async fn start(event: StartEvent<State>) -> Result<(), Error> {
    let state = event.state();
    state.gates.watch();
    if let Ok(gate) = std::env::var("FIXTURE_START_GATE") {
        state.gates.pass(&gate, Value::Null).await;
    }
    if std::env::var_os("FIXTURE_START_FAILS").is_some() {
        return Err(Error::message("the database is away"));
    }
    for object in 1..=2 {
        let channel = event.channel("objects")?;
        let mut subscription = channel.subscribe();
        if object == 1 {
            let _ = state.object.set(channel);
        }
        tokio::spawn(async move {
            while let Some(message) = subscription.recv().await {
                tell(json!({"event": "heard", "object": object, "pid": std::process::id(),
                    "text": message.as_text()}));
            }
        });
    }
    Ok(())
}

async fn fetch(event: FetchEvent<State>) -> Result<Response, Error> {
    match event.request().uri().path() {
        "/ws" => socket::upgrade(event).await,
        "/ws/echo" => socket::echo(event),
        portable::PATH => portable::upgrade(event).await,
        _ => http::answer(event).await,
    }
}

async fn message(event: MessageEvent<State>) -> Result<(), Error> {
    match event.connection().url().path() {
        portable::PATH => portable::message(event).await,
        _ => socket::message(event).await,
    }
}

async fn close(event: CloseEvent<State>) -> Result<(), Error> {
    match event.connection().url().path() {
        portable::PATH => portable::close(event).await,
        _ => socket::close(event).await,
    }
}

async fn shutdown(_event: ShutdownEvent<State>) -> Result<(), Error> {
    tell(json!({"event": "shutdown", "pid": std::process::id()}));
    Ok(())
}

/// Read from this process's own image, not from the path that it was started by.
fn label() -> String {
    const LONGEST: i64 = 64;
    let mut tail = Vec::new();
    let mut image = std::fs::File::open("/proc/self/exe").expect("this program");
    image.seek(SeekFrom::End(-LONGEST)).expect("a program longer than its label");
    image.read_to_end(&mut tail).expect("this program");
    let tail = String::from_utf8_lossy(&tail).into_owned();
    tail.rsplit_once("\nlabel=").map_or_else(String::new, |(_, label)| label.to_owned())
}

/// The parts of a query, in order, as pairs of name and value; `+` stands for a space.
pub(crate) fn query(uri: &shovel_worker::Uri) -> Vec<(String, String)> {
    let query = uri.query().unwrap_or_default();
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.to_owned(), value.replace('+', " "))
        })
        .collect()
}
