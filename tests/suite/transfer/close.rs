//! G54 and G55: closes, crossed with moves and with deaths of workers.

use serde_json::Value;
use shovel_tests::{Options, Pool};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::counted::{Beside, Counted, pid_in};

/// Waits until the client's close frame has been read, and expects that it is answered.
async fn close(client: &mut Counted, code: u16) {
    client.socket.start_close(code, "bye").await;
    loop {
        match client.socket.next().await {
            Message::Close(Some(frame)) => break assert_eq!(u16::from(frame.code), code),
            // What was answered before.
            Message::Text(_) => {}
            other => panic!("not a close: {other:?}"),
        }
    }
}

/// The close event with this code, of which there is one.
async fn only_close_event(pool: &Pool, client: &Counted, code: u16) -> Value {
    let event = pool.wait_for_close_event(&client.id).await;
    assert_eq!(event["code"], code);
    event
}

fn expect_one_close_event(pool: &Pool) {
    assert_eq!(pool.events("close").len(), 1, "{}", pool.log());
}

/// G55: closed while its handler runs, whose worker dies: the message comes again, then the close.
#[tokio::test]
async fn a_close_behind_a_handler_whose_worker_dies_comes_after_its_message() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "").await;
    client.send("gate held").await;
    let old = pid_in(&pool.wait_at_gate("held").await);
    close(&mut client, 4000).await;
    pool.kill_worker(old);
    let again = |event: &Value| event["event"] == "waiting" && event["pid"] != old;
    let new = pid_in(&pool.wait_for_event("the message again", again).await);
    assert_eq!(pool.events("close"), Vec::<Value>::new());
    pool.open_gate("held");
    let event = only_close_event(&pool, &client, 4000).await;
    assert_eq!((pid_in(&event), &event["was_clean"]), (new, &true.into()));
    pool.reload(2).await;
    expect_one_close_event(&pool);
}

/// G55: its worker dies within the close handler, before the commit.
#[tokio::test]
async fn a_close_handler_whose_worker_dies_runs_again() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "closing=closing").await;
    let old = client.pid().await;
    close(&mut client, 4000).await;
    pool.wait_at_gate("closing").await;
    pool.kill_worker(old);
    let again = |event: &Value| event["event"] == "waiting" && event["pid"] != old;
    pool.wait_for_event("the close again", again).await;
    pool.open_gate("closing");
    let event = only_close_event(&pool, &client, 4000).await;
    assert_eq!(event["redelivered"], true);
    pool.reload(2).await;
    expect_one_close_event(&pool);
}

/// G55: its worker dies after the close handler has ended.
#[tokio::test]
async fn a_close_that_was_handled_does_not_come_again() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "").await;
    let old = client.pid().await;
    close(&mut client, 4000).await;
    only_close_event(&pool, &client, 4000).await;
    // Its commit has been read when the answer to a later request has come.
    let mut other = Counted::connect(&pool, "").await;
    pool.kill_worker(old);
    assert_ne!(other.pid().await, old);
    expect_one_close_event(&pool);
}

/// G54: closed while it is released.
#[tokio::test]
async fn a_close_while_a_connection_is_released_comes_to_the_next_worker() {
    let pool = Pool::start(Options::portable()).await;
    let (mut client, beside) = Beside::open(&pool, "").await;
    client.send("gate held").await;
    let old = pid_in(&pool.wait_at_gate("held").await);
    pool.sighup();
    beside.wait_until_released(&pool, old).await;
    close(&mut client, 4000).await;
    pool.open_gate("held");
    let event = only_close_event(&pool, &client, 4000).await;
    assert_ne!(pid_in(&event), old);
    pool.wait_for_reload(2).await;
    expect_one_close_event(&pool);
}

/// G55: closed while it is released, and its worker dies then.
#[tokio::test]
async fn a_close_while_a_connection_is_released_by_a_worker_that_dies_comes_too() {
    let pool = Pool::start(Options::portable()).await;
    let (mut client, beside) = Beside::open(&pool, "").await;
    client.send("gate held").await;
    let old = pid_in(&pool.wait_at_gate("held").await);
    pool.sighup();
    beside.wait_until_released(&pool, old).await;
    close(&mut client, 4000).await;
    pool.kill_worker(old);
    let again = |event: &Value| event["event"] == "waiting" && event["pid"] != old;
    pool.wait_for_event("the message again", again).await;
    pool.open_gate("held");
    only_close_event(&pool, &client, 4000).await;
    pool.wait_for_reload(2).await;
    expect_one_close_event(&pool);
}

/// G54: closed while it is adopted.
#[tokio::test]
async fn a_close_while_a_connection_is_adopted_comes_after_the_adoption() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "adopting=gate+adopt").await;
    pool.sighup();
    let new = pid_in(&pool.wait_at_gate("adopt").await);
    close(&mut client, 4000).await;
    assert_eq!(pool.events("close"), Vec::<Value>::new());
    pool.open_gate("adopt");
    let event = only_close_event(&pool, &client, 4000).await;
    assert_eq!((pid_in(&event), &event["redelivered"]), (new, &false.into()));
    pool.wait_for_reload(2).await;
    expect_one_close_event(&pool);
}

/// G55: closed while it is adopted, and the adopter dies.
#[tokio::test]
async fn a_close_while_a_connection_is_adopted_by_one_that_dies_comes_to_another() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "adopting=gate+adopt").await;
    let old = client.pid().await;
    pool.kill_worker(old);
    let first = pid_in(&pool.wait_at_gate("adopt").await);
    close(&mut client, 4000).await;
    pool.kill_worker(first);
    let again = |event: &Value| event["event"] == "waiting" && event["pid"] != first;
    let second = pid_in(&pool.wait_for_event("another adoption", again).await);
    pool.open_gate("adopt");
    let event = only_close_event(&pool, &client, 4000).await;
    assert_eq!((pid_in(&event), &event["redelivered"]), (second, &false.into()));
    expect_one_close_event(&pool);
}

/// G55: the app closes in a handler, and the client closes before that one ends: the client's was
/// first, for the app's takes effect with the end of its handler.
#[tokio::test]
async fn the_close_of_an_app_and_of_its_client_are_one_event() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "").await;
    client.send("close 4001 held").await;
    pool.wait_at_gate("held").await;
    close(&mut client, 4000).await;
    pool.open_gate("held");
    only_close_event(&pool, &client, 4000).await;
    pool.reload(2).await;
    expect_one_close_event(&pool);
}

/// G55: the app's close did not happen if its worker died before the handler ended; then it
/// happens once.
#[tokio::test]
async fn an_apps_close_takes_effect_with_the_end_of_its_handler() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "").await;
    client.send("close 4001 held").await;
    pool.kill_worker(pid_in(&pool.wait_at_gate("held").await));
    pool.open_gate("held");
    client.socket.expect_close(4001, "the app's own").await;
    only_close_event(&pool, &client, 4001).await;
    expect_one_close_event(&pool);
}

/// G55: the app has closed, and its worker dies before the client's answer is there.
#[tokio::test]
async fn a_worker_that_dies_behind_its_apps_close_leaves_the_event_to_another() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "closing=closing").await;
    client.send("close 4001").await;
    client.socket.expect_close(4001, "the app's own").await;
    let old = pid_in(&pool.wait_at_gate("closing").await);
    pool.kill_worker(old);
    pool.open_gate("closing");
    let event = only_close_event(&pool, &client, 4001).await;
    assert_ne!(pid_in(&event), old);
    expect_one_close_event(&pool);
}
