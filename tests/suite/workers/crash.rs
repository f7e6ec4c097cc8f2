//! Workers that crash or hang, and what their clients see.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use nix::sys::signal::Signal;
use shovel_tests::{
    Http, Options, Pool, Raw, WebSocket, get, is_alive, post, request, signal, until,
};

use crate::harness::owned::connection_on_each_worker;

/// E39.
#[tokio::test]
async fn a_killed_workers_connections_are_closed_1011_and_others_notice_nothing() {
    let pool = Pool::start(Options::app().workers(2).with("--io-threads", "2")).await;
    let mut owned = connection_on_each_worker(&pool, "/ws", 2).await;
    let begun = Instant::now();
    pool.kill_worker(owned[0].pid);
    owned[0].socket.expect_close_code(1011).await;
    // Promised are 100 ms; the machine that tests may be busy.
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(owned[1].socket.ask("next").await, "echo next");
    let ready = pool.wait_until_ready(1, 3).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(ready[2].index, pool.exited()[0].index, "the replacement takes its place");
}

/// E39.
#[tokio::test]
async fn a_killed_workers_requests_fail_at_once() {
    let pool = Pool::start(Options::app()).await;
    let mut http = Http::connect(pool.address()).await;
    let begun = Instant::now();
    let asking = tokio::spawn(async move {
        http.send(request(Method::POST, "/gated?gate=never", "x")).await.unwrap().status
    });
    let pid = pool.wait_at_gate("never").await["pid"].as_u64().unwrap();
    pool.kill_worker(pid.try_into().unwrap());
    assert_eq!(asking.await.unwrap(), 502);
    assert!(begun.elapsed() < Duration::from_secs(5), "not at the timeout");
}

/// E39.
#[tokio::test]
async fn a_request_that_may_be_repeated_is_tried_once_more_on_another_worker() {
    let pool = Pool::start(Options::app().workers(2)).await;
    let mut http = Http::connect(pool.address()).await;
    let asking = tokio::spawn(async move { http.get("/gated?gate=both").await.unwrap() });
    let first = pool.wait_at_gate("both").await["pid"].as_u64().unwrap();
    pool.kill_worker(first.try_into().unwrap());
    let is_other = |event: &serde_json::Value| event["event"] == "waiting" && event["pid"] != first;
    let second = pool.wait_for_event("the second try", is_other).await["pid"].clone();
    pool.open_gate("both");
    let answer = asking.await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.json()["pid"]), (200, &second));
}

