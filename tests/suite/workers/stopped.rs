//! Workers that stand still: others answer for them, and what waits for them is bounded.

use std::time::{Duration, Instant};

use http::Method;
use nix::sys::signal::Signal;
use shovel_tests::{Http, Line, Options, Pool, Raw, get, is_alive, masked_frame, request, signal};

use crate::harness::watched::{Metrics, Watched};

/// What may wait on a link: 4 MiB and one message or one head.
const LINK_BYTES: f64 = (4 << 20) as f64;

/// E130: 15 of 15 hung, until --hang-timeout, as those that were broken off made it the least busy.
#[tokio::test]
async fn requests_that_may_be_repeated_do_not_wait_for_a_stopped_worker() {
    let pool = Pool::start(Options::app().workers(2)).await;
    let stopped = pool.workers()[0].pid;
    signal(stopped, Signal::SIGSTOP);
    let begun = Instant::now();
    let address = pool.address();
    let asking = (0..15).map(|_| tokio::spawn(async move { get(address, "/info").await }));
    for asked in asking.collect::<Vec<_>>() {
        let answer = asked.await.unwrap();
        assert_eq!(answer.status, 200);
        assert_ne!(answer.json()["pid"], stopped);
    }
    // A second until it is asked, one more until it is late.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // Nothing is given to it from here on.
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(get(address, "/info").await.status, 200);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    assert!(is_alive(stopped), "it has 30 s");
    signal(stopped, Signal::SIGCONT);
    let is_it = |line: &Line| line.raw.contains("answers again");
    pool.wait_for("its return", is_it).await;
    let mut is_back = false;
    for _ in 0..20 {
        is_back |= get(address, "/info").await.json()["pid"] == stopped;
    }
    assert!(is_back, "nothing is given to it any more");
}

/// E130: nor if that is on its way out: 10 of 10 were 502 when its time to drain was over.
#[tokio::test]
async fn requests_do_not_wait_for_a_stopped_worker_that_drains() {
    let options = Options::app().workers(2).with("--drain-timeout", "1h");
    let pool = Pool::start(options).await;
    let stopped = pool.workers()[0].pid;
    signal(stopped, Signal::SIGSTOP);
    let address = pool.address();
    let asking = (0..15).map(|_| tokio::spawn(async move { get(address, "/info").await }));
    let asking: Vec<_> = asking.collect();
    pool.sighup();
    pool.wait_until_ready(2, 2).await;
    for asked in asking {
        let answer = asked.await.unwrap();
        assert_eq!(answer.status, 200);
        assert_ne!(answer.json()["pid"], stopped);
    }
    assert!(is_alive(stopped), "it has 30 s");
}

/// E130: what may not be repeated waits for the worker that has it.
#[tokio::test]
async fn a_post_waits_for_its_stopped_worker() {
    let pool = Pool::start(Options::app().workers(2)).await;
    let mut http = Http::connect(pool.address()).await;
    let path = "/gated?gate=post";
    let asking = tokio::spawn(async move { http.send(request(Method::POST, path, "x")).await });
    let pid: u32 = pool.wait_at_gate("post").await["pid"].as_u64().unwrap().try_into().unwrap();
    signal(pid, Signal::SIGSTOP);
    pool.wait_for("that it is late", |line| line.raw.contains("answers late")).await;
    signal(pid, Signal::SIGCONT);
    pool.open_gate("post");
    let answer = asking.await.unwrap().unwrap();
    assert_eq!((answer.status.as_u16(), &answer.json()["pid"]), (200, &pid.into()));
}

/// A pool whose only worker stands still, for long.
async fn stopped(options: Options) -> (Watched, u32) {
    let watched = Watched::start(options.with("--hang-timeout", "300s")).await;
    let pid = watched.pool.workers()[0].pid;
    signal(pid, Signal::SIGSTOP);
    (watched, pid)
}

/// Writes this on a connection of its own; returns it.
async fn begin(watched: &Watched, bytes: Vec<u8>) -> Raw {
    let mut raw = Raw::connect(watched.pool.address()).await;
    raw.write(bytes).await;
    raw
}

