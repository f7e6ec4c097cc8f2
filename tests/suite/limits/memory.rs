//! H160: what clients can make the pool hold.

use std::time::{Duration, Instant};

use shovel_tests::{Line, Options, Pool, Raw, WebSocket, get, program, resident_bytes};

use tokio::time::sleep;

use crate::harness::greedy::{Greed, Greedy};
use crate::harness::watched::{Metrics, Watched};

const MIB: u64 = 1 << 20;

/// What each client costs beside what counts, and what the allocator keeps: docs/security.md.
const OVERHEAD_BYTES: u64 = 64 << 10;
const ALLOCATOR_BYTES: u64 = 48 * MIB;

fn reliefs(metrics: &Metrics, how: &str) -> f64 {
    metrics.of(&format!("shovel_client_memory_reliefs_total{{how=\"{how}\"}}"))
}

fn held(metrics: &Metrics) -> u64 {
    metrics.of("shovel_client_memory_bytes") as u64
}

async fn are_kept_within_the_bound(clients: usize, limit: u64, all: &[Greed]) {
    let bound = format!("{}MiB", limit / MIB);
    let options = Options::app().workers(2).with("--max-client-memory", &bound);
    let watched = Watched::start(options).await;
    let (pool, address) = (&watched.pool, watched.pool.address());
    let mut healthy = WebSocket::connect(address, "/ws").await;
    let metrics = watched.metrics().await;
    assert_eq!(metrics.of("shovel_client_memory_limit_bytes") as u64, limit);
    let (before, mut most) = (resident_bytes(pool.pid()), 0);
    let greedy = Greedy::start(address, clients, all);
    let is_relieved = |metrics: &Metrics| {
        let all = ["not-read", "websocket-closed", "request-closed"];
        all.iter().map(|how| reliefs(metrics, how)).sum::<f64>() >= 10.0
    };
    let mut rounds = 0;
    while rounds < 50 || !is_relieved(&watched.metrics().await) {
        assert_eq!(healthy.ask("next").await, "echo next");
        if rounds % 10 == 0 {
            assert_eq!(get(address, "/info").await.status, 200);
            let held = held(&watched.metrics().await);
            assert!(held <= limit / 8 * 9 + 8 * MIB, "{held} bytes are said to be held");
        }
        most = most.max(resident_bytes(pool.pid()));
        rounds += 1;
        assert!(rounds < 10_000, "nothing was ever done");
    }
    let allowed = limit / 8 * 9 + clients as u64 * OVERHEAD_BYTES + ALLOCATOR_BYTES;
    assert!(most.saturating_sub(before) < allowed, "{} bytes of {allowed}", most - before);
    drop(greedy);
    // But for the URL of the one that is left.
    free(&watched).await;
    let is_told = |line: &Line| line.is("clients hold little memory again");
    pool.wait_for("the end of it", is_told).await;
    let begun =
        "clients hold much of what --max-client-memory lets them: the greediest are not read";
    let told = pool.log().lines().iter().filter(|line| line.is(begun)).count();
    assert!(told <= 1, "told {told} times");
    assert_eq!(healthy.ask("after").await, "echo after");
}

/// Waits until nothing is held. What has gone may be seen when it is read to its end only, and who is
/// not read has its turn after others that have not moved for 10 s.
async fn free(watched: &Watched) {
    let begun = Instant::now();
    while held(&watched.metrics().await) >= 64 {
        assert!(begun.elapsed() < Duration::from_secs(120), "the memory is not freed");
        sleep(Duration::from_millis(100)).await;
    }
}

/// H160.
#[tokio::test]
async fn clients_that_do_not_read_are_kept_within_the_bound() {
    are_kept_within_the_bound(64, 4 * MIB, &[Greed::Echoes]).await;
}

/// H160.
#[tokio::test]
async fn clients_that_do_not_go_on_with_messages_are_kept_within_the_bound() {
    are_kept_within_the_bound(100, 16 * MIB, &[Greed::BegunMessages]).await;
}

