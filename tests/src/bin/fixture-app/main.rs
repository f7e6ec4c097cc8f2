//! The app that most process tests run: it does what their paths and messages ask for, and tells
//! on stdout what happens to it, each event a line of JSON.
//!
//! `http` serves requests, `socket` serves WebSockets, `gate` lets tests hold a handler back.

mod gate;
mod http;
mod socket;

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use serde_json::{Value, json};
use shovel_worker::{
    App, BroadcastChannel, Error, FetchEvent, Response, RunError, ShutdownEvent, StartEvent,
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
}

fn main() -> Result<(), RunError> {
    let state = State {
        label: label(),
        gates: Gates::default(),
        requests: AtomicU64::new(0),
        connections: Mutex::default(),
        object: OnceCell::new(),
    };
    App::new(state)
        .on_start(start)
        .on_fetch(fetch)
        .on_message(socket::message)
        .on_close(socket::close)
        .on_shutdown(shutdown)
        .run()
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
        _ => http::answer(event).await,
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
