//! Connections that outlive their worker, if the arguments begin with `portable`.
//!
//! Each message is counted in the connection's attachment and answered by JSON with its number. The
//! first word of a message says what else its handler does, the attachment what the adopt handler
//! does.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shovel_worker::{
    AdoptEvent, CloseEvent, Connection, Error, FetchEvent, MessageEvent, ReleaseEvent, Response,
};

use crate::{State, query, tell};

/// Where such connections are.
pub(crate) const PATH: &str = "/ws/portable";

/// Length of the long one among the parts of an answer.
const LONG: usize = 200 << 10;

/// How much of a message its answer repeats, in characters.
const ECHO: usize = 64;

/// Longer than it takes until the link to the supervisor has room.
const NO_ROOM: Duration = Duration::from_millis(500);

const TICK: Duration = Duration::from_millis(10);

/// What the arguments say of how connections are portable.
pub(crate) struct Settings {
    /// Of the attachments that are written, and the highest that can be read.
    version: u32,
}

impl Settings {
    /// `portable [version=N]`; none without the first word.
    pub(crate) fn of_arguments() -> Option<Settings> {
        let mut arguments = std::env::args().skip(1);
        if arguments.next()? != "portable" {
            return None;
        }
        let mut settings = Settings { version: 1 };
        for argument in arguments {
            match argument.split_once('=') {
                Some(("version", number)) => settings.version = number.parse().expect("a number"),
                _ => panic!("no such argument: {argument}"),
            }
        }
        Some(settings)
    }
}

/// What goes along with a connection.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    /// How many messages were handled.
    n: u64,
    /// What was noted last.
    note: String,
    /// What the adopt handler does.
    on_adopt: String,
}

/// Accepts a connection, after the gate `gate`; `bare` attaches nothing yet.
pub(crate) async fn upgrade(mut event: FetchEvent<State>) -> Result<Response, Error> {
    let state = event.state().clone();
    let asked = query(event.request().uri());
    let value = |name| asked.iter().find(|(step, _)| step == name).map(|(_, value)| value);
    if let Some(gate) = value("gate") {
        state.gates.pass(gate, Value::Null).await;
    }
    let (connection, response) = match value("protocol") {
        Some(protocol) => event.upgrade_websocket_with_protocol(protocol)?,
        None => event.upgrade_websocket()?,
    };
    if let Some(channel) = value("subscribe") {
        connection.subscribe(channel)?;
    }
    if value("bare").is_none() {
        let on_adopt = value("adopting").cloned().unwrap_or_default();
        attach(&state, &connection, &Record { on_adopt, ..Record::default() })?;
    }
    if let Some(gate) = value("accepted") {
        state.gates.pass(gate, json!(connection.id().to_string())).await;
    }
    Ok(response)
}

/// Counts the message, does what it says and answers.
pub(crate) async fn message(event: MessageEvent<State>) -> Result<(), Error> {
    let (connection, state) = (event.connection(), event.state());
    let text = event.message().as_text().ok_or(Error::message("text only"))?;
    let mut record = record(connection)?;
    record.n += 1;
    let (command, about) = text.split_once(' ').unwrap_or((text, ""));
    match command {
        "note" => record.note = about.to_owned(),
        "adopting" => record.on_adopt = about.to_owned(),
        "subscribe" => connection.subscribe(about)?,
        "slow" => connection.set_slow_consumer(crate::socket::slow_consumer(about)?),
        "notes" => {
            for note in about.split(' ') {
                note.clone_into(&mut record.note);
                attach(state, connection, &record)?;
            }
        }
        "attach" => {
            let attached = connection.attach_bytes(1, &vec![b' '; about.parse()?]);
            let outcome = attached.err().map(|error| error.to_string());
            return Ok(connection.send(json!({"error": outcome}).to_string()).await?);
        }
        "tick" => tick(connection.clone()),
        "fill" => fill(connection.clone()),
        "panic" | "fail" => {
            stage(state, connection, &mut record, about).await?;
            assert!(command != "panic", "the message is bad");
            return Err(Error::message("the message is wrong"));
        }
        _ => act(&event, command, about).await?,
    }
    attach(state, connection, &record)?;
    for part in 0..if command == "parts" { 4 } else { 1 } {
        connection.send(answer(&event, &record, part)).await?;
    }
    Ok(())
}

/// What becomes of the worker, or of the handler, while a message is handled.
async fn act(event: &MessageEvent<State>, command: &str, about: &str) -> Result<(), Error> {
    let id = event.connection().id().to_string();
    match command {
        "parts" => tell(json!({"event": "begun", "id": id, "seq": event.seq(),
            "redelivered": event.redelivered()})),
        "gate" => event.state().gates.pass(about, json!(id)).await,
        "flush" => {
            event.connection().send("so far").await?;
            event.connection().flush().await;
            event.state().gates.pass(about, json!(id)).await;
        }
        "close" => {
            let (code, gate) = about.split_once(' ').unwrap_or((about, ""));
            event.connection().close(code.parse()?, "the app's own")?;
            if !gate.is_empty() {
                event.state().gates.pass(gate, json!(id)).await;
            }
        }
        "flood" => flood(event.connection(), about.parse()?).await?,
        "sleep" => tokio::time::sleep(Duration::from_millis(about.parse()?)).await,
        "abort" => std::process::abort(),
        "abort-unless" if !event.state().gates.is_open(about) => std::process::abort(),
        // What the kernel does to a process that takes all memory.
        "kill" => nix::sys::signal::raise(Signal::SIGKILL)?,
        "block-for" => {
            tell(json!({"event": "blocking", "pid": std::process::id()}));
            std::thread::sleep(Duration::from_millis(about.parse()?));
        }
        "block" if !event.redelivered() => {
            tell(json!({"event": "blocking", "pid": std::process::id()}));
            std::thread::sleep(Duration::from_secs(60));
        }
        _ => {}
    }
    Ok(())
}

