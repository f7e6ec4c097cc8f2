//! A worker dies, and another takes its place.

use shovel_worker::testing::TestApp;
use shovel_worker::{Error, MessageEvent};

use super::{Count, World, assert_received, counter, pair};

/// What the dead worker's handler did did not happen, and its message comes again, marked.
#[tokio::test]
async fn a_crash_undoes_the_running_handler_and_delivers_its_message_again() {
    struct Dropped(World);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.note("dropped");
        }
    }
    let (world, mut notes) = World::new();
    let hanging = counter(&world).on_message(async |event: MessageEvent<World>| {
        event.connection().attach(&Count { n: 100 })?;
        event.connection().send("never seen").await?;
        let _dropped = Dropped(World::clone(event.state()));
        event.state().note("waiting");
        std::future::pending::<Result<(), Error>>().await
    });
    let app = TestApp::start(hanging).await.unwrap();
    let client = app.connect("/").await.unwrap();
    let crash = async {
        notes.until("waiting").await;
        app.crash(counter(&world)).await.unwrap();
    };
    tokio::join!(client.send("one"), crash);
    assert_received(&client, &["here now", "1 one 1 again"]);
    assert_eq!(notes.take(), ["dropped", "adopted Crash / [\"room\"]"]);
    assert_eq!(client.attachment::<Count>().unwrap().n, 1);
}

/// What was let out before a crash stays seen, and the message is marked for it.
#[tokio::test]
async fn what_was_flushed_before_a_crash_is_seen_and_told() {
    let (world, mut notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let client = app.connect("/").await.unwrap();
    let crash = async {
        notes.until("flushed false").await;
        app.crash(counter(&world)).await.unwrap();
        notes.until("flushed true").await;
        world.open_gate();
    };
    tokio::join!(client.send("flush"), crash);
    assert_received(&client, &["1 flush 1", "here now", "1 flush 1 again"]);
}

/// A message that ends three workers ends its connection, and no other.
#[tokio::test]
async fn a_message_that_is_there_at_three_crashes_is_given_up() {
    let (world, mut notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let (ada, bob) = pair(&app).await;
    let crashes = async {
        for _ in 0..3 {
            notes.until("waiting").await;
            app.crash(counter(&world)).await.unwrap();
        }
    };
    tokio::join!(ada.send("wait"), crashes);
    assert_eq!(ada.until_closed().await, (1011, "worker lost".to_owned()));
    assert!(notes.take().contains(&"closed 1011 at 0".to_owned()));
    bob.send("fine").await;
    assert_received(&bob, &["here now", "here now", "here now", "1 fine 1"]);
}

/// A request that is under way at a death may be to blame for it as well.
#[tokio::test]
async fn a_message_that_has_company_at_its_third_crash_is_handled_again() {
    let (world, mut notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let client = app.connect("/").await.unwrap();
    let crashes = async {
        for _ in 0..2 {
            notes.until("waiting").await;
            app.crash(counter(&world)).await.unwrap();
        }
        notes.until("waiting").await;
        let crash = async {
            notes.until("asked").await;
            app.crash(counter(&world)).await.unwrap();
        };
        let (response, ()) = tokio::join!(app.get("/wait"), crash);
        assert_eq!(response.status(), 502);
        notes.until("waiting").await;
        world.open_gate();
    };
    tokio::join!(client.send("wait"), crashes);
    assert_eq!(client.closed(), None);
    let received = client.received();
    let last = received.last().and_then(|message| message.as_text());
    assert_eq!(last, Some("1 wait 1 again"));
}

/// Two messages that both may have ended two workers are not handed over together: so the third
/// death has one culprit.
#[tokio::test]
async fn of_two_suspects_one_is_acquitted() {
    let (world, mut notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let (ada, bob) = pair(&app).await;
    let crashes = async {
        for _ in 0..2 {
            notes.until("waiting").await;
            notes.until("waiting").await;
            app.crash(counter(&world)).await.unwrap();
        }
        notes.until("waiting").await;
        app.crash(counter(&world)).await.unwrap();
        notes.until("waiting").await;
        world.open_gate();
    };
    tokio::join!(ada.send("wait"), bob.send("wait"), crashes);
    let closed = [ada.closed(), bob.closed()];
    assert_eq!(closed.iter().flatten().count(), 1, "{closed:?}");
}

/// A client that goes while nobody has its connection is told of to the next worker.
#[tokio::test]
async fn a_close_during_a_crash_is_told_to_the_next_worker() {
    let (world, mut notes) = World::new();
    let app = TestApp::start(counter(&world)).await.unwrap();
    let client = app.connect("/").await.unwrap();
    client.send("one").await;
    let (crashed, ()) = tokio::join!(app.crash(counter(&world)), client.close(4001, "bye"));
    crashed.unwrap();
    assert_eq!(notes.take(), ["adopted Crash / []", "closed 4001 at 1"]);
}
