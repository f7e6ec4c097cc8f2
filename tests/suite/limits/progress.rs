//! B21, F49, F52 and H110 to H113: clients that are slow and go on, and such that do not go on.

use std::time::Duration;

use nix::sys::signal::Signal;
use shovel_tests::{Line, Options, Pool, Raw, WebSocket, signal};

use crate::harness::flood::Flood;
use crate::harness::slow::Slow;

/// Messages of 64 KiB, far more than the kernel takes for one socket.
const FLOOD: usize = 150;
const FLOOD_BYTES: usize = 64 << 10;

in_both_modes!(
    a_slow_client_that_reads_on_is_not_taken_for_dead,
    Options::app()
        .with("--outbox-limit", "64KiB")
        .with("--ping-interval", "100ms")
        .with("--pong-timeout", "800ms")
);
/// H110: a ping waits behind megabytes for longer than `--pong-timeout`.
async fn a_slow_client_that_reads_on_is_not_taken_for_dead(pool: Pool) {
    let mut slow = Slow::connect(&pool, "/ws").await;
    slow.send(&format!("flood {FLOOD}")).await;
    for _ in 0..FLOOD {
        let frame = slow.frame().await;
        assert_eq!((frame.opcode, frame.payload.len()), (1, FLOOD_BYTES));
    }
    slow.send("after").await;
    assert_eq!(slow.frame().await.payload, b"echo after");
}

in_both_modes!(a_close_frame_waits_for_a_slow_client_that_reads_on);
/// B19 and H111.
async fn a_close_frame_waits_for_a_slow_client_that_reads_on(pool: Pool) {
    const BYTES: usize = 8 << 20;
    let mut slow = Slow::connect(&pool, "/ws").await;
    slow.send(&format!("farewell {BYTES} 4000")).await;
    assert_eq!(slow.frame().await.payload.len(), BYTES);
    let close = slow.frame().await;
    assert_eq!(close.close_code(), 4000);
    slow.0.write_frame(8, &close.payload).await;
    let event = pool.wait_for_event("the close event", |event| event["event"] == "close").await;
    assert_eq!((&event["code"], &event["was_clean"]), (&4000.into(), &true.into()));
}

/// A slow client that has asked for more than it can be sent at once.
async fn flooded(pool: &Pool) -> Slow {
    let mut slow = Slow::connect(pool, "/ws").await;
    slow.send(&format!("flood {FLOOD}")).await;
    pool.wait_for_event("the flood", |event| event["event"] == "flooding").await;
    assert_eq!(slow.frame().await.payload.len(), FLOOD_BYTES);
    slow
}

/// It gets all that its handler sends, and then the close frame.
async fn ends_with_all_and(mut slow: Slow, code: u16) {
    for _ in 1..FLOOD {
        let frame = slow.frame().await;
        assert_eq!((frame.opcode, frame.payload.len()), (1, FLOOD_BYTES));
    }
    let close = slow.frame().await;
    assert_eq!(close.close_code(), code);
    slow.0.write_frame(8, &close.payload).await;
    slow.0.rest().await;
}

/// F49 and H111.
#[tokio::test]
async fn a_reload_waits_for_a_slow_client_that_reads_on() {
    let pool = Pool::start(Options::app().with("--outbox-limit", "64KiB")).await;
    let slow = flooded(&pool).await;
    pool.sighup();
    ends_with_all_and(slow, 1012).await;
    pool.wait_for_reload(2).await;
}

/// F52 and H111.
#[tokio::test]
async fn the_end_waits_for_a_slow_client_that_reads_on() {
    let mut pool = Pool::start(Options::app().with("--outbox-limit", "64KiB")).await;
    let slow = flooded(&pool).await;
    pool.sigterm();
    ends_with_all_and(slow, 1001).await;
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
}

in_both_modes!(
    a_client_that_reads_nothing_is_closed_and_one_whose_handler_is_busy_is_not,
    Options::app().flag("--access-log").with("--write-timeout", "400ms")
);
/// H112: nobody asks those that are not read for pongs.
async fn a_client_that_reads_nothing_is_closed_and_one_whose_handler_is_busy_is_not(pool: Pool) {
    let mut busy = WebSocket::connect(pool.address(), "/ws").await;
    busy.send("gate busy").await;
    pool.wait_at_gate("busy").await;
    let flood = Flood::start(pool.address(), "/ws/echo").await;
    flood.wait_until_ended().await;
    let is_it = |line: &Line| line.raw.contains("client took nothing of what waited for it");
    pool.wait_for("why the flood has ended", is_it).await;
    pool.open_gate("busy");
    busy.expect_text("passed busy").await;
}

in_both_modes!(
    a_message_that_does_not_go_on_is_closed_1008_and_one_that_does_is_not,
    Options::app()
        .with("--read-timeout", "2s")
        .with("--ping-interval", "100ms")
        .with("--pong-timeout", "2s")
);
/// H113.
async fn a_message_that_does_not_go_on_is_closed_1008_and_one_that_does_is_not(pool: Pool) {
    let mut stopped = Raw::websocket(pool.address(), "/ws/echo").await;
    stopped.write_fragment(1, b"begun").await;
    let mut goes_on = Raw::websocket(pool.address(), "/ws/echo").await;
    goes_on.write_fragment(1, b"begun").await;
    // Pings show that a client lives, not that it means to end its message.
    let mut pings = 0;
    let close = loop {
        let frame = stopped.frame().await;
        if frame.opcode != 9 {
            break frame;
        }
        pings += 1;
        stopped.write_frame(10, &frame.payload).await;
        assert_eq!(goes_on.frame().await.opcode, 9);
        goes_on.write_frame(10, b"").await;
        goes_on.write_fragment(0, b".").await;
    };
    assert_eq!(close.close_code(), 1008);
    assert!(pings >= 2, "{pings}");
    goes_on.write_frame(0, b"!").await;
    let whole = loop {
        let frame = goes_on.frame().await;
        if frame.opcode != 9 {
            break frame;
        }
    };
    assert_eq!(whole.payload, format!("begun{}!", ".".repeat(pings)).into_bytes());
}

in_both_modes!(
    clients_that_have_answered_stay_open_though_the_pool_stood_still,
    Options::app().with("--ping-interval", "1s").with("--pong-timeout", "3s")
);
/// B21: what came while the pool was stopped is read before silence is judged.
async fn clients_that_have_answered_stay_open_though_the_pool_stood_still(pool: Pool) {
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Raw::websocket(pool.address(), "/ws/echo").await);
    }
    for client in &mut clients {
        assert_eq!(client.frame().await.opcode, 9);
    }
    signal(pool.pid(), Signal::SIGSTOP);
    for client in &mut clients {
        client.write_frame(10, b"").await;
    }
    // The time that is over is what is tested.
    tokio::time::sleep(Duration::from_secs(4)).await;
    signal(pool.pid(), Signal::SIGCONT);
    for client in &mut clients {
        client.write_frame(1, b"still here").await;
        let frame = loop {
            let frame = client.frame().await;
            if frame.opcode != 9 {
                break frame;
            }
            client.write_frame(10, &frame.payload).await;
        };
        assert_eq!(frame.payload, b"still here");
    }
}
