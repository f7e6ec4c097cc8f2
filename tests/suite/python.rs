//! The link protocol is enough to write a worker in another language: one in plain Python runs
//! under the pool.

use serde_json::Value;
use shovel_tests::{Options, Pool, WebSocket, get, python_worker};
use tokio_tungstenite::tungstenite::Message;

async fn python_pool() -> Pool {
    Pool::start(Options::program(python_worker())).await
}

/// D29 and B13, by another hand.
#[tokio::test]
async fn a_worker_in_python_answers_and_echoes() {
    let pool = python_pool().await;
    assert_eq!(get(pool.address(), "/hello").await.status, 200);
    let info = get(pool.address(), "/info").await.json();
    assert_eq!(info["pid"], Value::from(pool.workers()[0].pid));
    let mut socket = WebSocket::connect(pool.address(), "/ws/echo").await;
    for len in [0, 1, 126, 65_536, 300_000] {
        let text = "x".repeat(len);
        socket.send(text.clone()).await;
        assert!(socket.next_text().await == text, "text of {len} bytes");
        socket.send_binary(vec![0xff; len]).await;
        assert!(socket.next().await == Message::binary(vec![0xff; len]), "{len} bytes");
    }
    socket.close(4000, "enough").await;
    pool.terminate().await;
}

/// C23, by another hand.
#[tokio::test]
async fn a_worker_in_python_publishes_to_a_room() {
    let pool = python_pool().await;
    let mut first = WebSocket::connect(pool.address(), "/ws/room/one").await;
    let mut second = WebSocket::connect(pool.address(), "/ws/room/one").await;
    let mut elsewhere = WebSocket::connect(pool.address(), "/ws/room/two").await;
    first.send("hello").await;
    first.expect_text("hello").await;
    second.expect_text("hello").await;
    assert_eq!(elsewhere.ask("other").await, "other");
}

/// F49, by another hand.
#[tokio::test]
async fn a_worker_in_python_is_reloaded_as_any_other() {
    let pool = python_pool().await;
    let mut socket = WebSocket::connect(pool.address(), "/ws/echo").await;
    assert_eq!(socket.ask("one").await, "one");
    pool.sighup();
    socket.expect_close(1012, "server reloading").await;
    pool.wait_for_reload(2).await;
    assert_eq!(get(pool.address(), "/info").await.json()["generation"], 2);
}
