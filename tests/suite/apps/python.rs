//! The link protocol is enough to write a worker in another language: one in plain Python runs
//! under the pool.

use nix::sys::signal::Signal;
use serde_json::Value;
use shovel_tests::{Line, Options, Pool, WebSocket, get, python_worker, signal};
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

/// G54, by another hand.
#[tokio::test]
async fn a_counter_in_python_survives_reloads() {
    let pool = python_pool().await;
    let mut socket = WebSocket::connect(pool.address(), "/ws/counter").await;
    let mut count = Counter::default();
    for generation in 2..=4 {
        count.ask(&mut socket, 20).await;
        // Under way while it moves.
        count.send(&mut socket, 100).await;
        pool.sighup();
        count.send(&mut socket, 100).await;
        pool.wait_for_reload(generation).await;
        count.receive(&mut socket).await;
    }
    count.ask(&mut socket, 1).await;
    socket.close(4000, "enough").await;
    pool.terminate().await;
}

/// G55, by another hand.
#[tokio::test]
async fn a_counter_in_python_survives_the_death_of_its_worker() {
    let pool = python_pool().await;
    let mut socket = WebSocket::connect(pool.address(), "/ws/counter").await;
    let mut count = Counter::default();
    for _ in 0..3 {
        count.ask(&mut socket, 20).await;
        let pid = pid_of_worker(&pool).await;
        // It dies somewhere within these.
        count.send(&mut socket, 100).await;
        pool.kill_worker(pid);
        count.send(&mut socket, 100).await;
        count.receive(&mut socket).await;
        assert_ne!(pid_of_worker(&pool).await, pid);
    }
    socket.close(4000, "enough").await;
    pool.terminate().await;
}

/// G55: what a worker was given and did not read is not lost.
#[tokio::test]
async fn messages_that_a_python_worker_never_read_come_to_the_next() {
    let pool = python_pool().await;
    let mut socket = WebSocket::connect(pool.address(), "/ws/counter").await;
    let mut count = Counter::default();
    count.ask(&mut socket, 1).await;
    let pid = pid_of_worker(&pool).await;
    signal(pid, Signal::SIGSTOP);
    count.send(&mut socket, 10).await;
    // The supervisor answers, which has read the messages before it by then.
    socket.send_message(Message::Ping("read".into())).await;
    assert_eq!(socket.next().await, Message::Pong("read".into()));
    pool.kill_worker(pid);
    count.receive(&mut socket).await;
    count.ask(&mut socket, 1).await;
}

/// G54: the close event comes to the worker that has the connection, once.
#[tokio::test]
async fn a_counter_in_python_that_moved_is_closed_where_it_is() {
    let pool = python_pool().await;
    let mut socket = WebSocket::connect(pool.address(), "/ws/counter").await;
    Counter::default().ask(&mut socket, 3).await;
    pool.reload(2).await;
    let pid = pid_of_worker(&pool).await;
    socket.close(4000, "enough").await;
    let is_closed = |line: &Line| line.output() == Some("closed counter 4000 enough");
    let line = pool.wait_for("the close event", is_closed).await;
    assert_eq!(line.number("pid"), Some(u64::from(pid)));
    let lines = pool.log().lines().iter().filter(|line| is_closed(line)).count();
    assert_eq!(lines, 1);
    pool.terminate().await;
}

async fn pid_of_worker(pool: &Pool) -> u32 {
    let info = get(pool.address(), "/info").await.json();
    info["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid")
}

/// The numbers that a client has seen: each once, in order.
#[derive(Default)]
struct Counter {
    sent: u64,
    received: u64,
}

impl Counter {
    async fn send(&mut self, socket: &mut WebSocket, messages: u64) {
        for _ in 0..messages {
            self.sent += 1;
            socket.send(format!("message {}", self.sent)).await;
        }
    }

    /// Takes an answer for each message, which has its number.
    async fn receive(&mut self, socket: &mut WebSocket) {
        while self.received < self.sent {
            self.received += 1;
            let number = self.received;
            socket.expect_text(&format!("{number} message {number}")).await;
        }
    }

    async fn ask(&mut self, socket: &mut WebSocket, messages: u64) {
        for _ in 0..messages {
            self.send(socket, 1).await;
            self.receive(socket).await;
        }
    }
}
