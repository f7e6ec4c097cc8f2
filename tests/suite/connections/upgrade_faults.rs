//! Upgrades that fail, come late or are not what they say.

use std::time::{Duration, Instant};

use serde_json::Value;
use shovel_tests::{
    Options, Pool, Raw, WebSocket, get, is_alive, open_descriptors, post, until, upgrade_request,
};

/// Opens a connection, closes it and waits for its close event: what the worker did before has been
/// told by then.
async fn settle(pool: &Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.send("info").await;
    let id = socket.next_json().await["id"].as_str().unwrap().to_owned();
    socket.close(1000, "").await;
    pool.wait_for_close_event(&id).await;
}

fn closes_with(pool: &Pool, code: u16) -> usize {
    pool.events("close").iter().filter(|event| event["code"] == code).count()
}

in_both_modes!(a_handler_that_fails_after_upgrading_answers_its_error_and_nothing_was_accepted);
/// A8.
async fn a_handler_that_fails_after_upgrading_answers_its_error_and_nothing_was_accepted(
    pool: Pool,
) {
    let pid = pool.workers()[0].pid;
    let cases = [("panic", 500), ("fail", 500), ("teapot", 418)];
    for (step, status) in cases {
        let path = format!("/ws?upgrade&send=hello&subscribe=room&{step}");
        let begun = Instant::now();
        let refused = WebSocket::try_connect(pool.address(), &path).await.unwrap_err();
        assert_eq!(refused.status(), status, "{step}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        let body = String::from_utf8_lossy(refused.body().as_deref().unwrap_or_default());
        assert!(!body.contains("secret"), "{body}");
    }
    assert_eq!(get(pool.address(), "/publish?channel=room&text=x").await.json()["delivered"], 0);
    settle(&pool).await;
    assert_eq!(pool.events("close").len(), 1, "only of the connection that was accepted");
    assert!(is_alive(pid));
}

/// A10: a response that comes too late is not waited for, however long it is: its worker can leave.
#[tokio::test]
async fn a_handler_that_declines_too_late_holds_up_no_reload() {
    let options = Options::app().workers(1).with("--upgrade-timeout", "200ms");
    let pool = Pool::start(options).await;
    let old = pool.workers()[0].pid;
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(upgrade_request("/produce?bytes=1000000&gate=late", "")).await;
    pool.wait_at_gate("late").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 504"));
    pool.open_gate("late");
    pool.reload(2).await;
    pool.wait_until_exited(old).await;
    let ends = pool.log().lines().iter().filter(|line| line.text("level") == "ERROR").count();
    assert_eq!(ends, 0, "{}", pool.log());
}

in_both_modes!(a_client_that_leaves_before_the_handler_upgrades_leaves_nothing_behind);
/// A9.
async fn a_client_that_leaves_before_the_handler_upgrades_leaves_nothing_behind(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(upgrade_request("/ws?gate=before&upgrade", "")).await;
    pool.wait_at_gate("before").await;
    drop(raw);
    pool.wait_for_event("the end of the handler", |event| event["event"] == "dropped").await;
    settle(&pool).await;
    assert_eq!(pool.events("close").len(), 1, "only of the connection that was accepted");
}

in_both_modes!(a_client_that_leaves_after_the_handler_upgraded_is_a_close_with_1006_once);
/// A9.
async fn a_client_that_leaves_after_the_handler_upgraded_is_a_close_with_1006_once(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(upgrade_request("/ws?upgrade&send=hello&gate=after", "")).await;
    let waiting = pool.wait_at_gate("after").await;
    drop(raw);
    let event = pool.wait_for_close_event(waiting["connection"].as_str().unwrap()).await;
    assert_eq!((&event["code"], &event["was_clean"]), (&1006.into(), &false.into()));
    settle(&pool).await;
    assert_eq!(closes_with(&pool, 1006), 1);
}

in_both_modes!(
    an_upgrade_that_comes_after_its_timeout_is_gone_with_1011,
    Options::app().with("--upgrade-timeout", "200ms")
);
/// A10.
async fn an_upgrade_that_comes_after_its_timeout_is_gone_with_1011(pool: Pool) {
    let mut listener = WebSocket::connect(pool.address(), "/ws?subscribe=left").await;
    let path = "/ws?upgrade&send=hello&subscribe=left&farewell=left&gate=late";
    let refused = WebSocket::try_connect(pool.address(), path).await.unwrap_err();
    assert_eq!(refused.status(), 504);
    let waiting = pool.wait_at_gate("late").await;
    let id = waiting["connection"].as_str().unwrap();
    assert_eq!(pool.events("dropped"), Vec::<Value>::new(), "a timeout must not cancel");
    pool.open_gate("late");
    let event = pool.wait_for_close_event(id).await;
    assert_eq!((&event["code"], &event["was_clean"]), (&1011.into(), &false.into()));
    assert_eq!(event["reason"], "upgrade arrived after request timeout");
    assert_eq!(event["inert"][0], "Err(Closed)", "a later send goes nowhere");
    listener.expect_text(&format!("{id} left")).await;
    let published = get(pool.address(), "/publish?channel=left&text=x").await.json();
    assert_eq!(published["delivered"], 1, "the late one is not subscribed");
    assert_eq!(closes_with(&pool, 1011), 1);
}

in_both_modes!(
    a_thousand_timed_out_upgrades_leave_nothing_behind,
    Options::app().with("--upgrade-timeout", "200ms")
);
/// A10.
async fn a_thousand_timed_out_upgrades_leave_nothing_behind(pool: Pool) {
    let worker = pool.workers()[0].pid;
    let measure =
        || (open_descriptors(pool.pid()), open_descriptors(worker), pool.resident_bytes());
    time_out_upgrades(&pool, "first", 1000).await;
    until("the close of all sockets", || open_descriptors(pool.pid()) < 100).await;
    let before = measure();
    time_out_upgrades(&pool, "second", 1000).await;
    until("as many descriptors as before", || {
        let now = measure();
        (now.0, now.1) == (before.0, before.1)
    })
    .await;
    let grown = measure().2.saturating_sub(before.2);
    assert!(grown < 4 << 20, "the second thousand left {grown} bytes");
    assert_eq!(closes_with(&pool, 1011), 2000);
}

/// Sends upgrades, sees each time out, and lets their handlers upgrade then.
async fn time_out_upgrades(pool: &Pool, gate: &str, count: usize) {
    const AT_ONCE: usize = 250;
    let request = upgrade_request(&format!("/ws?upgrade&send=x&subscribe=room&gate={gate}"), "");
    for _ in 0..count / AT_ONCE {
        let mut clients = Vec::new();
        for _ in 0..AT_ONCE {
            let mut client = Raw::connect(pool.address()).await;
            client.write(&request).await;
            clients.push(client);
        }
        for client in &mut clients {
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
        }
    }
    let closed = closes_with(pool, 1011);
    pool.open_gate(gate);
    until("a close event for each", || closes_with(pool, 1011) == closed + count).await;
}

in_both_modes!(a_handshake_that_breaks_the_rules_is_refused_without_asking_a_worker);
/// A11.
async fn a_handshake_that_breaks_the_rules_is_refused_without_asking_a_worker(pool: Pool) {
    let proper = upgrade_request("/info", "");
    let broken = [
        (proper.replace("Connection: Upgrade", "Connection: keep-alive"), "400"),
        (proper.replace("dGhlIHNhbXBsZSBub25jZQ==", "dG9vIHNob3J0"), "400"),
        (proper.replace("dGhlIHNhbXBsZSBub25jZQ==", "not base64 at all!!"), "400"),
        (proper.replace("Sec-WebSocket-Version: 13\r\n", ""), "426"),
        (proper.replace("Version: 13", "Version: 8"), "426"),
    ];
    for (request, status) in &broken {
        let mut raw = Raw::connect(pool.address()).await;
        raw.write(request).await;
        let head = raw.head().await.to_lowercase();
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{request}{head}");
        // RFC 6455 §4.4: the versions that are spoken.
        assert_eq!(head.contains("sec-websocket-version: 13\r\n"), *status == "426", "{head}");
    }
    assert_eq!(get(pool.address(), "/info").await.json()["requests"], 1);
}

in_both_modes!(another_upgrade_than_to_websocket_is_ignored);
/// A11.
async fn another_upgrade_than_to_websocket_is_ignored(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("GET /info HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

/// A12.
#[tokio::test]
async fn a_request_that_is_upgraded_twice_is_upgraded_once() {
    let pool = Pool::start(Options::rogue("honest")).await;
    let mut socket = WebSocket::connect(pool.address(), "/twice").await;
    assert_eq!(socket.ask("one").await, "one");
    assert_eq!(socket.ask("two").await, "two");
    assert_eq!(get(pool.address(), "/").await.status, 200, "the link survives");
}

/// A12.
#[tokio::test]
async fn a_worker_cannot_accept_a_request_as_the_connection_of_another() {
    let pool = Pool::start(Options::rogue("honest").with("--upgrade-timeout", "2s")).await;
    let mut held = Raw::connect(pool.address()).await;
    held.write(upgrade_request("/hold", "")).await;
    pool.wait_for_event("the held upgrade", |event| event["event"] == "holding").await;
    let mut thief = WebSocket::connect(pool.address(), "/thief").await;
    assert_eq!(thief.ask("one").await, "one");
    assert_eq!(get(pool.address(), "/").await.status, 200, "the link survives");
    let head = held.head().await;
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
}

/// A12.
#[tokio::test]
async fn a_worker_cannot_act_on_connections_that_it_does_not_own() {
    let pool = Pool::start(Options::rogue("honest").workers(2)).await;
    // Ties go in rotation: of two connections each worker owns one.
    let mut first = WebSocket::connect(pool.address(), "/").await;
    let mut second = WebSocket::connect(pool.address(), "/").await;
    assert_ne!(first.ask("who").await, second.ask("who").await);
    assert_eq!(first.ask("strangers").await, "tried");
    assert_eq!(second.ask("still here").await, "still here");
    assert_eq!(second.ask("strangers").await, "tried");
    assert_eq!(first.ask("still here").await, "still here");
    assert_eq!(pool.workers().len(), 2, "no link ended");
}

/// A12.
#[tokio::test]
async fn frames_about_nothing_are_dropped_and_unknown_kinds_skipped() {
    let pool = Pool::start(Options::rogue("honest")).await;
    let pid = pool.workers()[0].pid.to_string();
    for path in ["/strangers", "/unknown-kind", "/"] {
        assert_eq!(get(pool.address(), path).await.text(), pid, "{path}");
    }
}

/// A12 and H64.
#[tokio::test]
async fn an_undecodable_frame_ends_its_link_and_no_other() {
    for path in ["/garbage", "/wrong-side"] {
        let pool = Pool::start(Options::rogue("honest").workers(2)).await;
        let mut sockets = Vec::new();
        for _ in 0..2 {
            let mut socket = WebSocket::connect(pool.address(), "/").await;
            let pid = socket.ask("who").await.parse::<u32>().unwrap();
            sockets.push((pid, socket));
        }
        assert_eq!(post(pool.address(), path, "").await.status, 502, "{path}");
        pool.wait_for("the exit", |line| line.is("worker exited")).await;
        let broken = pool.exited()[0].pid;
        for (pid, socket) in &mut sockets {
            if *pid == broken {
                socket.expect_close_code(1011).await;
            } else {
                assert_eq!(socket.ask("still here").await, "still here");
            }
        }
        pool.wait_until_ready(1, 3).await;
    }
}