/// H160.
#[tokio::test]
async fn clients_that_read_no_response_are_kept_within_the_bound() {
    are_kept_within_the_bound(64, 4 * MIB, &[Greed::Responses]).await;
}

/// H160.
#[tokio::test]
async fn clients_whose_bodies_nobody_reads_are_kept_within_the_bound() {
    are_kept_within_the_bound(64, 4 * MIB, &[Greed::Uploads]).await;
}

/// H160.
#[tokio::test]
async fn greedy_clients_of_all_kinds_are_kept_within_the_bound() {
    let all = [Greed::Echoes, Greed::BegunMessages, Greed::Responses, Greed::Uploads];
    are_kept_within_the_bound(320, 16 * MIB, &all).await;
}

/// H160: what a process takes for any amount of it, and the allocator's part, is little of this one.
#[tokio::test]
async fn a_large_bound_is_kept_too() {
    let all = [Greed::Echoes, Greed::BegunMessages, Greed::Responses, Greed::Uploads];
    are_kept_within_the_bound(400, 64 * MIB, &all).await;
}

in_both_modes!(
    who_holds_too_much_is_closed_1008_and_told_why,
    Options::app().with("--max-client-memory", "1MiB")
);
/// H160.
async fn who_holds_too_much_is_closed_1008_and_told_why(pool: Pool) {
    let mut greedy = Raw::websocket(pool.address(), "/ws").await;
    let mut other = WebSocket::connect(pool.address(), "/ws").await;
    greedy.write_fragment(2, &[b'x'; 900 << 10]).await;
    greedy.write_fragment(0, &[b'x'; 900 << 10]).await;
    let close = greedy.frame().await;
    assert_eq!((close.close_code(), &close.payload[2..]), (1008, &b"held too much memory"[..]));
    let event = pool.wait_for_event("the close event", |event| event["event"] == "close").await;
    assert_eq!(event["code"], 1008);
    assert_eq!(other.ask("next").await, "echo next");
}

in_both_modes!(
    long_messages_of_many_all_arrive_although_they_do_not_fit_together,
    Options::app().with("--max-client-memory", "40MiB")
);
/// H161.
async fn long_messages_of_many_all_arrive_although_they_do_not_fit_together(pool: Pool) {
    let address = pool.address();
    let text = format!("x {}", "y".repeat(4 << 20));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let text = text.clone();
        clients.spawn(async move {
            let mut socket = WebSocket::connect(address, "/ws").await;
            socket.send(text).await;
            socket.expect_text("echo x").await;
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

/// H162.
#[tokio::test]
async fn a_request_that_holds_too_much_is_answered_503_before_its_answer_has_begun() {
    let options = Options::app().with("--max-client-memory", "64KiB");
    let watched = Watched::start(options).await;
    let address = watched.pool.address();
    let mut raw = Raw::connect(address).await;
    let head = "POST /gated?gate=never HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n";
    raw.write(head).await;
    // Whether all of it is taken is the pool's to say.
    let _ = tokio::time::timeout(Duration::from_secs(1), raw.try_write(vec![b'x'; 4 << 20])).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("retry-after: 1"), "{head}");
    let metrics = watched.metrics().await;
    assert!(reliefs(&metrics, "request-closed") >= 1.0);
    assert_eq!(get(address, "/info").await.status, 200);
}

/// H163.
#[tokio::test]
async fn the_bound_is_read_again_on_reload() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool.toml");
    let write = |bound: &str| {
        let app = program("fixture-app");
        let text = format!("program = '{}'\nmax-client-memory = \"{bound}\"\n", app.display());
        std::fs::write(&file, text).unwrap();
    };
    write("32MiB");
    let watched = Watched::start(Options::configured_by(&file, 1).with("--workers", "1")).await;
    let limit = |metrics: &Metrics| metrics.of("shovel_client_memory_limit_bytes") as u64;
    assert_eq!(limit(&watched.metrics().await), 32 * MIB);
    write("8MiB");
    watched.pool.reload(2).await;
    assert_eq!(limit(&watched.metrics().await), 8 * MIB);
}
