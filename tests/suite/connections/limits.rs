//! Pings, limits and clients that break the protocol.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use shovel_tests::{Options, Pool, Raw, WebSocket, resident_bytes, signal};
use tokio_tungstenite::tungstenite::Message;

/// B21.
#[tokio::test]
async fn a_ping_is_answered_though_the_worker_stands_still() {
    let pool = Pool::start(Options::app()).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws/echo").await;
    let pid = pool.workers()[0].pid;
    signal(pid, Signal::SIGSTOP);
    socket.send_message(Message::Ping("are you there".into())).await;
    let pong = socket.next().await;
    signal(pid, Signal::SIGCONT);
    assert_eq!(pong, Message::Pong("are you there".into()));
    assert_eq!(socket.ask("and you").await, "and you");
}

in_both_modes!(a_ping_is_answered_though_the_handler_is_busy);
/// B21.
async fn a_ping_is_answered_though_the_handler_is_busy(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.send("gate busy").await;
    pool.wait_at_gate("busy").await;
    socket.send_message(Message::Ping("are you there".into())).await;
    assert_eq!(socket.next().await, Message::Pong("are you there".into()));
    pool.open_gate("busy");
    socket.expect_text("passed busy").await;
}

in_both_modes!(
    a_client_that_answers_no_pings_is_closed_with_1006_toward_the_app,
    Options::app().with("--ping-interval", "100ms").with("--pong-timeout", "200ms")
);
/// B21.
async fn a_client_that_answers_no_pings_is_closed_with_1006_toward_the_app(pool: Pool) {
    let mut raw = Raw::websocket(pool.address(), "/ws").await;
    let begun = Instant::now();
    assert_eq!(raw.frame().await.opcode, 9);
    let event = pool.wait_for_event("the close event", |event| event["event"] == "close").await;
    assert_eq!((&event["code"], &event["was_clean"]), (&1006.into(), &false.into()));
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
}

in_both_modes!(
    a_client_that_answers_pings_stays_open,
    Options::app().with("--ping-interval", "50ms").with("--pong-timeout", "2s")
);
/// B21.
async fn a_client_that_answers_pings_stays_open(pool: Pool) {
    let mut raw = Raw::websocket(pool.address(), "/ws/echo").await;
    for _ in 0..5 {
        let ping = raw.frame().await;
        assert_eq!(ping.opcode, 9);
        raw.write_frame(10, &ping.payload).await;
    }
    raw.write_frame(1, b"still here").await;
    loop {
        let frame = raw.frame().await;
        if frame.opcode == 1 {
            break assert_eq!(frame.payload, b"still here");
        }
    }
}

in_both_modes!(
    a_message_over_the_limit_is_closed_with_1009_in_one_frame_or_in_many,
    Options::app().with("--max-message-size", "64KiB")
);
/// B22.
async fn a_message_over_the_limit_is_closed_with_1009_in_one_frame_or_in_many(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws/echo").await;
    let longest = "x".repeat(64 << 10);
    socket.send(longest.clone()).await;
    assert!(socket.next_text().await == longest);

    let mut raw = Raw::websocket(pool.address(), "/ws/echo").await;
    raw.write_frame(1, &[b'x'; (64 << 10) + 1]).await;
    assert_eq!(raw.frame().await.close_code(), 1009);

    let mut raw = Raw::websocket(pool.address(), "/ws/echo").await;
    raw.write_fragment(1, &[b'x'; 40 << 10]).await;
    raw.write_fragment(0, &[b'x'; 40 << 10]).await;
    assert_eq!(raw.frame().await.close_code(), 1009);
}

in_both_modes!(a_length_over_the_limit_is_refused_before_its_bytes_arrive);
/// B22.
async fn a_length_over_the_limit_is_refused_before_its_bytes_arrive(pool: Pool) {
    let before = resident_bytes(pool.pid());
    for _ in 0..50 {
        let mut raw = Raw::websocket(pool.address(), "/ws/echo").await;
        // A header that announces 1 GiB (RFC 6455 §5.2), and nothing behind it.
        raw.write([0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]).await;
        assert_eq!(raw.frame().await.close_code(), 1009);
    }
    let grown = resident_bytes(pool.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
}

in_both_modes!(text_that_is_not_utf8_is_closed_with_1007);
/// B22.
async fn text_that_is_not_utf8_is_closed_with_1007(pool: Pool) {
    let mut raw = Raw::websocket(pool.address(), "/ws/echo").await;
    raw.write_frame(1, b"good until \xff here").await;
    assert_eq!(raw.frame().await.close_code(), 1007);
    // Cut within a character, which goes on wrongly in the next frame.
    let mut raw = Raw::websocket(pool.address(), "/ws/echo").await;
    raw.write_fragment(1, b"\xc3").await;
    raw.write_frame(0, b"(").await;
    assert_eq!(raw.frame().await.close_code(), 1007);
}

in_both_modes!(a_client_that_breaks_the_protocol_is_closed_with_1002);
/// B22.
async fn a_client_that_breaks_the_protocol_is_closed_with_1002(pool: Pool) {
    let breaches: [(&str, &[u8]); 5] = [
        ("not masked (RFC 6455 §5.1)", b"\x81\x02hi"),
        ("a reserved bit (§5.2)", b"\xc1\x80\0\0\0\0"),
        ("an unknown opcode (§5.2)", b"\x83\x80\0\0\0\0"),
        ("a control frame in fragments (§5.4)", b"\x09\x80\0\0\0\0"),
        ("a continuation of nothing (§5.4)", b"\x80\x80\0\0\0\0"),
    ];
    for (breach, bytes) in breaches {
        let mut raw = Raw::websocket(pool.address(), "/ws/echo").await;
        raw.write(bytes).await;
        assert_eq!(raw.frame().await.close_code(), 1002, "{breach}");
        raw.rest().await;
    }
}

in_both_modes!(fragments_are_one_message_and_control_frames_may_come_between);
/// B22.
async fn fragments_are_one_message_and_control_frames_may_come_between(pool: Pool) {
    let mut raw = Raw::websocket(pool.address(), "/ws/echo").await;
    raw.write_fragment(1, b"one ").await;
    raw.write_frame(9, b"between").await;
    raw.write_fragment(0, b"two ").await;
    raw.write_frame(0, b"three").await;
    let pong = raw.frame().await;
    assert_eq!((pong.opcode, pong.payload.as_slice()), (10, &b"between"[..]));
    let text = raw.frame().await;
    assert_eq!((text.opcode, text.payload.as_slice()), (1, &b"one two three"[..]));
}
