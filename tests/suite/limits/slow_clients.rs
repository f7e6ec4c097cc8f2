//! H60: clients that do not read.

use std::time::Duration;

use serde_json::Value;
use shovel_tests::{Pool, Raw, WebSocket, post};

/// Far more than the kernel takes for one socket.
const MESSAGES: usize = 1000;
const MESSAGE_BYTES: usize = 64 << 10;

in_both_modes!(
    a_send_waits_for_a_client_that_does_not_read_and_loses_nothing,
    Options::app().with("--outbox-limit", "64KiB")
);
/// H60.
async fn a_send_waits_for_a_client_that_does_not_read_and_loses_nothing(pool: Pool) {
    let mut slow = Raw::websocket(pool.address(), "/ws").await;
    let mut other = WebSocket::connect(pool.address(), "/ws").await;
    let before = pool.resident_bytes();
    slow.write_frame(1, format!("flood {MESSAGES}").as_bytes()).await;
    pool.wait_for_event("the flood", |event| event["event"] == "flooding").await;
    // Others are served meanwhile, each time in a turn in which the flood could go on.
    for _ in 0..500 {
        assert_eq!(other.ask("next").await, "echo next");
    }
    assert_eq!(pool.events("flooded"), Vec::<Value>::new(), "62 MiB went nowhere");
    let after = pool.resident_bytes();
    assert!(after.saturating_sub(before) < 16 << 20, "{} bytes", after - before);
    for _ in 0..MESSAGES {
        let frame = slow.frame().await;
        assert_eq!((frame.opcode, frame.payload.len()), (1, MESSAGE_BYTES));
    }
    pool.wait_for_event("the end of the flood", |event| event["event"] == "flooded").await;
    slow.write_frame(1, b"after").await;
    assert_eq!(slow.frame().await.payload, b"echo after");
}

in_both_modes!(
    a_subscriber_that_does_not_read_is_closed_1008_and_delays_nobody,
    Options::app().workers(2).with("--outbox-limit", "64KiB")
);
/// H60.
async fn a_subscriber_that_does_not_read_is_closed_1008_and_delays_nobody(pool: Pool) {
    let mut slow = Raw::websocket(pool.address(), "/ws?subscribe=news").await;
    let mut quick = WebSocket::connect(pool.address(), "/ws?subscribe=news").await;
    let mut closed = 0;
    let mut published = 0;
    let part = "x".repeat(MESSAGE_BYTES);
    while closed == 0 {
        let answer = post(pool.address(), "/publish-body?channel=news", part.clone()).await.json();
        assert_eq!(answer["dropped"], 0);
        assert!(answer["delivered"].as_u64().unwrap() >= 1, "{answer}");
        closed = answer["closed"].as_u64().unwrap();
        published += 1;
        assert!(published < MESSAGES, "the slow one was never closed");
        assert_eq!(quick.next_text().await.len(), MESSAGE_BYTES);
    }
    let event = pool.wait_for_event("the close event", |event| event["event"] == "close").await;
    assert_eq!(event["code"], 1008);
    let after = post(pool.address(), "/publish-body?channel=news", "last").await.json();
    assert_eq!((&after["delivered"], &after["closed"]), (&1.into(), &0.into()));
    quick.expect_text("last").await;
    // What it had been sent before may still be read; then comes the end.
    let rest = tokio::time::timeout(Duration::from_secs(20), slow.rest()).await.unwrap();
    assert!(rest.len() < published * (MESSAGE_BYTES + 14));
}

in_both_modes!(a_client_whose_handler_is_busy_is_read_no_further_than_its_window);
/// H61.
async fn a_client_whose_handler_is_busy_is_read_no_further_than_its_window(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    let before = pool.resident_bytes();
    socket.send("gate busy").await;
    pool.wait_at_gate("busy").await;
    let text = format!("x {}", "y".repeat(MESSAGE_BYTES));
    let mut sent = 0;
    // A write that the kernel does not take for this long is one that nobody reads.
    while tokio::time::timeout(Duration::from_millis(500), socket.feed(text.as_str().into()))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < MESSAGES, "62 MiB were read ahead");
    }
    let after = pool.resident_bytes();
    assert!(after.saturating_sub(before) < 16 << 20, "{} bytes", after - before);
    pool.open_gate("busy");
    // Pushes out what the last write left behind.
    socket.send("end").await;
    socket.expect_text("passed busy").await;
    for _ in 0..sent {
        socket.expect_text("echo x").await;
    }
    socket.expect_text("echo end").await;
}

/// A message of 64 KiB that begins with its number.
fn numbered(number: usize) -> String {
    format!("{number} {}", "x".repeat(MESSAGE_BYTES))
}

async fn publish_numbered(pool: &Pool, number: usize) -> [u64; 3] {
    let path = "/publish-body?channel=news";
    let answer = post(pool.address(), path, numbered(number)).await.json();
    ["delivered", "dropped", "closed"].map(|what| answer[what].as_u64().unwrap())
}

async fn next_number(socket: &mut Raw) -> usize {
    let text = String::from_utf8(socket.frame().await.payload).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

in_both_modes!(
    the_newest_messages_are_dropped_for_a_subscriber_that_does_not_read,
    Options::app().with("--outbox-limit", "256KiB").with("--slow-consumer", "drop-newest")
);
/// H115.
async fn the_newest_messages_are_dropped_for_a_subscriber_that_does_not_read(pool: Pool) {
    let mut slow = Raw::websocket(pool.address(), "/ws?subscribe=news").await;
    let mut quick = WebSocket::connect(pool.address(), "/ws?subscribe=news").await;
    let mut published = 0;
    loop {
        let answer = publish_numbered(&pool, published).await;
        assert_eq!(quick.next_text().await, numbered(published));
        if answer == [1, 1, 0] {
            break;
        }
        assert_eq!(answer, [2, 0, 0]);
        published += 1;
        assert!(published < MESSAGES, "nothing was ever dropped");
    }
    for number in 0..published {
        assert_eq!(next_number(&mut slow).await, number);
    }
    // It has all by now, and gets what comes.
    loop {
        published += 1;
        if publish_numbered(&pool, published).await == [2, 0, 0] {
            break;
        }
    }
    assert_eq!(next_number(&mut slow).await, published);
}

in_both_modes!(
    the_oldest_messages_are_dropped_for_a_subscriber_that_does_not_read,
    Options::app().with("--outbox-limit", "256KiB").with("--slow-consumer", "drop-oldest")
);
/// H115.
async fn the_oldest_messages_are_dropped_for_a_subscriber_that_does_not_read(pool: Pool) {
    const PUBLISHED: usize = 200;
    let mut slow = Raw::websocket(pool.address(), "/ws?subscribe=news").await;
    let before = pool.resident_bytes();
    for number in 0..PUBLISHED {
        assert_eq!(publish_numbered(&pool, number).await, [1, 0, 0]);
    }
    let after = pool.resident_bytes();
    assert!(after.saturating_sub(before) < 8 << 20, "{} bytes", after - before);
    let mut seen = vec![next_number(&mut slow).await];
    while seen.last() != Some(&(PUBLISHED - 1)) {
        seen.push(next_number(&mut slow).await);
    }
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    assert_eq!(seen[0], 0, "what was on its way was dropped");
    assert!(seen.len() < PUBLISHED, "nothing was dropped");
}
