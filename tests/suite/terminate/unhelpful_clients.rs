//! F52: the end of a pool whose clients do not help, or do not stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use shovel_tests::{Http, Options, Pool, Raw, WebSocket, request, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::flood::Flood;

/// What a client that does not help may cost: far less than `--shutdown-timeout`.
const SOON: Duration = Duration::from_secs(8);

/// F52.
#[tokio::test]
async fn half_a_request_head_does_not_keep_the_pool() {
    let mut pool = Pool::start(Options::app().with("--io-threads", "2")).await;
    let mut fresh = Raw::connect(pool.address()).await;
    fresh.write("GET /info HTTP/1.1\r\nHo").await;
    let mut kept = Raw::connect(pool.address()).await;
    kept.write("GET /info HTTP/1.1\r\nHost: a\r\n\r\nGET /info HTTP/1.1\r\nHo").await;
    assert!(kept.head().await.starts_with("HTTP/1.1 200 "));
    let begun = Instant::now();
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    // The ten seconds that a head may take, and not the whole shutdown timeout.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    for client in [&mut fresh, &mut kept] {
        client.rest().await;
    }
}

/// F52. What it asks before the end is answered, and not what it asks for ever after.
#[tokio::test]
async fn a_client_that_asks_without_a_pause_does_not_keep_the_pool() {
    let mut pool = Pool::start(Options::app().with("--shutdown-timeout", "6s")).await;
    let stream = TcpStream::connect(pool.address()).await.expect("connect");
    let (mut answers, mut requests) = stream.into_split();
    let asking = tokio::spawn(async move {
        // Long, so that not many of them wait by then.
        let padding = "x".repeat(4096);
        let batch = format!("GET /info HTTP/1.1\r\nHost: a\r\nX: {padding}\r\n\r\n").repeat(10);
        while requests.write_all(batch.as_bytes()).await.is_ok() {}
    });
    let mut answer = [0; 4096];
    answers.read_exact(&mut answer).await.expect("answers");
    let reading =
        tokio::spawn(
            async move { while answers.read(&mut answer).await.is_ok_and(|read| read > 0) {} },
        );
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    reading.await.expect("a reader that does not panic");
    asking.await.expect("an asker that does not panic");
}

/// F52.
#[tokio::test]
async fn a_response_that_nobody_reads_does_not_keep_the_pool_beyond_a_second_signal() {
    let mut pool = Pool::start(Options::app()).await;
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("GET /produce?bytes=1073741824 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    pool.sigterm();
    pool.wait_for("the beginning of the end", |line| line.is("terminating")).await;
    let begun = Instant::now();
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// F52.
#[tokio::test]
async fn a_response_that_nobody_reads_does_not_keep_the_pool_beyond_its_timeout() {
    let mut pool = Pool::start(Options::app().with("--shutdown-timeout", "500ms")).await;
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("GET /produce?bytes=1073741824 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    let begun = Instant::now();
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(1));
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
}

/// F53: those that a reload has not come to yet are told what is true by then.
#[tokio::test]
async fn terminate_does_not_wait_for_the_closes_that_a_reload_spreads() {
    let options = Options::app().workers(2).with("--close-spread", "60s");
    let mut pool = Pool::start(options.with("--io-threads", "2")).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(WebSocket::connect(pool.address(), "/ws").await);
    }
    pool.sighup();
    pool.wait_until_ready(2, 2).await;
    let begun = Instant::now();
    pool.sigterm();
    let mut codes = Vec::new();
    for socket in &mut sockets {
        match socket.next().await {
            Message::Close(Some(frame)) => codes.push(u16::from(frame.code)),
            other => panic!("not a close: {other:?}"),
        }
        socket.expect_end().await;
    }
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(codes.iter().all(|code| matches!(code, 1001 | 1012)), "{codes:?}");
    let told = codes.iter().filter(|code| **code == 1001).count();
    assert!(told >= 15, "of 20 only {told} were closed 1001");
    until("all close events", || pool.events("close").len() == 20).await;
}

/// F52 and H60: a client that reads nothing never sees its close frame.
#[tokio::test]
async fn a_client_that_floods_and_never_reads_does_not_keep_the_pool() {
    let mut pool = Pool::start(Options::app()).await;
    let flood = Flood::start(pool.address(), "/ws/echo").await;
    flood.wait_until_stuck().await;
    let begun = Instant::now();
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    pool.wait_for_event("its close event", |event| event["event"] == "close").await;
}

/// F52: what has been answered was answered well, until the listeners close.
#[tokio::test]
async fn a_pool_under_load_on_every_io_thread_ends_with_success() {
    let mut pool = Pool::start(Options::app().workers(2).with("--io-threads", "2")).await;
    let answers = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for number in 0..24 {
        let mut client = WebSocket::connect(pool.address(), "/ws/echo").await;
        let echoed = answers.clone();
        clients.push(tokio::spawn(async move {
            while echo_or_close(&mut client).await {
                echoed.fetch_add(1, Ordering::Relaxed);
            }
        }));
        clients.push(ask_until_refused(pool.address(), number % 2 == 0, answers.clone()));
    }
    until("a load", || answers.load(Ordering::Relaxed) > 1000).await;
    let begun = Instant::now();
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    for client in clients {
        client.await.unwrap();
    }
    until("all close events", || pool.events("close").len() == 24).await;
    let closes = pool.events("close");
    assert!(closes.iter().all(|event| event["code"] == 1001), "{closes:?}");
}

/// Whether the message came back; else the pool has closed the connection as it says it does.
async fn echo_or_close(socket: &mut WebSocket) -> bool {
    socket.send("a message").await;
    match socket.next().await {
        Message::Text(text) => {
            assert_eq!(text.as_str(), "a message");
            true
        }
        Message::Close(Some(frame)) => {
            assert_eq!(u16::from(frame.code), 1001, "{frame}");
            socket.expect_end().await;
            false
        }
        other => panic!("neither an echo nor a close: {other:?}"),
    }
}

/// A request that meets a closing connection fails; every answer that comes is a good one.
fn ask_until_refused(address: SocketAddr, kept: bool, answers: Arc<AtomicUsize>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok(mut http) = Http::try_connect(address).await {
            loop {
                let Ok(answer) = http.send(request(Method::POST, "/count", "12345")).await else {
                    break;
                };
                assert_eq!((answer.status.as_u16(), answer.text()), (200, "5"));
                answers.fetch_add(1, Ordering::Relaxed);
                if !kept || http.is_closed() {
                    break;
                }
            }
        }
    })
}
