//! C134: how many channels there may be. What is one too many is refused, and whoever asked is told.

use shovel_tests::{Options, Pool, WebSocket, get};

use crate::harness::watched::Watched;

fn refused(limit: &str) -> String {
    format!("shovel_subscriptions_refused_total{{limit=\"{limit}\"}}")
}

in_both_modes!(
    a_connection_with_one_channel_too_many_is_closed_1008,
    Options::app().with("--max-channels-per-connection", "3")
);
/// C134.
async fn a_connection_with_one_channel_too_many_is_closed_1008(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws?subscribe=a&subscribe=b").await;
    socket.send("info").await;
    let id = socket.next_json().await["id"].as_str().unwrap().to_owned();
    for channel in ["c", "c", "a"] {
        let text = format!("subscribe {channel}");
        assert_eq!(socket.ask(&text).await, format!("subscribed {channel}"));
    }
    assert_eq!(socket.ask("unsubscribe a").await, "unsubscribed a");
    assert_eq!(socket.ask("subscribe d").await, "subscribed d");
    socket.send("subscribe e").await;
    socket.expect_close(1008, "too many channels").await;
    let event = pool.wait_for_close_event(&id).await;
    assert_eq!((&event["code"], &event["reason"]), (&1008.into(), &"too many channels".into()));
    assert_eq!(get(pool.address(), "/publish?channel=d&text=x").await.json()["delivered"], 0);
}

/// C134.
#[tokio::test]
async fn subscriptions_in_all_are_bounded_and_those_refused_counted() {
    // The fixture has one of its own.
    let watched = Watched::start(Options::app().with("--max-subscriptions", "3")).await;
    let pool = &watched.pool;
    let first = WebSocket::connect(pool.address(), "/ws?subscribe=a&subscribe=b").await;
    let mut second = WebSocket::connect(pool.address(), "/ws?subscribe=a").await;
    second.expect_close(1008, "too many channels").await;
    let is_it = |line: &shovel_tests::Line| line.raw.contains("one channel too many");
    let line = pool.wait_for("the warning", is_it).await;
    assert_eq!(line.text("limit"), "--max-subscriptions");
    let metrics = watched.metrics().await;
    assert_eq!((metrics.of(&refused("all")), metrics.of("shovel_subscriptions")), (1.0, 3.0));
    assert_eq!((metrics.of(&refused("connection")), metrics.of(&refused("worker"))), (0.0, 0.0));
    first.close(1000, "").await;
    watched.until("room", |metrics| metrics.of("shovel_subscriptions") < 2.0).await;
    let mut third = WebSocket::connect(pool.address(), "/ws?subscribe=a").await;
    assert_eq!(third.ask("next").await, "echo next");
}

/// C134.
#[tokio::test]
async fn a_worker_with_one_channel_too_many_is_told() {
    let options = Options::rogue("honest").with("--max-channels-per-worker", "2");
    let watched = Watched::start(options).await;
    assert_eq!(get(watched.pool.address(), "/subscribe").await.status, 200);
    let is_it = |event: &serde_json::Value| event["event"] == "refused";
    let event = watched.pool.wait_for_event("the refusal", is_it).await;
    assert_eq!(event["channel"], "three");
    assert_eq!(watched.metrics().await.of(&refused("worker")), 1.0);
    assert_eq!(get(watched.pool.address(), "/").await.status, 200, "the link survives");
}
