//! Reloads that go well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use shovel_tests::{
    Deploy, Http, Options, Pool, WebSocket, body_of, get, is_alive, request, until, within,
};

use crate::harness::load::Load;
use crate::harness::owned::connection_on_each_worker;

/// F47.
#[tokio::test]
async fn no_request_fails_on_reload_on_kept_and_on_fresh_connections() {
    let deploy = Deploy::of("first");
    let options = Options::deployed(&deploy).workers(2).with("--io-threads", "2");
    let pool = Pool::start(options).await;
    let load = Load::start(pool.address(), 50, "third");
    load.wait_for_answers(200).await;
    for (generation, label) in [(2, "second"), (3, "third")] {
        deploy.app(label);
        pool.reload(generation).await;
        load.wait_for_answers(200).await;
    }
    load.finish().await;
    assert!(pool.workers().iter().all(|worker| worker.generation == 3));
}

/// F48.
#[tokio::test]
async fn a_request_in_flight_finishes_on_the_old_generation() {
    let deploy = Deploy::of("old");
    let pool = Pool::start(Options::deployed(&deploy)).await;
    let mut http = Http::connect(pool.address()).await;
    let asking = tokio::spawn(async move { http.get("/gated?gate=long").await.unwrap().json() });
    pool.wait_at_gate("long").await;
    deploy.app("new");
    pool.sighup();
    pool.wait_until_ready(2, 1).await;
    loop {
        let label = get(pool.address(), "/info").await.json()["label"].clone();
        if label == "new" {
            break;
        }
    }
    pool.open_gate("long");
    assert_eq!(asking.await.unwrap()["label"], "old");
    pool.wait_for_reload(2).await;
}

/// F48.
#[tokio::test]
async fn an_upload_in_flight_finishes_on_the_old_generation() {
    let pool = Pool::start(Options::app().with("--io-threads", "2")).await;
    let (parts, body) = tokio::sync::mpsc::channel(1);
    let upload = http::Request::post("/count").header("host", "a").body(body_of(body)).unwrap();
    let mut http = Http::connect(pool.address()).await;
    let sending = tokio::spawn(async move { http.send(upload).await.unwrap() });
    let old = pool.workers()[0].pid;
    let part = bytes::Bytes::from(vec![b'x'; 64 << 10]);
    for number in 0..64 {
        if number == 32 {
            pool.sighup();
            pool.wait_until_ready(2, 1).await;
        }
        within("room to upload", parts.send(part.clone())).await.unwrap();
    }
    assert!(is_alive(old));
    drop(parts);
    assert_eq!(sending.await.unwrap().text(), (64 * (64 << 10)).to_string());
    pool.wait_for_reload(2).await;
}

/// F48.
#[tokio::test]
async fn a_stream_that_outlasts_the_drain_timeout_is_ended() {
    let options = Options::app().with("--drain-timeout", "500ms");
    let pool = Pool::start(options).await;
    let old = pool.workers()[0].pid;
    let mut http = Http::connect(pool.address()).await;
    let answer = http.stream(request(Method::GET, "/stream?gate=never", "")).await.unwrap();
    pool.wait_at_gate("never").await;
    let begun = Instant::now();
    pool.reload(2).await;
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert!(!is_alive(old));
    let whole = shovel_tests::within("the end of the stream", answer.into_body().collect()).await;
    assert!(whole.is_err(), "a stream that was cut looks whole");
}

/// F49.
#[tokio::test]
async fn connections_are_closed_1012_after_their_messages_and_spread_over_time() {
    let options = Options::app().workers(2).with("--close-spread", "1s");
    let pool = Pool::start(options).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(WebSocket::connect(pool.address(), "/ws").await);
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        // Sent at once: when the first is handled the second has been read too.
        socket.feed(format!("gate {number}").into()).await;
        socket.send("behind").await;
        pool.wait_at_gate(&number.to_string()).await;
    }
    pool.sighup();
    pool.wait_until_ready(2, 2).await;
    for number in 0..sockets.len() {
        pool.open_gate(&number.to_string());
    }
    let closing = sockets.into_iter().enumerate().map(|(number, mut socket)| {
        tokio::spawn(async move {
            socket.expect_text(&format!("passed {number}")).await;
            socket.expect_text("echo behind").await;
            socket.expect_close(1012, "server reloading").await;
            Instant::now()
        })
    });
    let mut closed = Vec::new();
    for closing in closing.collect::<Vec<_>>() {
        closed.push(closing.await.unwrap());
    }
    closed.sort_unstable();
    let spread = closed[closed.len() - 1] - closed[0];
    assert!(spread > Duration::from_millis(300), "all closed within {spread:?}");
    pool.wait_for_reload(2).await;
    let events = pool.events("close");
    assert_eq!(events.len(), 20);
    for event in events {
        assert_eq!((&event["code"], &event["handled"]), (&1012.into(), &2.into()), "{event}");
        assert_eq!(event["was_clean"], true);
    }
}

