//! The module that apps are tested with.

mod moves;
mod slow;

use std::any::Any;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::Frame;
use http_body_util::BodyExt;
use shovel_worker::testing::{TestApp, TestClient};
use shovel_worker::{
    App, Body, Bytes, CloseEvent, Error, FetchEvent, Message, MessageEvent, Request, Response,
    ShutdownEvent, StartEvent, StatusCode, header,
};
use tokio::sync::{Notify, mpsc};

/// What handlers have done, in order.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap().push(note.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn accept<S>(mut event: FetchEvent<S>) -> Result<Response, Error> {
    let (connection, response) = event.upgrade_websocket()?;
    connection.subscribe("room")?;
    Ok(response)
}

async fn note_close(event: CloseEvent<Notes>) -> Result<(), Error> {
    let (code, reason, clean) = (event.code(), event.reason(), event.was_clean());
    event.state().add(format!("closed {code} {reason:?} {clean}"));
    Ok(())
}

async fn say_in_room<S>(event: MessageEvent<S>) -> Result<(), Error> {
    event.connection().publish("room", event.message().clone()).await?;
    Ok(())
}

async fn pair(app: &TestApp) -> (TestClient, TestClient) {
    (app.connect("/a").await.unwrap(), app.connect("/b").await.unwrap())
}

#[tokio::test]
async fn what_a_handler_did_has_arrived_when_its_send_returns() {
    let app = App::new(()).on_fetch(accept).on_message(async |event: MessageEvent<()>| {
        tokio::task::yield_now().await;
        event.connection().send("taken").await?;
        event.channel("room")?.publish("object").await?;
        say_in_room(event).await
    });
    let app = TestApp::start(app).await.unwrap();
    let (ada, bob) = pair(&app).await;
    for _ in 0..100 {
        ada.send("hello").await;
        assert_eq!(ada.received(), ["taken".into(), "object".into(), "hello".into()]);
        assert_eq!(bob.received(), ["object".into(), "hello".into()]);
    }
    assert_eq!(app.published("room").len(), 200);
    assert!(app.published("room").is_empty());
}

#[tokio::test]
async fn a_message_waits_for_the_handler_of_the_one_before() {
    let notes = Notes::default();
    let app =
        App::new(notes.clone()).on_fetch(accept).on_message(async |event: MessageEvent<Notes>| {
            let text = event.message().as_text().unwrap_or_default().to_owned();
            event.state().add(format!("begin {text}"));
            tokio::task::yield_now().await;
            event.state().add(format!("end {text}"));
            Ok::<_, Error>(())
        });
    let app = TestApp::start(app).await.unwrap();
    let client = app.connect("/").await.unwrap();
    tokio::join!(client.send("1"), client.send("2"));
    assert_eq!(notes.take(), ["begin 1", "end 1", "begin 2", "end 2"]);
}

#[tokio::test]
async fn long_messages_and_bodies_pass_both_ways() {
    let app = App::new(())
        .on_fetch(async |mut event: FetchEvent<()>| match event.upgrade_websocket() {
            Ok((_, response)) => Ok::<_, Error>(response),
            Err(_) => Ok(Response::new(event.take_body())),
        })
        .on_message(async |event: MessageEvent<()>| {
            event.connection().send(event.message().clone()).await
        });
    let app = TestApp::start(app).await.unwrap();
    let client = app.connect("/").await.unwrap();
    let long: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    client.send(long.clone()).await;
    assert!(client.received() == [Message::from(long.clone())]);
    let response = app.request(Request::post("/").body(long.clone()).unwrap()).await;
    assert!(response.bytes().await == long);
}

