//! J73: why each connection has closed, in words.

use shovel_tests::{Line, Options, Pool, Raw, WebSocket, post};

fn logging() -> Options {
    Options::app().flag("--access-log").with("--close-spread", "0ms")
}

/// Expects one line about a closed connection, with this code and these words.
async fn expect_told(pool: &Pool, code: u64, words: &str) -> Line {
    let line = pool.wait_for("the end of a connection", |line| line.is("connection closed")).await;
    assert_eq!(line.target(), "access");
    assert_eq!(line.number("code"), Some(code), "{}", line.raw);
    assert!(line.text("why").contains(words), "no {words:?} in {}", line.raw);
    assert_eq!(line.number("worker"), Some(pool.started()[0].id), "{}", line.raw);
    assert!(line.text("client").starts_with("127.0.0.1:"), "{}", line.raw);
    assert_eq!(line.text("connection").len(), 36, "{}", line.raw);
    line
}

/// Nothing more is said of connections, to the end.
async fn expect_no_more(mut pool: Pool) {
    pool.sigterm();
    pool.exit_status().await;
    let lines = pool.log().lines();
    assert_eq!(lines.iter().filter(|line| line.is("connection closed")).count(), 1);
}

/// J73.
#[tokio::test]
async fn a_client_that_closes() {
    let pool = Pool::start(logging()).await;
    let socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.close(4000, "bye").await;
    let line = expect_told(&pool, 4000, "closed by the client").await;
    assert_eq!(line.text("reason"), "bye");
    expect_no_more(pool).await;
}

/// J73.
#[tokio::test]
async fn an_app_that_closes() {
    let pool = Pool::start(logging()).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.send("close 4001 enough").await;
    socket.expect_close_code(4001).await;
    expect_told(&pool, 4001, "closed by the app").await;
    expect_no_more(pool).await;
}

/// J73.
#[tokio::test]
async fn a_client_that_goes_without_a_word() {
    let pool = Pool::start(logging()).await;
    drop(Raw::websocket(pool.address(), "/ws").await);
    expect_told(&pool, 1006, "client went away without a close frame").await;
    expect_no_more(pool).await;
}

/// J73.
#[tokio::test]
async fn a_client_that_breaks_the_protocol() {
    for (opcode, payload, code, words) in [
        (3, &b"x"[..], 1002, "client broke the protocol: opcode 3 is unknown"),
        (1, b"\xff", 1007, "client broke the protocol: a text message is not UTF-8"),
        (1, &[b'x'; 2000], 1009, "a message has over 1024 bytes"),
    ] {
        let pool = Pool::start(logging().with("--max-message-size", "1KiB")).await;
        let mut raw = Raw::websocket(pool.address(), "/ws").await;
        raw.write_frame(opcode, payload).await;
        assert_eq!(raw.frame().await.close_code(), code);
        drop(raw);
        expect_told(&pool, code.into(), words).await;
        expect_no_more(pool).await;
    }
}

/// J73.
#[tokio::test]
async fn a_client_that_answers_no_ping() {
    let options = logging().with("--ping-interval", "50ms").with("--pong-timeout", "100ms");
    let pool = Pool::start(options).await;
    let _raw = Raw::websocket(pool.address(), "/ws").await;
    expect_told(&pool, 1006, "client did not answer a ping").await;
    expect_no_more(pool).await;
}

/// J73.
#[tokio::test]
async fn a_client_that_reads_too_slowly() {
    let pool = Pool::start(logging().with("--outbox-limit", "64KiB")).await;
    let _slow = Raw::websocket(pool.address(), "/ws?subscribe=news").await;
    let part = "x".repeat(1 << 16);
    let mut published = 0;
    while post(pool.address(), "/publish-body?channel=news", part.clone()).await.json()["closed"]
        == 0
    {
        published += 1;
        assert!(published < 1000, "the slow one was never closed");
    }
    expect_told(&pool, 1008, "client reads too slowly").await;
    expect_no_more(pool).await;
}

/// J73.
#[tokio::test]
async fn a_reload() {
    let pool = Pool::start(logging()).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    pool.sighup();
    socket.expect_close_code(1012).await;
    expect_told(&pool, 1012, "server reloading").await;
    expect_no_more(pool).await;
}

/// J73.
#[tokio::test]
async fn the_end_of_the_pool() {
    let pool = Pool::start(logging()).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    pool.sigterm();
    socket.expect_close_code(1001).await;
    expect_told(&pool, 1001, "server shutting down").await;
    expect_no_more(pool).await;
}

/// J73.
#[tokio::test]
async fn a_worker_that_dies() {
    let pool = Pool::start(logging()).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    pool.kill_worker(pool.workers()[0].pid);
    socket.expect_close_code(1011).await;
    expect_told(&pool, 1011, "its worker died").await;
    expect_no_more(pool).await;
}

/// J73.
#[tokio::test]
async fn a_worker_that_does_not_finish_in_time() {
    let pool = Pool::start(logging().with("--drain-timeout", "100ms")).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.send("gate busy").await;
    pool.wait_at_gate("busy").await;
    pool.sighup();
    expect_told(&pool, 1012, "its worker did not finish in time").await;
    pool.open_gate("busy");
    expect_no_more(pool).await;
}
