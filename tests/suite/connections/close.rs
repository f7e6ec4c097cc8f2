//! How connections end, and what their close event says.

use std::time::{Duration, Instant};

use serde_json::Value;
use shovel_tests::{Pool, Raw, WebSocket, get, masked_frame};

async fn id_of(socket: &mut WebSocket) -> String {
    socket.send("info").await;
    socket.next_json().await["id"].as_str().unwrap().to_owned()
}

/// Waits until another connection has closed, then counts: what came before it has been told.
async fn close_events_of(pool: &Pool, id: &str) -> usize {
    let mut last = WebSocket::connect(pool.address(), "/ws").await;
    let last_id = id_of(&mut last).await;
    last.close(1000, "").await;
    pool.wait_for_close_event(&last_id).await;
    pool.events("close").iter().filter(|event| event["id"] == id).count()
}

in_both_modes!(a_clients_close_comes_once_with_its_code_after_its_messages);
/// B17.
async fn a_clients_close_comes_once_with_its_code_after_its_messages(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    let id = id_of(&mut socket).await;
    socket.send("gate busy").await;
    socket.send("one").await;
    socket.send("two").await;
    pool.wait_at_gate("busy").await;
    socket.start_close(4321, "done here").await;
    pool.open_gate("busy");
    let event = pool.wait_for_close_event(&id).await;
    assert_eq!((&event["code"], &event["reason"]), (&4321.into(), &"done here".into()));
    assert_eq!(event["was_clean"], true);
    assert_eq!(event["handled"], 4, "all messages before the close");
    assert_eq!(close_events_of(&pool, &id).await, 1);
}

in_both_modes!(a_close_without_a_code_is_told_as_1005);
/// B17.
async fn a_close_without_a_code_is_told_as_1005(pool: Pool) {
    let mut raw = Raw::websocket(pool.address(), "/ws").await;
    raw.write_frame(8, b"").await;
    assert_eq!(raw.frame().await.opcode, 8);
    let event = pool.wait_for_event("the close event", |event| event["event"] == "close").await;
    assert_eq!((&event["code"], &event["was_clean"]), (&1005.into(), &true.into()));
}

in_both_modes!(a_close_frame_is_answered_though_the_client_ends_right_behind_it);
/// B17.
async fn a_close_frame_is_answered_though_the_client_ends_right_behind_it(pool: Pool) {
    // Once could be luck.
    for _ in 0..10 {
        for (frame, code) in [(masked_frame(0x88, &[0x03, 0xe8]), 1000), (vec![0x81, 0], 1002)] {
            let mut raw = Raw::websocket(pool.address(), "/ws").await;
            raw.write(frame).await;
            raw.end().await;
            assert_eq!(raw.frame().await.close_code(), code);
            assert_eq!(raw.rest().await, b"");
        }
    }
}

in_both_modes!(a_client_that_vanishes_is_told_as_1006);
/// B17.
async fn a_client_that_vanishes_is_told_as_1006(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    let id = id_of(&mut socket).await;
    drop(socket);
    let event = pool.wait_for_close_event(&id).await;
    assert_eq!((&event["code"], &event["was_clean"]), (&1006.into(), &false.into()));
    assert_eq!(close_events_of(&pool, &id).await, 1);
}

in_both_modes!(messages_after_the_apps_own_close_are_dropped);
/// B17.
async fn messages_after_the_apps_own_close_are_dropped(pool: Pool) {
    let mut raw = Raw::websocket(pool.address(), "/ws").await;
    raw.write_frame(1, b"gate before").await;
    raw.write_frame(1, b"close 4001 enough").await;
    raw.write_frame(1, b"dropped one").await;
    raw.write_frame(1, b"dropped two").await;
    pool.wait_at_gate("before").await;
    pool.open_gate("before");
    assert_eq!(raw.frame().await.payload, b"passed before");
    assert_eq!(raw.frame().await.close_code(), 4001);
    raw.write_frame(8, &4001_u16.to_be_bytes()).await;
    assert_eq!(raw.rest().await, b"", "nothing after the close");
    let event = pool.wait_for_event("the close event", |event| event["event"] == "close").await;
    assert_eq!((&event["code"], &event["handled"]), (&4001.into(), &2.into()));
    let late = pool.wait_for_event("the late send", |event| event["event"] == "sent late").await;
    assert_eq!(late["result"], "Err(Closed)");
}

