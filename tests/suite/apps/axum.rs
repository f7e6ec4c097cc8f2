//! The axum example of the SDK, as the program that it is.

use serde_json::Value;
use shovel_tests::{Options, Pool, WebSocket, example, get, post};
use tokio_tungstenite::tungstenite::Message;

async fn count(socket: &mut WebSocket, text: &str) -> Value {
    serde_json::from_str(&socket.ask(text).await).expect("an answer of the counter")
}

/// G54 and G55: its counts survive a reload and the death of a worker, each seen once.
#[tokio::test]
async fn the_counter_of_the_axum_example_goes_on_through_reload_and_crash() {
    let pool = Pool::start(Options::program(example("axum")).workers(2)).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws/counter").await;
    let first = count(&mut socket, "one").await;
    assert_eq!(
        (&first["n"], &first["echo"], &first["generation"]),
        (&1.into(), &"one".into(), &1.into())
    );
    pool.reload(2).await;
    let second = count(&mut socket, "two").await;
    assert_eq!((&second["n"], &second["generation"]), (&2.into(), &2.into()));
    pool.kill_worker(second["pid"].as_u64().unwrap().try_into().unwrap());
    let third = count(&mut socket, "three").await;
    assert_eq!(third["n"], 3);
    assert!(third["pid"] != second["pid"] && second["pid"] != first["pid"]);
    socket.send_message(Message::binary(vec![1])).await;
    socket.expect_close(1003, "text only").await;
}

/// The counter of user-app refuses what is no text in the same way.
#[tokio::test]
async fn the_counter_of_user_app_takes_text_only() {
    let pool = Pool::start(Options::program(shovel_tests::program("user-app"))).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws/counter").await;
    assert_eq!(count(&mut socket, "one").await["n"], 1);
    socket.send_message(Message::binary(vec![1])).await;
    socket.expect_close(1003, "text only").await;
}

/// What it shows beside: axum's own WebSocket, rooms, and a publish from a request.
#[tokio::test]
async fn the_axum_example_echoes_and_publishes() {
    let pool = Pool::start(Options::program(example("axum")).workers(2)).await;
    let mut theirs = WebSocket::connect(pool.address(), "/theirs").await;
    assert_eq!(theirs.ask("hello").await, "hello");
    let mut members = Vec::new();
    for _ in 0..4 {
        members.push(WebSocket::connect(pool.address(), "/ours/room").await);
    }
    // A task joins behind the 101: what one says oneself is heard once one is in.
    for member in &mut members {
        while member.ask("in").await != "in" {}
    }
    let told = post(pool.address(), "/ours/room", "news").await;
    assert_eq!((told.status.as_u16(), told.text()), (200, "4"));
    for member in &mut members {
        while member.next_text().await != "news" {}
    }
    let hello = get(pool.address(), "/").await;
    assert!(hello.text().starts_with("hello 127.0.0.1:"), "{}", hello.text());
}
