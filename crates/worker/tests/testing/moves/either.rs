//! What holds of reloads and crashes alike, or otherwise.

use shovel_worker::testing::TestApp;
use shovel_worker::{App, Error, FetchEvent};

use super::{World, counter};

/// Messages that come while a worker is replaced are handled once each, first in, first out.
#[tokio::test]
async fn what_is_sent_while_workers_change_is_delivered_after() {
    send_while_workers_change().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_while_workers_change_is_delivered_after_on_many_threads_too() {
    send_while_workers_change().await;
}

async fn send_while_workers_change() {
    let (world, _notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let client = app.connect("/").await.unwrap();
    for round in 0..20 {
        let sends = async {
            tokio::join!(client.send("x"), client.send("y"), client.send("z"));
        };
        match round % 2 {
            0 => tokio::join!(app.reload(counter(&world)), sends).0.unwrap(),
            _ => tokio::join!(sends, app.crash(counter(&world))).1.unwrap(),
        }
    }
    let received = client.received();
    let texts = received.iter().filter_map(|message| message.as_text());
    let numbers: Vec<u64> = texts.filter_map(|text| text.split(' ').next()?.parse().ok()).collect();
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
}

/// 1012 on a reload, with its close event, 1011 on a crash without.
#[tokio::test]
async fn what_cannot_move_is_closed_and_says_why() {
    let (world, mut notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let bare = app.connect("/bare").await.unwrap();
    let pinned = app.connect("/pinned").await.unwrap();
    let unwanted = app.connect("/unwanted").await.unwrap();
    app.reload(counter(&world)).await.unwrap();
    for client in [&bare, &pinned, &unwanted] {
        assert_eq!(client.until_closed().await, (1012, "server reloading".to_owned()));
    }
    let mut said = notes.take();
    said.sort_unstable();
    let expected = [
        "adopted Reload /unwanted [\"room\"]",
        "closed 1012 at 0",
        "closed 1012 at 0",
        "closed 1012 at 0",
        "shutdown 1",
    ];
    assert_eq!(said, expected);

    let bare = app.connect("/bare").await.unwrap();
    let kept = app.connect("/kept").await.unwrap();
    app.crash(counter(&world)).await.unwrap();
    assert_eq!(bare.closed(), Some((1011, "worker lost".to_owned())));
    assert_eq!(kept.closed(), None);
    assert_eq!(notes.take(), ["adopted Crash /kept [\"room\"]"]);
}

#[tokio::test]
async fn a_next_app_that_is_not_portable_ends_all() {
    let (world, _notes) = World::new();
    for crashes in [false, true] {
        let app = TestApp::start(counter(&world)).await.unwrap();
        let client = app.connect("/").await.unwrap();
        let next = App::new(()).on_fetch(async |_event: FetchEvent<()>| Ok::<_, Error>("new"));
        match crashes {
            true => app.crash(next).await.unwrap(),
            false => app.reload(next).await.unwrap(),
        }
        assert_eq!(client.closed(), Some((1012, "server reloading".to_owned())));
        assert_eq!(app.get("/").await.text().await, "new");
        app.shut_down().await.unwrap();
    }
}

/// A request under way ends with the old worker at a reload, and with a 502 at a crash.
#[tokio::test]
async fn requests_under_way_finish_at_a_reload_and_fail_at_a_crash() {
    let (world, mut notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let reload = async {
        notes.until("asked").await;
        world.open_gate();
        app.reload(counter(&world)).await.unwrap();
    };
    let (response, ()) = tokio::join!(app.get("/wait"), reload);
    assert_eq!(response.text().await, "done");
    let crash = async {
        notes.until("asked").await;
        app.crash(counter(&world)).await.unwrap();
    };
    let (response, ()) = tokio::join!(app.get("/wait"), crash);
    assert_eq!(response.status(), 502);
    assert_eq!(app.connect("/").await.unwrap().closed(), None);
}