in_both_modes!(both_closing_at_once_is_one_close_event);
/// B17.
async fn both_closing_at_once_is_one_close_event(pool: Pool) {
    for _ in 0..20 {
        let mut raw = Raw::websocket(pool.address(), "/ws").await;
        raw.write_frame(1, b"info").await;
        let info = raw.frame().await.payload;
        let info = serde_json::from_slice::<Value>(&info).unwrap();
        raw.write_frame(1, b"close 4001 app").await;
        raw.write_frame(8, &4002_u16.to_be_bytes()).await;
        let code = raw.frame().await.close_code();
        assert!(code == 4001 || code == 4002, "{code}");
        raw.rest().await;
        let id = info["id"].as_str().unwrap();
        pool.wait_for_close_event(id).await;
        assert_eq!(close_events_of(&pool, id).await, 1);
    }
}

in_both_modes!(closing_twice_keeps_the_first_code);
/// B17.
async fn closing_twice_keeps_the_first_code(pool: Pool) {
    let path = "/ws?upgrade&close=4001+first&close=4002+second";
    let mut socket = WebSocket::connect(pool.address(), path).await;
    socket.expect_close(4001, "first").await;
    let event = pool.wait_for_event("the close event", |event| event["event"] == "close").await;
    assert_eq!((&event["code"], &event["reason"]), (&4001.into(), &"first".into()));
}

in_both_modes!(in_its_close_event_a_connection_is_inert_but_may_publish_to_others);
/// B18 and C27.
async fn in_its_close_event_a_connection_is_inert_but_may_publish_to_others(pool: Pool) {
    let mut other = WebSocket::connect(pool.address(), "/ws?subscribe=room").await;
    let path = "/ws?subscribe=room&farewell=room";
    let mut leaving = WebSocket::connect(pool.address(), path).await;
    let id = id_of(&mut leaving).await;
    leaving.close(1000, "").await;
    other.expect_text(&format!("{id} left")).await;
    let event = pool.wait_for_close_event(&id).await;
    assert_eq!(event["inert"], serde_json::json!(["Err(Closed)", "Ok(())", "Ok(())"]));
    let published = get(pool.address(), "/publish?channel=room&text=x").await.json();
    assert_eq!(published["delivered"], 1, "only the other is left");
}

in_both_modes!(a_workers_close_reaches_the_client_and_comes_back_as_the_close_event);
/// B19.
async fn a_workers_close_reaches_the_client_and_comes_back_as_the_close_event(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    let id = id_of(&mut socket).await;
    socket.send("close 4001 bye").await;
    socket.expect_close(4001, "bye").await;
    let event = pool.wait_for_close_event(&id).await;
    assert_eq!((&event["code"], &event["was_clean"]), (&4001.into(), &true.into()));
}

in_both_modes!(a_client_that_does_not_answer_a_close_is_cut_off_after_a_second);
/// B19.
async fn a_client_that_does_not_answer_a_close_is_cut_off_after_a_second(pool: Pool) {
    let mut raw = Raw::websocket(pool.address(), "/ws").await;
    raw.write_frame(1, b"close 4001 bye").await;
    assert_eq!(raw.frame().await.close_code(), 4001);
    let begun = Instant::now();
    raw.rest().await;
    let event = pool.wait_for_event("the close event", |event| event["event"] == "close").await;
    assert_eq!(event["was_clean"], false);
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(500) && took < Duration::from_secs(8), "{took:?}");
}

in_both_modes!(a_close_that_may_not_be_sent_is_an_error_for_the_app);
/// B20.
async fn a_close_that_may_not_be_sent_is_an_error_for_the_app(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    for code in [0, 999, 1004, 1005, 1006, 1015, 5000] {
        let answer = socket.ask(&format!("close {code} why")).await;
        assert!(answer.starts_with("refused: ") && answer.contains(&code.to_string()), "{answer}");
    }
    let answer = socket.ask(&format!("close 4000 {}", "r".repeat(124))).await;
    assert!(answer.starts_with("refused: "), "{answer}");
    assert_eq!(socket.ask("still open").await, "echo still");
    let longest = "r".repeat(123);
    socket.send(format!("close 4000 {longest}")).await;
    socket.expect_close(4000, &longest).await;
}
