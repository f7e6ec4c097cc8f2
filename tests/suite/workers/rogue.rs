//! Workers that say what nobody asked for, or take nothing: each costs its own link, and no memory.

use shovel_tests::{Options, Pool, WebSocket, get, resident_bytes};

/// What one worker may make the supervisor hold: what waits on its link, its read buffer, and what the
/// allocator keeps.
const ONE_WORKER_BYTES: u64 = 96 << 20;

/// Has one of two workers do this, and expects that it is ended for it, that little is held meanwhile
/// and that the other is not touched.
async fn expect_end_for(path: &'static str, why: &str) -> Pool {
    let options = Options::rogue("honest").workers(2).with("--max-channels-per-worker", "1");
    let pool = Pool::start(options).await;
    let both = pool.workers();
    let before = resident_bytes(pool.pid());
    let address = pool.address();
    let asking = tokio::spawn(async move { get(address, path).await.status });
    let line = pool.wait_for("the end of a worker", |line| line.is("worker exited")).await;
    assert!(line.text("status").contains(why), "{}", line.raw);
    let grown = resident_bytes(pool.pid()).saturating_sub(before);
    assert!(grown < ONE_WORKER_BYTES, "{grown} bytes");
    // The request may have been tried again, and so may have cost the other its link.
    asking.abort();
    assert!(pool.exited().iter().all(|worker| both.contains(worker)), "{}", pool.log());
    pool
}

/// E130: +770 MB in 5 s, and others were killed as hanging behind it.
#[tokio::test]
async fn pongs_that_nobody_asked_for_end_the_link() {
    expect_end_for("/pongs", "pong").await;
}

/// E130.
#[tokio::test]
async fn an_end_that_nobody_asked_for_ends_the_link() {
    expect_end_for("/leave-unasked", "shutdown-complete").await;
}

/// H131: 1.6 GB in 5 s.
#[tokio::test]
async fn answers_to_publishes_that_are_not_read_end_the_link() {
    expect_end_for("/publishes", "does not read its link").await;
}

/// H131.
#[tokio::test]
async fn answers_to_late_responses_that_are_not_read_end_the_link() {
    expect_end_for("/late-responses", "does not read its link").await;
}

/// H207: more than 64 MiB beside what one connection may have, which is 4 MiB and a message.
#[tokio::test]
async fn what_all_handlers_of_a_link_stage_without_an_end_is_bounded() {
    let pool = Pool::start(Options::rogue("stager").with("--max-message-size", "64KiB")).await;
    let (worker, before) = (pool.workers()[0], resident_bytes(pool.pid()));
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(WebSocket::connect(pool.address(), "/portable").await);
    }
    let (within, beyond) = clients.split_at_mut(16);
    for client in within {
        client.send("stage 4 MB").await;
        client.expect_text("staged").await;
    }
    assert_eq!(pool.exited(), []);
    for client in beyond {
        client.send("stage 4 MB").await;
    }
    let line = pool.wait_for("the end of the worker", |line| line.is("worker exited")).await;
    assert!(line.text("status").contains("more is staged"), "{}", line.raw);
    let grown = resident_bytes(pool.pid()).saturating_sub(before);
    assert!(grown < 2 * ONE_WORKER_BYTES, "{grown} bytes");
    pool.wait_until_ready(1, 2).await;
    assert_eq!(pool.exited(), [worker]);
    assert_eq!(get(pool.address(), "/info").await.status, 200);
}

/// H131 and J231: 390,000 lines in a few seconds, which displaced the end of another worker from the log.
#[tokio::test]
async fn refusals_that_are_not_read_end_the_link_and_the_log_tells_of_the_first() {
    let pool = expect_end_for("/subscriptions", "does not read its link").await;
    let lines = pool.log().lines().clone();
    let told = lines.iter().filter(|line| line.raw.contains("it would be one too many"));
    let told: Vec<_> = told.map(|line| line.number("worker")).collect();
    assert!(!told.is_empty() && told.is_sorted_by(|one, next| one < next), "{}", pool.log());
}

/// H232: it is no longer than the pool's own clients may send, in whole or in pieces.
#[tokio::test]
async fn a_message_to_a_client_that_is_too_long_ends_the_link_of_whoever_sent_it() {
    for (longest, bytes) in [("4KiB", 4096), ("128KiB", 131_072)] {
        let pool = Pool::start(Options::rogue("honest").with("--max-message-size", longest)).await;
        let mut socket = WebSocket::connect(pool.address(), "/ws").await;
        let message = socket.ask(&format!("bytes {bytes}")).await;
        assert_eq!(message.len(), bytes);
        socket.send(&format!("bytes {}", bytes + 1)).await;
        let line = pool.wait_for("the end of the worker", |line| line.is("worker exited")).await;
        let why = format!("message of more than {bytes} bytes");
        assert!(line.text("status").contains(&why), "{}", line.raw);
        socket.expect_close_code(1011).await;
    }
}

/// E130: another nonce answers another ping.
#[tokio::test]
async fn a_pong_with_another_nonce_than_its_ping_ends_the_link() {
    let pool = Pool::start(Options::rogue("wrong-nonce").with("--hang-timeout", "1s")).await;
    let line = pool.wait_for("the end of the worker", |line| line.is("worker exited")).await;
    assert!(line.text("status").contains("pong"), "{}", line.raw);
}

/// E130: a worker that floods does not make those that answer late.
#[tokio::test]
async fn healthy_workers_are_not_held_up_by_one_that_floods() {
    let options = Options::rogue("honest").workers(3).with("--hang-timeout", "1s");
    let pool = Pool::start(options).await;
    for _ in 0..5 {
        let (address, exits) = (pool.address(), pool.exited().len());
        let asking = tokio::spawn(async move { get(address, "/pongs").await.status });
        shovel_tests::until("the end of a worker", || pool.exited().len() > exits).await;
        asking.abort();
    }
    let lines = pool.log().lines().clone();
    let hung = lines.iter().filter(|line| line.raw.contains("has not answered")).count();
    assert_eq!(hung, 0, "{}", pool.log());
}
