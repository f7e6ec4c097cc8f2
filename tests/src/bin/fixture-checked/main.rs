//! The app that the checker runs, see `shovel_tests::checker`: it does what clients order, and
//! notes what happens to it, each event a line in a file of this process.
//!
//! `/portable` outlives its worker and keeps its progress in its attachment alone; `/plain` ends
//! with its worker.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use shovel_tests::checker::{Answer, Order, Progress, Task, Trace, TraceEvent, Word, now};
use shovel_worker::{
    AdoptCause, AdoptEvent, App, CloseEvent, Connection, Error, FetchEvent, IntoResponse,
    MessageEvent, ReleaseEvent, Response, RunError,
};

const VERSION: u32 = 3;

/// Milliseconds, so that some requests are under way whenever a worker has to leave.
const PAGE_TAKES: u64 = 30;

struct State {
    traces: File,
}

fn main() -> Result<(), RunError> {
    let folder = std::env::var_os("CHECKED_TRACES").map(PathBuf::from).expect("CHECKED_TRACES");
    let path = folder.join(std::process::id().to_string());
    let traces = OpenOptions::new().create(true).append(true).open(path).expect("traces");
    App::new(State { traces })
        .on_fetch(fetch)
        .on_message(message)
        .on_close(close)
        .on_adopt(adopt)
        .on_release(release)
        .run()
}

impl State {
    /// In one write, which what becomes of this process cannot undo.
    fn note(&self, connection: &Connection, event: TraceEvent) {
        let trace = Trace { at: now(), pid: std::process::id(), key: key(connection), event };
        (&self.traces).write_all(format!("{trace}\n").as_bytes()).expect("traces");
    }
}

async fn fetch(mut event: FetchEvent<State>) -> Result<Response, Error> {
    if !event.request().uri().path().starts_with('/') || event.request().uri().query().is_none() {
        sleep(PAGE_TAKES).await;
        return Ok("nothing".into_response());
    }
    let (connection, response) = event.upgrade_websocket_with_protocol("checked")?;
    event.state().note(&connection, TraceEvent::Opened);
    if is_portable(&connection) {
        attach(&connection, Progress::NONE, 0)?;
    } else {
        connection.pin();
    }
    if let Some(room) = room(&connection) {
        connection.subscribe(&room)?;
    }
    let hello = Word::Hello { pid: std::process::id() };
    connection.send(hello.to_string()).await?;
    Ok(response)
}

async fn message(event: MessageEvent<State>) -> Result<(), Error> {
    let text = event.message().as_text().unwrap_or_default();
    let Ok(Order { n, task, .. }) = text.parse() else { return Err(Error::message("no order")) };
    let (connection, pid, seq) = (event.connection(), std::process::id(), event.seq());
    let (redelivered, partial) = (event.redelivered(), event.partial());
    event.state().note(connection, TraceEvent::Begun { n, seq, redelivered, partial });

    let portable = is_portable(connection);
    let (before, byes) = read(connection)?;
    if portable {
        // Wrong on purpose: what counts is the last one, and that not before the handler ends.
        attach(connection, Progress { count: before.count, hash: !before.hash }, byes)?;
    }
    work(connection, n, task).await?;
    let progress = before.with(text);
    if portable {
        attach(connection, progress, byes)?;
    }
    let answer = Word::Answer(Answer { n, progress, pid, seq });
    let padding = if let Task::Long(bytes) = task { bytes as usize } else { 0 };
    say(connection, format!("{answer} {}", ".".repeat(padding))).await;
    match task {
        Task::Die if !redelivered => drop(raise(Signal::SIGKILL)),
        Task::Fail => return Err(Error::message("as ordered")),
        Task::Panic => panic!("as ordered"),
        _ => {}
    }
    Ok(())
}

