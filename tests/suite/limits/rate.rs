//! H184: how many messages a client may send in a second.

use std::time::{Duration, Instant};

use shovel_tests::{Options, Pool, Raw, WebSocket, masked_frame};

use crate::harness::watched::Watched;

in_both_modes!(
    a_client_that_sends_too_many_messages_is_held_back_and_loses_none,
    Options::app().with("--max-message-rate", "100")
);
/// H184.
async fn a_client_that_sends_too_many_messages_is_held_back_and_loses_none(pool: Pool) {
    let mut quick = Raw::websocket(pool.address(), "/ws").await;
    let mut other = WebSocket::connect(pool.address(), "/ws").await;
    let begun = Instant::now();
    for number in 0..250 {
        quick.write_frame(1, format!("number-{number}").as_bytes()).await;
    }
    quick.write_frame(9, b"are you there?").await;
    quick.write_frame(8, &1000u16.to_be_bytes()).await;
    let (mut number, mut pongs) = (0, 0);
    loop {
        let frame = quick.frame().await;
        match frame.opcode {
            1 => {
                assert_eq!(frame.payload, format!("echo number-{number}").as_bytes());
                number += 1;
            }
            10 => {
                assert_eq!(frame.payload, b"are you there?");
                pongs += 1;
            }
            _ => {
                assert_eq!((frame.close_code(), number, pongs), (1000, 250, 1));
                break;
            }
        }
        if number == 120 {
            assert_eq!(other.ask("next").await, "echo next");
        }
    }
    // The first hundred came at once.
    assert!(begun.elapsed() >= Duration::from_millis(1490), "{:?}", begun.elapsed());
}

/// H184 and I68.
#[tokio::test]
async fn how_often_clients_were_held_back_is_counted() {
    const HELD_BACK: &str = "shovel_clients_held_back_total";
    let watched = Watched::start(Options::app().with("--max-message-rate", "2/s")).await;
    let mut within = WebSocket::connect(watched.pool.address(), "/ws").await;
    for _ in 0..2 {
        assert_eq!(within.ask("hello").await, "echo hello");
    }
    assert_eq!(watched.metrics().await.of(HELD_BACK), 0.0);
    let mut quick = Raw::websocket(watched.pool.address(), "/ws").await;
    // They come at once, whatever the machine does.
    quick.write(masked_frame(0x81, b"x").repeat(4)).await;
    for _ in 0..4 {
        assert_eq!(quick.frame().await.payload, b"echo x");
    }
    let told = watched.metrics().await.of(HELD_BACK);
    // Once for each message beyond the first two, or once for both if the machine was slow.
    assert!((1.0..=2.0).contains(&told), "{told}");
}

in_both_modes!(
    a_client_above_its_rate_is_not_read_and_its_pings_ahead_of_that_are_answered,
    Options::app().with("--max-message-rate", "1/s").with("--max-message-size", "1KiB")
);
/// H184.
async fn a_client_above_its_rate_is_not_read_and_its_pings_ahead_of_that_are_answered(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    let before = pool.resident_bytes();
    let text = format!("x {}", "y".repeat(1000));
    let mut sent = 0;
    // A write that the kernel does not take for this long is one that nobody reads.
    let patience = Duration::from_millis(500);
    while tokio::time::timeout(patience, socket.feed(text.as_str().into())).await.is_ok() {
        sent += 1;
        assert!(sent < 64_000, "62 MiB were read ahead");
    }
    let after = pool.resident_bytes();
    assert!(after.saturating_sub(before) < 16 << 20, "{} bytes", after - before);
    let mut other = Raw::websocket(pool.address(), "/ws").await;
    for number in 0..3 {
        other.write_frame(9, format!("{number}").as_bytes()).await;
        assert_eq!(other.frame().await.payload, format!("{number}").as_bytes());
    }
    for _ in 0..2 {
        socket.expect_text("echo x").await;
    }
}
