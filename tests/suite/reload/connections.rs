//! F49: WebSockets in a reload, under load and with clients that do not help.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shovel_tests::{Deploy, Options, Pool, Raw, WebSocket, until};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::flood::Flood;
use crate::harness::load::Load;

/// F49: each connection is closed 1012, not otherwise, and its close event says so once.
#[tokio::test]
async fn in_two_reloads_under_load_every_connection_and_every_close_event_is_told_1012() {
    const CLIENTS: usize = 40;
    let deploy = Deploy::of("first");
    let options = Options::deployed(&deploy).workers(2).with("--io-threads", "2");
    let pool = Pool::start(options.with("--close-spread", "500ms")).await;
    let load = Load::start(pool.address(), 10, "third");
    let opened = Arc::new(AtomicUsize::new(0));
    let clients = (0..CLIENTS).map(|_| tokio::spawn(outlive_two(pool.address(), opened.clone())));
    let clients = clients.collect::<Vec<_>>();
    for (generation, label) in [(2, "second"), (3, "third")] {
        let all = CLIENTS * (generation - 1);
        until("all connections", || opened.load(Ordering::Relaxed) == all).await;
        load.wait_for_answers(100).await;
        deploy.app(label);
        pool.reload(generation as u64).await;
    }
    load.finish().await;
    let mut ids = Vec::new();
    for client in clients {
        ids.extend(client.await.unwrap());
    }
    until("all close events", || pool.events("close").len() >= ids.len()).await;
    let events = pool.events("close");
    assert_eq!(events.len(), ids.len());
    for id in ids {
        let told = events.iter().filter(|event| event["id"] == *id).collect::<Vec<_>>();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((&told[0]["code"], &told[0]["was_clean"]), (&1012.into(), &true.into()));
    }
}

/// Echoes on one connection until it is closed 1012, and again on a second; returns their ids.
async fn outlive_two(address: SocketAddr, opened: Arc<AtomicUsize>) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut socket = WebSocket::connect(address, "/ws").await;
        socket.send("info").await;
        ids.push(socket.next_json().await["id"].as_str().unwrap().to_owned());
        opened.fetch_add(1, Ordering::Relaxed);
        loop {
            socket.send("again").await;
            match socket.next().await {
                Message::Text(text) => assert_eq!(text.as_str(), "echo again"),
                Message::Close(Some(frame)) => {
                    assert_eq!(u16::from(frame.code), 1012, "{frame}");
                    break;
                }
                other => panic!("neither an echo nor a close: {other:?}"),
            }
        }
        socket.expect_end().await;
    }
    ids
}

/// F49 and B21: while its handler is busy the client is not read, so its pongs cannot be seen.
#[tokio::test]
async fn a_connection_whose_handler_outlasts_the_pong_timeout_in_a_reload_is_closed_1012() {
    let options = Options::app().with("--close-spread", "0ms");
    let options = options.with("--ping-interval", "200ms").with("--pong-timeout", "200ms");
    let pool = Pool::start(options).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.send("gate busy").await;
    let id = pool.wait_at_gate("busy").await["connection"].as_str().unwrap().to_owned();
    pool.sighup();
    pool.wait_until_ready(2, 1).await;
    let living = tokio::spawn(async move {
        // Pings are answered as long as this waits for messages.
        socket.expect_text("passed busy").await;
        socket.expect_close(1012, "server reloading").await;
    });
    for _ in 0..3 {
        // Ends when a whole interval and a whole timeout are over: this one answers no ping.
        Raw::websocket(pool.address(), "/ws").await.rest().await;
    }
    pool.open_gate("busy");
    living.await.unwrap();
    let event = pool.wait_for_close_event(&id).await;
    assert_eq!((&event["code"], &event["was_clean"]), (&1012.into(), &true.into()));
}

/// F49 and H60: a client that reads nothing never sees its close frame.
#[tokio::test]
async fn a_client_that_floods_and_never_reads_does_not_hold_up_a_reload() {
    let options = Options::app().with("--close-spread", "0ms");
    let pool = Pool::start(options).await;
    let flood = Flood::start(pool.address(), "/ws/echo").await;
    flood.wait_until_stuck().await;
    let begun = Instant::now();
    pool.reload(2).await;
    // Far less than `--drain-timeout`.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    flood.wait_until_ended().await;
    pool.wait_for_event("its close event", |event| event["event"] == "close").await;
}