async fn work(connection: &Connection, n: u64, task: Task) -> Result<(), Error> {
    match task {
        Task::Sleep(milliseconds) => sleep(milliseconds).await,
        Task::Block(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        Task::Parts(parts) => {
            for part in 0..parts {
                say(connection, Word::Part { n, part }.to_string()).await;
                tokio::task::yield_now().await;
            }
        }
        Task::Early(milliseconds) => {
            say(connection, Word::Early { n }.to_string()).await;
            connection.flush().await;
            sleep(milliseconds).await;
        }
        Task::Publish => {
            let news = Word::News { publisher: key(connection), n };
            if let Some(room) = room(connection) {
                connection.publish(&room, news.to_string()).await?;
            }
            // Long enough for a worker to die between that and the end, now and then.
            sleep(40).await;
        }
        Task::Answer | Task::Fail | Task::Panic | Task::Die | Task::Long(_) => {}
    }
    Ok(())
}

async fn adopt(event: AdoptEvent<State>) -> Result<(), Error> {
    let connection = event.connection();
    let (progress, byes) = read(connection)?;
    let header = connection.headers().get("x-key").and_then(|value| value.to_str().ok());
    let channels = event.channels_subscribed().map(str::to_owned).collect::<Vec<_>>();
    let subscribed = channels == room(connection).into_iter().collect::<Vec<_>>();
    let same = header.and_then(|key| key.parse().ok()) == Some(key(connection))
        && connection.protocol() == Some("checked");
    let crash = event.cause() == AdoptCause::Crash;
    event.state().note(connection, TraceEvent::Adopted { progress, crash, same, subscribed });
    if let Some(milliseconds) = asked(connection, "adopts") {
        sleep(milliseconds.parse().unwrap_or_default()).await;
    }
    let here = Word::Here { pid: std::process::id(), byes };
    say(connection, here.to_string()).await;
    Ok(())
}

async fn release(event: ReleaseEvent<State>) -> Result<(), Error> {
    let connection = event.connection();
    let (progress, before) = read(connection)?;
    let byes = before + 1;
    attach(connection, progress, byes)?;
    say(connection, Word::Bye { pid: std::process::id(), byes }.to_string()).await;
    Ok(())
}

async fn close(event: CloseEvent<State>) -> Result<(), Error> {
    let (code, was_clean, redelivered) = (event.code(), event.was_clean(), event.redelivered());
    event.state().note(event.connection(), TraceEvent::Closed { code, was_clean, redelivered });
    // Long enough for a worker to die meanwhile, now and then.
    sleep(10).await;
    Ok(())
}

/// A client that has gone does not listen any more; that is no failure.
async fn say(connection: &Connection, text: String) {
    let _ = connection.send(text).await;
}

async fn sleep(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

fn attach(connection: &Connection, progress: Progress, byes: u64) -> Result<(), Error> {
    let numbers = [progress.count, progress.hash, byes];
    let data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    Ok(connection.attach_bytes(VERSION, &data)?)
}

fn read(connection: &Connection) -> Result<(Progress, u64), Error> {
    if !is_portable(connection) {
        return Ok((Progress::NONE, 0));
    }
    let Some((VERSION, data)) = connection.attachment_bytes() else {
        return Err(Error::message("no attachment of this version"));
    };
    let numbers = data.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk));
    match numbers.collect::<Vec<_>>()[..] {
        [count, hash, byes] => Ok((Progress { count, hash }, byes)),
        _ => Err(Error::message("no attachment of this length")),
    }
}

fn is_portable(connection: &Connection) -> bool {
    connection.url().path() == "/portable"
}

fn key(connection: &Connection) -> u32 {
    asked(connection, "key").and_then(|key| key.parse().ok()).unwrap_or_default()
}

fn room(connection: &Connection) -> Option<String> {
    asked(connection, "room").map(|room| format!("room:{room}"))
}

fn asked<'a>(connection: &'a Connection, name: &str) -> Option<&'a str> {
    let mut parts = connection.url().query().unwrap_or_default().split('&');
    parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}