/// F49.
#[tokio::test]
async fn the_close_event_of_a_reload_runs_to_its_end_before_the_worker_stops() {
    let pool = Pool::start(Options::app().with("--close-spread", "0ms")).await;
    let old = pool.workers()[0].pid;
    let mut socket = WebSocket::connect(pool.address(), "/ws?closing=slow").await;
    pool.sighup();
    socket.expect_close(1012, "server reloading").await;
    pool.wait_at_gate("slow").await;
    pool.wait_until_ready(2, 1).await;
    assert_eq!(get(pool.address(), "/info").await.json()["generation"], 2);
    assert!(is_alive(old));
    pool.open_gate("slow");
    pool.wait_for_reload(2).await;
    assert_eq!(pool.events("close").len(), 1);
    let shutdown = pool.events("shutdown");
    assert_eq!(shutdown.len(), 1);
    assert_eq!(shutdown[0]["pid"], old);
}

/// F49.
#[tokio::test]
async fn an_upgrade_in_flight_at_a_reload_is_answered_and_then_closed_1012() {
    let pool = Pool::start(Options::app().with("--close-spread", "0ms")).await;
    let address = pool.address();
    let connecting = tokio::spawn(async move {
        WebSocket::connect(address, "/ws?gate=late&upgrade&send=welcome").await
    });
    pool.wait_at_gate("late").await;
    pool.sighup();
    pool.wait_until_ready(2, 1).await;
    pool.open_gate("late");
    let mut socket = connecting.await.unwrap();
    socket.expect_text("welcome").await;
    socket.expect_close(1012, "server reloading").await;
    pool.wait_for_reload(2).await;
}

/// F51.
#[tokio::test]
async fn of_ten_signals_in_a_row_at_most_two_generations_live_and_the_last_binary_serves() {
    let deploy = Deploy::of("0");
    let pool = Pool::start(Options::deployed(&deploy).workers(2)).await;
    for number in 1..=10 {
        deploy.app(&number.to_string());
        pool.sighup();
    }
    let mut http = Http::connect(pool.address()).await;
    loop {
        let answer = http.get("/info").await.unwrap();
        assert_eq!(answer.status, 200);
        if answer.json()["label"] == "10" {
            break;
        }
    }
    until("one generation", || {
        let workers = pool.workers();
        workers.len() == 2 && workers[0].generation == workers[1].generation
    })
    .await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "10");
    assert!(generations_at_once(&pool) <= 2);
}

/// The most generations that had workers at the same time.
fn generations_at_once(pool: &Pool) -> usize {
    let started = pool.started();
    let mut alive = BTreeMap::<u64, u64>::new();
    let mut most = 0;
    for line in pool.log().lines().iter() {
        let Some(id) = line.number("worker") else { continue };
        match line.message() {
            "worker started" => {
                let worker = started.iter().find(|worker| worker.id == id);
                alive.insert(id, worker.unwrap().generation);
            }
            "worker exited" => {
                alive.remove(&id);
            }
            _ => continue,
        }
        most = most.max(alive.values().collect::<BTreeSet<_>>().len());
    }
    most
}

/// F49 and C23: a subscriber of the old generation hears what the new one publishes.
#[tokio::test]
async fn generations_hear_each_other_while_both_live() {
    let pool = Pool::start(Options::app().workers(2).with("--close-spread", "0ms")).await;
    let mut owned = connection_on_each_worker(&pool, "/ws?subscribe=room", 2).await;
    for (number, old) in owned.iter_mut().enumerate() {
        // Holds its connection open beyond the switch.
        old.socket.send(format!("gate {number}")).await;
        pool.wait_at_gate(&number.to_string()).await;
    }
    pool.sighup();
    pool.wait_until_ready(2, 2).await;
    loop {
        let answer = get(pool.address(), "/info").await;
        if answer.json()["generation"] == 2 {
            break;
        }
    }
    get(pool.address(), "/publish?channel=room&text=news").await;
    for (number, old) in owned.iter_mut().enumerate() {
        old.socket.expect_text("news").await;
        pool.open_gate(&number.to_string());
        old.socket.expect_text(&format!("passed {number}")).await;
        old.socket.expect_close(1012, "server reloading").await;
    }
    pool.wait_for_reload(2).await;
}