/// H131: 375 MB in 10 s.
#[tokio::test]
async fn bodies_for_a_stopped_worker_wait_with_their_clients() {
    let (watched, pid) = stopped(Options::app()).await;
    let head = "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n";
    let whole = [head.as_bytes(), &[b'x'; 262_144]].concat();
    let address = watched.pool.address();
    let asking = (0..100).map(|_| {
        let whole = whole.clone();
        tokio::spawn(async move {
            let mut raw = Raw::connect(address).await;
            raw.write(whole).await;
            raw.head().await
        })
    });
    let asking: Vec<_> = asking.collect();
    let waiting = |metrics: &Metrics| metrics.of("shovel_link_waiting_bytes");
    watched.until("a full link", |metrics| waiting(metrics) >= LINK_BYTES).await;
    for _ in 0..5 {
        let waiting = waiting(&watched.metrics().await);
        assert!(waiting <= LINK_BYTES + 65_552.0, "{waiting}");
    }
    signal(pid, Signal::SIGCONT);
    for asked in asking {
        assert!(asked.await.unwrap().starts_with("HTTP/1.1 200 "));
    }
}

/// H131: a message that has begun when there is no room any more is read to its end, and no other.
#[tokio::test]
async fn messages_for_a_stopped_worker_wait_with_their_clients() {
    const CLIENTS: usize = 16;
    const MESSAGE: usize = 1 << 20;
    const MESSAGES: usize = 2;
    let watched = Watched::start(Options::app().with("--hang-timeout", "300s")).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Raw::websocket(watched.pool.address(), "/ws/echo").await);
    }
    let pid = watched.pool.workers()[0].pid;
    signal(pid, Signal::SIGSTOP);
    let message = masked_frame(0x82, &vec![b'x'; MESSAGE]);
    let writing = clients.into_iter().map(|mut client| {
        let message = message.clone();
        tokio::spawn(async move {
            let mut read = 0;
            for _ in 0..MESSAGES {
                client.write(&message).await;
            }
            while read < MESSAGES * MESSAGE {
                read += client.frame().await.payload.len();
            }
        })
    });
    let writing: Vec<_> = writing.collect();
    let is_full = |metrics: &Metrics| metrics.of("shovel_link_waiting_bytes") >= LINK_BYTES;
    watched.until("a full link", is_full).await;
    let most = LINK_BYTES + ((CLIENTS + 1) * MESSAGE) as f64;
    for _ in 0..5 {
        let waiting = watched.metrics().await.of("shovel_link_waiting_bytes");
        assert!(waiting <= most, "{waiting}");
    }
    signal(pid, Signal::SIGCONT);
    for written in writing {
        // Nothing is lost.
        written.await.unwrap();
    }
}

/// H131: a request beyond the bound waits for a ready worker, as if there were none.
#[tokio::test]
async fn requests_for_a_stopped_worker_beyond_the_bound_are_503() {
    let options = Options::app().with("--queue-timeout", "200ms");
    let (watched, pid) = stopped(options).await;
    let head = format!("GET /info HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(50_000));
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(begin(&watched, head.clone().into_bytes()).await);
    }
    let metrics = watched.metrics().await;
    assert!(metrics.of("shovel_link_waiting_bytes") <= LINK_BYTES + 65_552.0);
    let refused = "shovel_request_failures_total{reason=\"no-worker\"}";
    watched.until("refusals", |metrics| metrics.of(refused) > 0.0).await;
    signal(pid, Signal::SIGCONT);
    drop(clients);
    assert_eq!(get(watched.pool.address(), "/info").await.status, 200);
}

/// H131: what its client does not wait for is not written, and makes room.
#[tokio::test]
async fn what_is_unsent_of_requests_that_are_broken_off_is_dropped() {
    let (watched, pid) = stopped(Options::app()).await;
    let head = format!("GET /info HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(50_000));
    for _ in 0..3 {
        let mut clients = Vec::new();
        for _ in 0..60 {
            clients.push(begin(&watched, head.clone().into_bytes()).await);
        }
        let is_much = |waiting: f64| waiting > 2e6;
        let waiting = |metrics: &Metrics| metrics.of("shovel_link_waiting_bytes");
        watched.until("much that waits", |metrics| is_much(waiting(metrics))).await;
        drop(clients);
        // What has begun to go out stays.
        watched.until("room", |metrics| waiting(metrics) < 300_000.0).await;
    }
    signal(pid, Signal::SIGCONT);
    assert_eq!(get(watched.pool.address(), "/info").await.status, 200);
}