/// Does all that a handler can do to its connection; `flush` lets the first of it out at once.
async fn stage(
    state: &State,
    connection: &Connection,
    record: &mut Record,
    about: &str,
) -> Result<(), Error> {
    connection.send("let out").await?;
    if about == "flush" {
        connection.flush().await;
    }
    "staged".clone_into(&mut record.note);
    attach(state, connection, record)?;
    connection.subscribe("staged")?;
    connection.publish("heard", "staged").await?;
    connection.send("staged").await?;
    Ok(())
}

/// As many messages of 64 KiB, each as soon as there is room for it.
async fn flood(connection: &Connection, count: u64) -> Result<(), Error> {
    let part = "x".repeat(64 << 10);
    tell(json!({"event": "flooding", "pid": std::process::id()}));
    for _ in 0..count {
        connection.send(part.as_str()).await?;
    }
    Ok(())
}

fn answer(event: &MessageEvent<State>, record: &Record, part: u32) -> String {
    let connection = event.connection();
    let header = connection.headers().get("x-test").and_then(|value| value.to_str().ok());
    let echo: String = event.message().as_text().unwrap_or_default().chars().take(ECHO).collect();
    json!({"n": record.n, "part": part, "echo": echo, "seq": event.seq(),
        "redelivered": event.redelivered(), "partial": event.partial(),
        "pid": event.worker().pid, "generation": event.worker().generation,
        "long": if part == 2 { "x".repeat(LONG) } else { String::new() },
        "about": {"id": connection.id().to_string(), "url": connection.url().to_string(),
            "protocol": connection.protocol(), "header": header, "note": record.note}})
    .to_string()
}

/// Tells what came along, and does what the attachment says.
pub(crate) async fn adopt(event: AdoptEvent<State>) -> Result<(), Error> {
    let (connection, state) = (event.connection(), event.state());
    let id = connection.id().to_string();
    let (version, data) = connection.attachment_bytes().unwrap_or_default();
    let mut channels = event.channels_subscribed().collect::<Vec<_>>();
    channels.sort_unstable();
    tell(json!({"event": "adopted", "id": id, "cause": format!("{:?}", event.cause()),
        "version": version, "pid": std::process::id(), "channels": channels}));
    if version > settings(state)?.version {
        return Err(Error::message(format!("version {version} is too new")));
    }
    let record: Record = serde_json::from_slice(&data)?;
    let (command, about) = record.on_adopt.split_once(' ').unwrap_or((&record.on_adopt, ""));
    match command {
        "refuse" => return Err(Error::message("not this one")),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(7),
        "gate" => state.gates.pass(about, json!(id)).await,
        "send" => connection.send(about).await?,
        "try" => {
            let connection = connection.clone();
            // Not before the handler has ended: in there no send waits.
            tokio::spawn(async move {
                let outcome = format!("{:?}", connection.try_send("tried"));
                tell(json!({"event": "tried", "id": id, "outcome": outcome}));
            });
        }
        "tick" => tick(connection.clone()),
        _ => {}
    }
    Ok(())
}

/// Tells that it leaves.
pub(crate) async fn release(event: ReleaseEvent<State>) -> Result<(), Error> {
    tell(json!({"event": "released", "id": event.connection().id().to_string(),
        "pid": std::process::id()}));
    Ok(())
}

/// Tells how it closed, after the gate `closing` if its url names one.
pub(crate) async fn close(event: CloseEvent<State>) -> Result<(), Error> {
    let connection = event.connection();
    let id = connection.id().to_string();
    for (step, gate) in query(connection.url()) {
        if step == "closing" {
            event.state().gates.pass(&gate, json!(id)).await;
        }
    }
    tell(json!({"event": "close", "id": id, "code": event.code(), "reason": event.reason(),
        "was_clean": event.was_clean(), "redelivered": event.redelivered(),
        "pid": event.worker().pid}));
    Ok(())
}

/// Sends ticks until the connection is another worker's or has closed.
fn tick(connection: Connection) {
    let pid = std::process::id();
    let ticking = async move {
        loop {
            tokio::select! {
                () = connection.moved() => break,
                () = tokio::time::sleep(TICK) => {}
            }
            if connection.send(json!({"tick": pid}).to_string()).await.is_err() {
                break;
            }
        }
        let after = format!("{:?}", connection.send("late").await);
        tell(json!({"event": "ticked", "pid": pid, "after": after}));
    };
    tokio::spawn(ticking);
}

/// Sends until there has been no room for some time: the client reads too slowly.
fn fill(connection: Connection) {
    let filling = async move {
        let part = "x".repeat(64 << 10);
        while tokio::time::timeout(NO_ROOM, connection.send(part.as_str())).await.is_ok() {}
        tell(json!({"event": "filled"}));
    };
    tokio::spawn(filling);
}

fn record(connection: &Connection) -> Result<Record, Error> {
    let Some((_, data)) = connection.attachment_bytes() else { return Ok(Record::default()) };
    Ok(serde_json::from_slice(&data)?)
}

fn attach(state: &State, connection: &Connection, record: &Record) -> Result<(), Error> {
    let data = serde_json::to_vec(record)?;
    Ok(connection.attach_bytes(settings(state)?.version, &data)?)
}

fn settings(state: &State) -> Result<&Settings, Error> {
    state.portable.as_ref().ok_or(Error::message("start it with the argument portable"))
}
