//! Another worker takes over while the one before lives.

use std::time::Duration;

use shovel_worker::testing::TestApp;
use shovel_worker::{
    AdoptCause, AdoptEvent, App, Error, FetchEvent, MessageEvent, Request, Response, RunError,
    StartEvent,
};

use super::{Count, World, assert_received, counter, join, pair};

/// Attachment, subscriptions, url and id go along, and the client notices nothing.
#[tokio::test]
async fn a_reload_moves_a_connection_with_all_that_it_has() {
    let (world, mut notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let (ada, bob) = pair(&app).await;
    ada.send("one").await;
    app.reload(counter(&world)).await.unwrap();
    ada.send("publish").await;
    assert_received(&ada, &["1 one 1", "here now", "2 publish 2", "news"]);
    assert_received(&bob, &["here now", "news"]);
    let moved = ["adopted Reload /a [\"room\"]", "adopted Reload /b [\"room\"]", "shutdown 1"];
    assert_eq!(notes.take(), moved);
    assert_eq!(ada.attachment::<Count>().unwrap().n, 2);
    bob.close(4000, "").await;
    assert_eq!(notes.take(), ["closed 4000 at 0"]);
    app.shut_down().await.unwrap();
    assert_eq!(notes.take(), ["closed 1001 at 2", "shutdown 2"]);
}

/// The running handler ends first; what came behind it is the next worker's.
#[tokio::test(start_paused = true)]
async fn a_reload_waits_for_the_running_handler_and_leaves_the_rest_to_the_next_worker() {
    let (world, mut notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let client = app.connect("/").await.unwrap();
    let open = async {
        notes.until("waiting").await;
        // The clock goes on when nobody can do anything any more.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.open_gate();
    };
    let (.., reloaded, ()) =
        tokio::join!(client.send("wait"), client.send("behind"), app.reload(counter(&world)), open);
    reloaded.unwrap();
    assert_received(&client, &["1 wait 1", "here now", "2 behind 2"]);
}

/// It closes when its worker has handled what it has sent, and the answers arrive.
#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_move_is_answered_before_it_closes() {
    let (world, mut notes) = World::new();
    let slow = counter(&world).on_message(async |event: MessageEvent<World>| {
        event.state().note("waiting");
        event.state().0.gate.notified().await;
        event.connection().send(event.message().clone()).await
    });
    let app = TestApp::start(slow).await.unwrap();
    let client = app.connect("/pinned").await.unwrap();
    let open = async {
        notes.until("waiting").await;
        // The clock goes on when nobody can do anything any more.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(client.closed(), None);
        world.open_gate();
        notes.until("waiting").await;
        world.open_gate();
    };
    let (.., reloaded, ()) =
        tokio::join!(client.send("one"), client.send("two"), app.reload(counter(&world)), open);
    reloaded.unwrap();
    assert_received(&client, &["one", "two"]);
    assert_eq!(client.closed(), Some((1012, "server reloading".to_owned())));
    assert_eq!(notes.take(), ["closed 1012 at 0", "shutdown 1"]);
}

/// It is dropped at its await after five seconds, of which the test does not wait one.
#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_dropped_and_its_message_handled_again() {
    let (world, mut notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let client = app.connect("/").await.unwrap();
    let reload = async {
        notes.until("waiting").await;
        app.reload(counter(&world)).await.unwrap();
        notes.until("waiting").await;
        world.open_gate();
    };
    tokio::join!(client.send("wait"), reload);
    assert_received(&client, &["here now", "1 wait 2 again"]);
}

/// An adopt handler that hangs is given up three times; then the connection is closed.
#[tokio::test(start_paused = true)]
async fn an_adoption_that_hangs_ends_the_connection() {
    let (world, _notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let client = app.connect("/").await.unwrap();
    let hangs = async |_event: AdoptEvent<World>| std::future::pending::<Result<(), Error>>().await;
    app.reload(counter(&world).on_adopt(hangs)).await.unwrap();
    let why = "no worker could take the connection over".to_owned();
    assert_eq!(client.closed(), Some((1011, why)));
}

/// A failed deploy changes nothing.
#[tokio::test]
async fn a_next_app_that_does_not_start_is_no_reload() {
    let (world, _notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let client = app.connect("/").await.unwrap();
    let fails = async |_event: StartEvent<()>| Err::<(), _>(Error::message("no disk"));
    let error = app.reload(App::new(()).on_start(fails)).await.unwrap_err();
    assert!(matches!(error, RunError::Start(why) if why == "no disk"));
    client.send("one").await;
    assert_received(&client, &["1 one 1"]);
    app.reload(counter(&world)).await.unwrap();
    client.send("two").await;
    assert_received(&client, &["here now", "2 two 2"]);
    assert!(matches!(app.crash(App::new(()).on_start(fails)).await, Err(RunError::Start(_))));
}

/// An upgrade that an old worker accepts during a reload moves right away.
#[tokio::test]
async fn an_upgrade_that_is_accepted_during_a_reload_moves_too() {
    let (world, mut notes) = World::new();
    let slow = counter(&world).on_fetch(async |event: FetchEvent<World>| {
        event.state().note("asked");
        event.state().0.gate.notified().await;
        join(event).await
    });
    let app = TestApp::start(slow).await.unwrap();
    let reload = async {
        notes.until("asked").await;
        let told = world.clone();
        let next = counter(&world).on_start(async move |_event: StartEvent<World>| {
            told.open_gate();
            Ok::<_, Error>(())
        });
        app.reload(next).await.unwrap();
    };
    let (client, ()) = tokio::join!(app.connect("/late"), reload);
    let client = client.unwrap();
    client.send("one").await;
    assert_received(&client, &["here now", "1 one 2"]);
}

/// The task that an app has started for a connection learns that it has moved.
#[tokio::test]
async fn a_ticker_learns_that_its_connection_has_moved() {
    let (world, mut notes) = World::new();
    let ticking = counter(&world).on_fetch(async |mut event: FetchEvent<World>| {
        let (connection, response) = event.upgrade_websocket()?;
        connection.attach(&Count::default())?;
        let (ticker, world) = (connection.clone(), World::clone(event.state()));
        tokio::spawn(async move {
            ticker.moved().await;
            world.note(format!("ticker: {}", ticker.send("too late").await.unwrap_err()));
        });
        Ok::<_, Error>(response)
    });
    let app = TestApp::start(ticking).await.unwrap();
    let client = app.connect("/").await.unwrap();
    app.reload(counter(&world)).await.unwrap();
    notes.until("ticker: the connection has moved to another worker").await;
    assert_received(&client, &["here now"]);
}

/// The head of the request that began a connection is what the adopting worker sees.
#[tokio::test]
async fn url_headers_and_subprotocol_are_those_of_the_beginning() {
    async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
        let (connection, response) = event.upgrade_websocket_with_protocol("v2")?;
        connection.attach(&Count::default())?;
        Ok(response)
    }
    async fn adopt(event: AdoptEvent<()>) -> Result<(), Error> {
        assert_eq!(event.cause(), AdoptCause::Reload);
        let connection = event.connection();
        let token = connection.headers()["x-token"].to_str()?;
        let protocol = connection.protocol().unwrap_or_default();
        let client = event.client().map(|client| client.to_string()).unwrap_or_default();
        let said = format!("{} {} {token} {protocol} {client}", connection.id(), connection.url());
        connection.send(said).await?;
        Ok(())
    }
    let app = || App::new(()).on_fetch(fetch).on_adopt(adopt);
    let test = TestApp::start(app()).await.unwrap();
    let request = Request::get("/x?y=1").header("x-token", "secret");
    let request = request.header("sec-websocket-protocol", "v1, v2").body(()).unwrap();
    let client = test.connect_with(request).await.unwrap();
    test.reload(app()).await.unwrap();
    let expected = format!("{} /x?y=1 secret v2 127.0.0.1:49152", client.id());
    assert_eq!(client.next().await.as_text(), Some(&expected[..]));
}
