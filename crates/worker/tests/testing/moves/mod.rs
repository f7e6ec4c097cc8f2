//! Connections that move.

mod crash;
mod either;
mod reload;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shovel_worker::testing::{TestApp, TestClient};
use shovel_worker::{
    AdoptEvent, App, Attachment, CloseEvent, Error, FetchEvent, MessageEvent, Response,
    ShutdownEvent,
};
use tokio::sync::{Notify, mpsc};

/// What goes on beside the connections.
#[derive(Clone)]
struct World(Arc<Shared>);

struct Shared {
    notes: mpsc::UnboundedSender<String>,
    /// Lets a handler go on that was told to wait.
    gate: Notify,
}

impl World {
    fn new() -> (World, Notes) {
        let (notes, taken) = mpsc::unbounded_channel();
        (World(Arc::new(Shared { notes, gate: Notify::new() })), Notes(taken))
    }

    fn note(&self, note: impl Into<String>) {
        // Nobody may be left to read it.
        let _ = self.0.notes.send(note.into());
    }

    fn open_gate(&self) {
        self.0.gate.notify_one();
    }
}

/// What was noted, in order.
struct Notes(mpsc::UnboundedReceiver<String>);

impl Notes {
    async fn next(&mut self) -> String {
        let next = tokio::time::timeout(Duration::from_secs(3600), self.0.recv());
        next.await.expect("a note").expect("somebody to note something")
    }

    /// Waits for a note, whatever comes before.
    async fn until(&mut self, note: &str) {
        while self.next().await != note {}
    }

    fn take(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// What the next worker is told.
#[derive(Default, Serialize, Deserialize)]
struct Count {
    n: u64,
}

impl Attachment for Count {}

/// Answers each message with its number on the connection, and the generation that handled it.
fn counter(world: &World) -> App<World> {
    App::new(world.clone())
        .on_fetch(join)
        .on_message(count)
        .on_close(async |event: CloseEvent<World>| {
            let count = event.attachment::<Count>()?.unwrap_or_default();
            event.state().note(format!("closed {} at {}", event.code(), count.n));
            Ok::<_, Error>(())
        })
        .on_adopt(async |event: AdoptEvent<World>| {
            let channels: Vec<_> = event.channels_subscribed().collect();
            let (cause, url) = (event.cause(), event.connection().url());
            event.state().note(format!("adopted {cause:?} {url} {channels:?}"));
            if url.path() == "/unwanted" {
                return Err(Error::message("by intent"));
            }
            event.connection().send("here now").await?;
            Ok(())
        })
        .on_shutdown(async |event: ShutdownEvent<World>| {
            event.state().note(format!("shutdown {}", event.worker().generation));
            Ok::<_, Error>(())
        })
}

async fn join(mut event: FetchEvent<World>) -> Result<Response, Error> {
    if event.request().uri().path() == "/wait" {
        event.state().note("asked");
        event.state().0.gate.notified().await;
        return Ok(Response::new("done".into()));
    }
    let (connection, response) = event.upgrade_websocket()?;
    connection.subscribe("room")?;
    match event.request().uri().path() {
        "/bare" => {}
        "/pinned" => {
            connection.attach(&Count::default())?;
            connection.pin();
        }
        _ => connection.attach(&Count::default())?,
    }
    Ok(response)
}

async fn count(event: MessageEvent<World>) -> Result<(), Error> {
    let (connection, world) = (event.connection(), event.state());
    let text = event.message().as_text().unwrap_or_default();
    let n = event.attachment::<Count>()?.unwrap_or_default().n + 1;
    connection.attach(&Count { n })?;
    let again = if event.redelivered() { " again" } else { "" };
    connection.send(format!("{n} {text} {}{again}", event.worker().generation)).await?;
    match text {
        "wait" => {
            world.note("waiting");
            world.0.gate.notified().await;
        }
        "flush" => {
            connection.flush().await;
            world.note(format!("flushed {}", event.partial()));
            world.0.gate.notified().await;
        }
        "publish" => connection.publish("room", "news").await?,
        _ => {}
    }
    Ok(())
}

async fn pair(app: &TestApp) -> (TestClient, TestClient) {
    (app.connect("/a").await.unwrap(), app.connect("/b").await.unwrap())
}

#[track_caller]
fn assert_received(client: &TestClient, expected: &[&str]) {
    let received = client.received();
    let received: Vec<_> = received.iter().filter_map(|message| message.as_text()).collect();
    assert_eq!(received, expected);
}