#[tokio::test]
async fn the_first_chunk_of_a_body_arrives_before_the_last_is_made() {
    let (sender, chunks) = mpsc::unbounded_channel();
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let app = App::new(chunks).on_fetch(async |event: FetchEvent<Chunks>| {
        let chunks = event.state().lock().unwrap().take().unwrap();
        Ok::<_, Error>(Body::new(Streamed(chunks)))
    });
    let app = TestApp::start(app).await.unwrap();
    let mut body = app.get("/").await.into_response().into_body();
    for number in 0..3 {
        sender.send(Ok(Bytes::from(vec![number; 200_000]))).unwrap();
        let mut left = 200_000;
        while left > 0 {
            let frame = body.frame().await.unwrap().unwrap();
            left -= frame.into_data().unwrap().len();
        }
    }
    sender.send(Err("the disk is full".into())).unwrap();
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn a_request_that_is_broken_off_drops_its_handler() {
    struct Dropped(Arc<Notify>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (begun, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let state = (begun.clone(), dropped.clone());
    let app = App::new(state).on_fetch(async |event: FetchEvent<(Arc<Notify>, Arc<Notify>)>| {
        let (begun, dropped) = &**event.state();
        let _dropped = Dropped(dropped.clone());
        begun.notify_one();
        std::future::pending::<Result<(), Error>>().await
    });
    let app = TestApp::start(app).await.unwrap();
    tokio::select! {
        _ = app.get("/") => panic!("answered"),
        () = begun.notified() => {}
    }
    tokio::time::timeout(Duration::from_secs(10), dropped.notified()).await.unwrap();
}

#[tokio::test]
async fn a_request_whose_own_body_fails_takes_its_client_away() {
    let app = App::new(()).on_fetch(async |event: FetchEvent<()>| {
        let error = event.into_request().into_body().collect().await.unwrap_err();
        Err::<(), Error>(error.into())
    });
    let app = Arc::new(TestApp::start(app).await.unwrap());
    let (sender, chunks) = mpsc::unbounded_channel();
    sender.send(Ok(Bytes::from_static(b"begin"))).unwrap();
    sender.send(Err("out of paper".into())).unwrap();
    let request = Request::post("/").body(Body::new(Streamed(chunks))).unwrap();
    let asking = tokio::spawn({
        let app = app.clone();
        async move { app.request(request).await }
    });
    let panic = asking.await.unwrap_err().into_panic();
    assert_eq!(words(&panic), "the body of the request failed: out of paper");
}

#[tokio::test]
async fn a_refused_upgrade_gives_the_apps_answer() {
    let app = App::new(()).on_fetch(async |_event: FetchEvent<()>| {
        let cookies = [(header::SET_COOKIE, "a=1"), (header::SET_COOKIE, "b=2")];
        Err::<(), _>(Error::response((StatusCode::FORBIDDEN, cookies, "not you")))
    });
    let app = TestApp::start(app).await.unwrap();
    let refused = app.connect("/").await.unwrap_err();
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(refused.text().await, "not you");
}

/// A8: it never was.
#[tokio::test]
async fn an_upgrade_whose_handler_fails_leaves_no_connection_behind() {
    let notes = Notes::default();
    let app = App::new(notes.clone())
        .on_fetch(async |mut event: FetchEvent<Notes>| {
            event.upgrade_websocket()?;
            Err::<(), _>(Error::message("by intent"))
        })
        .on_close(note_close);
    let app = TestApp::start(app).await.unwrap();
    assert_eq!(app.connect("/").await.unwrap_err().status(), 500);
    app.shut_down().await.unwrap();
    assert!(notes.take().is_empty());
}

#[tokio::test]
async fn what_an_upgrade_says_reaches_its_client() {
    let app = App::new(()).on_fetch(async |mut event: FetchEvent<()>| {
        let (connection, mut response) = event.upgrade_websocket_with_protocol("v1")?;
        response.headers_mut().insert("x-room", "lobby".parse()?);
        connection.send(connection.id().to_string()).await?;
        connection.publish("room", "nobody yet").await?;
        connection.subscribe("room")?;
        connection.publish("room", "me").await?;
        connection.close(4001, "bye")?;
        Ok::<_, Error>(response)
    });
    let app = TestApp::start(app).await.unwrap();
    let request = Request::get("/x?y").header("sec-websocket-protocol", "v2, v1").body(()).unwrap();
    let client = app.connect_with(request).await.unwrap();
    assert_eq!(client.protocol(), Some("v1"));
    assert_eq!(client.headers()["x-room"], "lobby");
    assert_eq!(client.received(), [client.id().to_string().into(), "me".into()]);
    assert_eq!(client.until_closed().await, (4001, "bye".to_owned()));
    assert_eq!(app.published("room"), ["nobody yet".into(), "me".into()]);
}

/// B17, whoever closes, however often.
#[tokio::test]
async fn the_close_handler_runs_once_and_is_waited_for() {
    let notes = Notes::default();
    let app = App::new(notes.clone())
        .on_fetch(accept)
        .on_message(async |event: MessageEvent<Notes>| event.connection().close(4002, "app"))
        .on_close(async |event: CloseEvent<Notes>| {
            tokio::task::yield_now().await;
            note_close(event).await
        });
    let app = TestApp::start(app).await.unwrap();
    let (ada, bob) = pair(&app).await;
    ada.close(4003, "client").await;
    ada.close(4004, "again").await;
    assert_eq!(notes.take(), ["closed 4003 \"client\" true"]);
    bob.send("close it").await;
    assert_eq!(bob.closed(), Some((4002, "app".to_owned())));
    bob.close(4005, "late").await;
    assert_eq!(notes.take(), ["closed 4002 \"app\" true"]);
    app.connect("/").await.unwrap().disconnect().await;
    assert_eq!(notes.take(), ["closed 1006 \"\" false"]);
    drop(app.connect("/").await.unwrap());
    app.shut_down().await.unwrap();
    assert_eq!(notes.take(), ["closed 1006 \"\" false"]);
}

#[tokio::test]
async fn sending_on_a_closed_connection_panics_with_the_reason() {
    let app = TestApp::start(App::new(()).on_fetch(accept)).await.unwrap();
    let client = app.connect("/chat").await.unwrap();
    client.close(4000, "done").await;
    let sending = tokio::spawn(async move { client.send("late").await });
    let panic = sending.await.unwrap_err().into_panic();
    assert_eq!(words(&panic), "cannot send to /chat: it is closed with 4000 \"done\"");
}

#[tokio::test]
async fn a_publish_reaches_subscribers_that_are_open_and_the_app_itself() {
    let app = App::new(()).on_fetch(accept).on_start(async |event: StartEvent<()>| {
        let (mut heard, reply) = (event.channel("room")?.subscribe(), event.channel("heard")?);
        tokio::spawn(async move {
            while let Some(message) = heard.recv().await {
                reply.publish(message).await?;
            }
            Ok::<_, Error>(())
        });
        Ok::<_, Error>(())
    });
    let app = TestApp::start(app).await.unwrap();
    let (ada, bob) = pair(&app).await;
    assert_eq!(app.publish("room", "both").delivered, 2);
    assert_eq!(app.publish("elsewhere", "nobody").delivered, 0);
    bob.close(1000, "").await;
    assert_eq!(app.publish("room", vec![1]).delivered, 1);
    assert_eq!(ada.received(), ["both".into(), vec![1].into()]);
    assert_eq!(bob.received(), ["both".into()]);
    assert_eq!(app.next_published("heard").await.as_text(), Some("both"));
    assert_eq!(app.next_published("heard").await, vec![1].into());
    assert!(app.published("room").is_empty(), "only what the app itself publishes counts");
}

#[tokio::test]
async fn shutdown_closes_then_waits_then_calls_the_shutdown_handler() {
    let notes = Notes::default();
    let app = App::new(notes.clone())
        .on_fetch(accept)
        .on_close(async |event: CloseEvent<Notes>| {
            let notes = Notes::clone(event.state());
            event.wait_until(async move {
                tokio::task::yield_now().await;
                notes.add("work");
            });
            note_close(event).await
        })
        .on_shutdown(async |event: ShutdownEvent<Notes>| {
            event.state().add("shutdown");
            Ok::<_, Error>(())
        });
    let app = TestApp::start(app).await.unwrap();
    let client = app.connect("/").await.unwrap();
    app.shut_down().await.unwrap();
    assert_eq!(client.closed(), Some((1001, "server shutting down".to_owned())));
    let expected = ["closed 1001 \"server shutting down\" true", "work", "shutdown"];
    assert_eq!(notes.take(), expected);
}

/// The clock runs ahead while everybody waits, and nobody's patience ends by that.
#[tokio::test(start_paused = true)]
async fn hours_of_an_app_take_no_time() {
    let app = App::new(()).on_fetch(accept).on_message(async |event: MessageEvent<()>| {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        say_in_room(event).await
    });
    let app = TestApp::start(app).await.unwrap();
    let start = tokio::time::Instant::now();
    let client = app.connect("/").await.unwrap();
    client.send("late").await;
    assert_eq!(client.received(), ["late".into()]);
    assert!(start.elapsed() >= Duration::from_secs(3600));
}

#[tokio::test]
async fn an_app_ends_with_its_test() {
    let (app, ended) = (App::new(()), Arc::new(Notify::new()));
    let told = ended.clone();
    let app = app.on_start(async move |event: StartEvent<()>| {
        let mut nothing = event.channel("room")?.subscribe();
        tokio::spawn(async move {
            assert_eq!(nothing.recv().await, None);
            told.notify_one();
        });
        Ok::<_, Error>(())
    });
    drop(TestApp::start(app).await.unwrap());
    tokio::time::timeout(Duration::from_secs(10), ended.notified()).await.unwrap();
}

/// What a panic said.
fn words(panic: &Box<dyn Any + Send>) -> &str {
    panic.downcast_ref::<String>().map_or("", String::as_str)
}

type Chunk = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;
type Chunks = Arc<Mutex<Option<mpsc::UnboundedReceiver<Chunk>>>>;

/// A body of chunks that the test makes one by one.
struct Streamed(mpsc::UnboundedReceiver<Chunk>);

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}
