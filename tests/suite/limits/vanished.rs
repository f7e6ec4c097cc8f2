//! H220: clients that have gone while they were not read, for whatever reason.

use std::time::Duration;

use shovel_tests::{Options, Raw, masked_frame};

use crate::harness::watched::{Metrics, Watched};

/// No timeout tells of it.
fn patient(options: Options, ping_interval: &str) -> Options {
    let options = options.workers(1).with("--ping-interval", ping_interval);
    options.with("--request-timeout", "10m").with("--read-timeout", "10m")
}

async fn until_it_is_noticed(watched: &Watched) {
    watched.until("no client", |metrics| metrics.of("shovel_clients") == 0.0).await;
}

/// Sends the same until the pool reads no more.
async fn fill(client: &mut Raw, bytes: &[u8]) {
    let stuck = Duration::from_millis(300);
    while tokio::time::timeout(stuck, client.write(bytes)).await.is_ok() {}
}

/// A WebSocket whose handler does not end, and which has sent more than is read meanwhile.
async fn held_back(watched: &Watched, path: &str) -> Raw {
    let mut client = Raw::websocket(watched.pool.address(), path).await;
    client.write_frame(1, b"gate never").await;
    watched.pool.wait_at_gate("never").await;
    fill(&mut client, &masked_frame(0x81, &[b'x'; 4096])).await;
    client
}

/// H220.
#[tokio::test]
async fn a_websocket_client_that_was_reset_is_noticed_while_its_messages_wait_unread() {
    for (options, path) in [(Options::app(), "/ws"), (Options::portable(), "/ws/portable")] {
        let watched = Watched::start(patient(options, "10m")).await;
        held_back(&watched, path).await.reset();
        until_it_is_noticed(&watched).await;
    }
}

/// H220: its end stands behind what the pool does not read, so it does not come.
#[tokio::test]
async fn a_websocket_client_that_was_closed_is_noticed_by_a_later_ping() {
    let watched = Watched::start(patient(Options::app(), "500ms")).await;
    let mut client = held_back(&watched, "/ws").await;
    assert_eq!(client.frame().await.opcode, 9);
    drop(client);
    until_it_is_noticed(&watched).await;
}

/// H220.
#[tokio::test]
async fn a_client_of_http_that_was_reset_is_noticed_while_nobody_takes_its_body() {
    let watched = Watched::start(patient(Options::app(), "10m")).await;
    let mut client = Raw::connect(watched.pool.address()).await;
    let head = "POST /gated?gate=never HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
    client.write(head).await;
    fill(&mut client, &[b'x'; 4096]).await;
    client.reset();
    until_it_is_noticed(&watched).await;
}

/// H220.
#[tokio::test]
async fn what_a_client_has_sent_before_its_end_is_handled_although_it_waited_unread() {
    let watched = Watched::start(patient(Options::app(), "10m")).await;
    let mut client = Raw::websocket(watched.pool.address(), "/ws").await;
    client.write_frame(1, b"gate open").await;
    watched.pool.wait_at_gate("open").await;
    // As much as is read while a handler runs, and a little that waits in the kernel.
    for bytes in [64 << 10; 4].into_iter().chain([1; 6]) {
        client.write_frame(1, &vec![b'x'; bytes]).await;
    }
    client.end().await;
    // It is asked whether it is still there.
    assert_eq!(client.frame().await.opcode, 9);
    watched.pool.open_gate("open");
    let received = |metrics: &Metrics| metrics.of("shovel_messages_received_total");
    watched.until("all messages", |metrics| received(metrics) == 11.0).await;
    watched.until("its end", |metrics| metrics.of("shovel_clients") == 0.0).await;
}