/// E39.
#[tokio::test]
async fn no_request_that_may_be_repeated_fails_under_load_when_workers_are_killed() {
    const CLIENTS: usize = 20;
    let pool = Pool::start(Options::app().workers(3).with("--io-threads", "2")).await;
    let address = pool.address();
    let (over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let client = || {
        let (over, answers) = (over.clone(), answers.clone());
        tokio::spawn(async move {
            let mut http = Http::connect(address).await;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(http.get("/info").await.unwrap().status, 200);
                answers.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let clients = (0..CLIENTS).map(|_| client()).collect::<Vec<_>>();
    for killed in 0..3 {
        let enough = answers.load(Ordering::Relaxed) + 10 * CLIENTS;
        until("answers", || answers.load(Ordering::Relaxed) >= enough).await;
        pool.kill_worker(pool.workers()[0].pid);
        pool.wait_until_ready(1, 4 + killed).await;
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
}

/// E39.
#[tokio::test]
async fn a_request_that_kills_two_workers_is_not_tried_a_third_time() {
    let pool = Pool::start(Options::app().workers(3)).await;
    assert_eq!(get(pool.address(), "/exit").await.status, 502);
    until("the exit of two", || pool.exited().len() == 2).await;
    assert_eq!(get(pool.address(), "/info").await.status, 200);
    pool.wait_until_ready(1, 5).await;
    assert_eq!(pool.exited().len(), 2);
}

/// E39.
#[tokio::test]
async fn a_post_that_kills_its_worker_is_not_repeated() {
    let pool = Pool::start(Options::app().workers(2)).await;
    assert_eq!(post(pool.address(), "/exit", "").await.status, 502);
    pool.wait_until_ready(1, 3).await;
    assert_eq!(pool.exited().len(), 1);
}

/// E40.
#[tokio::test]
async fn what_a_worker_sent_before_it_died_is_delivered() {
    let pool = Pool::start(Options::rogue("honest")).await;
    let mut socket = WebSocket::connect(pool.address(), "/").await;
    socket.send("die").await;
    for number in 0..1000 {
        socket.expect_text(&format!("last words {number}")).await;
    }
    socket.expect_close_code(1011).await;
    pool.wait_until_ready(1, 2).await;
    let answer = post(pool.address(), "/answer-and-exit", "").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.text().is_empty());
}

/// E40 and invariant 8: written at once, and gone at once.
#[tokio::test]
async fn what_fifty_workers_sent_with_their_last_breath_is_delivered() {
    const WORKERS: usize = 5;
    for _ in 0..10 {
        let pool = Pool::start(Options::rogue("honest").workers(WORKERS as u32)).await;
        let mut dying = Vec::new();
        for _ in 0..WORKERS {
            let mut socket = WebSocket::connect(pool.address(), "/").await;
            dying.push((socket.ask("who").await, socket));
        }
        let pids = dying.iter().map(|(pid, _)| pid.clone()).collect::<HashSet<_>>();
        assert_eq!(pids.len(), WORKERS, "each has a worker of its own");
        for (_, socket) in &mut dying {
            socket.send("die at once").await;
        }
        for (_, socket) in &mut dying {
            for number in 0..1000 {
                socket.expect_text(&format!("last words {number}")).await;
            }
            socket.expect_close_code(1011).await;
        }
    }
}

/// E39 and C27: a connection is over for its channels when its worker is, though its socket is not.
#[tokio::test]
async fn subscribers_that_come_while_those_of_a_dead_worker_still_close_hear_everything() {
    const CLIENTS: usize = 16;
    let pool = Pool::start(Options::app()).await;
    let mut old = Vec::new();
    for _ in 0..CLIENTS {
        old.push(Raw::websocket(pool.address(), "/ws?subscribe=room").await);
    }
    pool.kill_worker(pool.workers()[0].pid);
    for client in &mut old {
        assert_eq!(client.frame().await.close_code(), 1011);
    }
    pool.wait_until_ready(1, 2).await;
    let mut new = Vec::new();
    for _ in 0..CLIENTS {
        new.push(WebSocket::connect(pool.address(), "/ws?subscribe=room").await);
    }
    expect_publish(&pool, &mut new, "while+they+close").await;
    for client in &mut old {
        // Its close frame is not answered, which the pool waits out.
        client.rest().await;
    }
    expect_publish(&pool, &mut new, "when+they+are+gone").await;
}

/// Publishes to the channel `room`, and expects that these are all its subscribers.
async fn expect_publish(pool: &Pool, subscribers: &mut [WebSocket], text: &str) {
    let path = format!("/publish?channel=room&text={text}");
    let published = get(pool.address(), &path).await.json();
    assert_eq!(published["delivered"], subscribers.len());
    for subscriber in subscribers {
        subscriber.expect_text(&text.replace('+', " ")).await;
    }
}

/// E40.
#[tokio::test]
async fn a_grandchild_that_holds_the_link_keeps_no_connection_of_a_dead_worker() {
    let pool = Pool::start(Options::rogue("honest")).await;
    let mut socket = WebSocket::connect(pool.address(), "/").await;
    let child = socket.ask("have a child").await.parse::<u32>().unwrap();
    let begun = Instant::now();
    pool.kill_worker(pool.workers()[0].pid);
    socket.expect_close_code(1011).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(is_alive(child), "else this test shows nothing");
    signal(child, Signal::SIGKILL);
    pool.wait_until_ready(1, 2).await;
}

/// E39: a response that breaks off must not look whole.
#[tokio::test]
async fn a_response_cut_off_by_a_crash_does_not_look_whole() {
    let pool = Pool::start(Options::app()).await;
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("GET /stream?gate=never HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    pool.wait_at_gate("never").await;
    pool.kill_worker(pool.workers()[0].pid);
    let rest = String::from_utf8(raw.rest().await).unwrap();
    // RFC 9112 §7.1: a chunk of no length ends a whole body.
    assert!(rest.contains("first") && !rest.ends_with("0\r\n\r\n"), "{rest}");
}

/// E172.
#[tokio::test]
async fn a_worker_that_hangs_is_killed_and_then_treated_as_crashed() {
    let options = Options::app().workers(2).with("--hang-timeout", "500ms");
    let pool = Pool::start(options).await;
    let mut owned = connection_on_each_worker(&pool, "/ws", 2).await;
    signal(owned[0].pid, Signal::SIGSTOP);
    owned[0].socket.expect_close_code(1011).await;
    pool.wait_until_exited(owned[0].pid).await;
    assert_eq!(owned[1].socket.ask("next").await, "echo next");
    pool.wait_until_ready(1, 3).await;
}

/// E172.
#[tokio::test]
async fn a_handler_that_blocks_its_worker_is_a_hang() {
    let pool = Pool::start(Options::app().with("--hang-timeout", "500ms")).await;
    let answer = post(pool.address(), "/hang", "").await;
    assert_eq!(answer.status, 502);
    pool.wait_until_ready(1, 2).await;
}

/// E172.
#[tokio::test]
async fn a_worker_that_never_answers_pings_is_killed() {
    let pool = Pool::start(Options::rogue("silent").with("--hang-timeout", "300ms")).await;
    let pid = pool.workers()[0].pid;
    pool.wait_until_exited(pid).await;
}

/// B: a worker that never acknowledges holds back its own client only.
#[tokio::test]
async fn a_worker_that_acknowledges_nothing_holds_back_that_client_alone() {
    let pool = Pool::start(Options::rogue("mute").workers(2)).await;
    let mut flooding = WebSocket::connect(pool.address(), "/").await;
    let mut other = WebSocket::connect(pool.address(), "/").await;
    let before = shovel_tests::resident_bytes(pool.pid());
    let message = "x".repeat(16 << 10);
    let flood = async {
        for _ in 0..10_000 {
            flooding.feed(message.as_str().into()).await;
        }
    };
    // Never finishes: it is the bound that is seen.
    let held_back = tokio::time::timeout(Duration::from_secs(2), flood).await;
    assert!(held_back.is_err(), "160 MiB were taken");
    assert_eq!(other.ask("next").await, "next");
    let grown = shovel_tests::resident_bytes(pool.pid()).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
}
