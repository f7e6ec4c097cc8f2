//! Clients that do not read.

use shovel_worker::testing::TestApp;
use shovel_worker::{App, CloseEvent, Error, FetchEvent, MessageEvent, Response, SlowConsumer};

use super::Notes;

/// More than a quarter of what may wait.
const PART_BYTES: usize = 300_000;

/// The path of its URL says how a slow client is treated.
async fn fetch(mut event: FetchEvent<Notes>) -> Result<Response, Error> {
    let policy = match event.request().uri().path() {
        "/newest" => SlowConsumer::DropNewest,
        "/oldest" => SlowConsumer::DropOldest,
        _ => SlowConsumer::AsConfigured,
    };
    let (connection, response) = event.upgrade_websocket()?;
    connection.set_slow_consumer(policy);
    connection.subscribe("room")?;
    Ok(response)
}

/// Sends, or publishes, so many parts that begin with their numbers.
async fn message(event: MessageEvent<Notes>) -> Result<(), Error> {
    let (verb, count) = event.message().as_text().unwrap().split_once(' ').unwrap();
    for number in 0..count.parse()? {
        let part = format!("{number}{}", "x".repeat(PART_BYTES));
        match verb {
            // Some are on their way before the handler is told.
            "send" => event.connection().send(part.repeat(3)).await?,
            _ => {
                let published = event.channel("room")?.publish(part).await?;
                let (delivered, dropped) = (published.delivered, published.dropped);
                event.state().add(format!("{delivered} {dropped} {}", published.closed));
            }
        }
    }
    Ok(())
}

async fn note_close(event: CloseEvent<Notes>) -> Result<(), Error> {
    event.state().add(format!("closed {}", event.code()));
    Ok(())
}

async fn start() -> (TestApp, Notes) {
    let notes = Notes::default();
    let app = App::new(notes.clone()).on_fetch(fetch).on_message(message).on_close(note_close);
    (TestApp::start(app).await.unwrap(), notes)
}

/// The numbers of what it has received.
fn numbers(client: &shovel_worker::testing::TestClient) -> String {
    let received = client.received();
    received.iter().map(|message| message.as_text().unwrap().chars().next().unwrap()).collect()
}

#[tokio::test]
async fn a_send_waits_for_a_client_that_does_not_read() {
    let (app, _notes) = start().await;
    let client = app.connect("/").await.unwrap();
    client.stop_reading();
    let (mut sends, mut polled) = (Box::pin(client.send("send 9")), 0);
    // The handler goes no further than it may, however often it is asked.
    while polled < 100 {
        tokio::select! {
            biased;
            () = &mut sends => panic!("nothing was held back"),
            () = tokio::task::yield_now() => polled += 1,
        }
    }
    assert_eq!(numbers(&client), "");
    client.read_on();
    sends.await;
    assert_eq!(numbers(&client), "012345678");
}

#[tokio::test]
async fn what_is_published_to_a_client_that_does_not_read_is_dropped_as_the_app_chose() {
    for (path, received) in [("/newest", "0123"), ("/oldest", "567")] {
        let (app, notes) = start().await;
        let (slow, quick) = (app.connect(path).await.unwrap(), app.connect("/").await.unwrap());
        slow.stop_reading();
        quick.send("publish 8").await;
        assert_eq!(numbers(&quick), "01234567");
        slow.read_on();
        assert_eq!(numbers(&slow), received);
        let expected = match path {
            "/newest" => [["2 0 0"; 4], ["1 1 0"; 4]].concat(),
            _ => vec!["2 0 0"; 8],
        };
        assert_eq!(notes.take(), expected);
        quick.send("publish 1").await;
        assert_eq!((numbers(&slow), notes.take()), ("0".into(), vec!["2 0 0".to_owned()]));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_what_is_published_is_closed_by_default() {
    let (app, notes) = start().await;
    let (slow, quick) = (app.connect("/").await.unwrap(), app.connect("/").await.unwrap());
    slow.stop_reading();
    quick.send("publish 6").await;
    assert_eq!(slow.until_closed().await, (1008, "client reads too slowly".to_owned()));
    let mut all = notes.take();
    all.retain(|note| note != "closed 1008");
    assert_eq!(all, ["2 0 0", "2 0 0", "2 0 0", "2 0 0", "1 0 1", "1 0 0"]);
}
