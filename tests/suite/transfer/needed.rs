//! The end of a pool that has no worker ready, though something was read that needs one.

use shovel_tests::{Options, Pool, get, until};

use super::terminating::{clients_with, expect_all};
use crate::harness::counted::Counted;
use crate::harness::watched::Watched;

/// Where workers wait before they are ready.
const START: &str = "start";

/// Two workers, which pass the gate at their start until it is shut.
async fn start(options: Options) -> Watched {
    let options =
        options.workers(2).with("--io-threads", "2").variable("FIXTURE_START_GATE", START);
    let mut pool = Pool::launch(Watched::options(options));
    pool.open_gate(START);
    pool.wait_until_it_listens().await;
    pool.wait_until_ready(1, 2).await;
    Watched::of(pool).await
}

fn sleepy() -> Options {
    Options::portable().with("--sleep-after", "100ms").with("--min-workers", "0")
}

/// Clients of a pool whose workers sleep, and whoever is woken waits at the gate.
async fn asleep(clients: usize) -> (Watched, Vec<Counted>) {
    let watched = start(sleepy()).await;
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Counted::connect(&watched.pool, "").await);
    }
    until("all asleep", || watched.pool.workers().is_empty()).await;
    watched.pool.shut_gate(START);
    (watched, connected)
}

async fn begin_end(pool: &Pool) {
    pool.sigterm();
    pool.wait_for("the beginning of the end", |line| line.is("terminating")).await;
}

/// Waits until a worker waits at the gate that was started after this many others.
async fn until_one_starts(pool: &Pool, before: usize) {
    until("a start", || pool.started().len() > before).await;
    let pid = pool.started()[before].pid;
    let is_it = |event: &serde_json::Value| event["event"] == "waiting" && event["pid"] == pid;
    pool.wait_for_event("a worker at the gate", is_it).await;
}

/// F173.
#[tokio::test]
async fn messages_that_have_woken_a_worker_are_handled_though_the_pool_ends() {
    let (watched, mut clients) = asleep(20).await;
    let pool = &watched.pool;
    // So long that what is kept beside the bytes of all does not outweigh one.
    let text = "long".repeat(5_000);
    let before = pool.started().len();
    for client in &mut clients {
        client.send(&text).await;
        client.send(&text).await;
    }
    let all = clients.len() * 2 * text.len();
    let read = "shovel_kept_message_bytes";
    watched.until("all messages", |metrics| metrics.of(read) >= all as f64).await;
    until_one_starts(pool, before).await;
    begin_end(pool).await;
    pool.open_gate(START);
    assert_eq!(pool.started().len(), before + 1);
    expect_all(watched.pool, clients).await;
}

/// F173: nobody is ready, and the program that was to come is not needed.
#[tokio::test]
async fn a_message_in_a_reload_of_a_pool_that_sleeps_is_handled_though_the_pool_ends() {
    let (watched, mut clients) = asleep(1).await;
    let pool = &watched.pool;
    pool.sighup();
    pool.wait_for("the reload", |line| line.is("reload started")).await;
    let before = pool.started().len();
    clients[0].send("first").await;
    until_one_starts(pool, before).await;
    begin_end(pool).await;
    pool.open_gate(START);
    expect_all(watched.pool, clients).await;
}

/// F173.
#[tokio::test]
async fn what_dead_workers_had_is_handled_though_the_pool_ends_before_others_are_ready() {
    let watched = start(Options::portable()).await;
    let clients = clients_with(&watched, 24, "gate held").await;
    let pool = &watched.pool;
    pool.shut_gate(START);
    let dead = pool.workers();
    dead.iter().for_each(|worker| pool.kill_worker(worker.pid));
    until("two starts", || pool.started().len() == 4).await;
    begin_end(pool).await;
    pool.open_gate("held");
    pool.open_gate(START);
    expect_all(watched.pool, clients).await;
}

/// F173.
#[tokio::test]
async fn workers_that_all_die_while_the_pool_ends_leave_nothing_unanswered() {
    let watched = start(Options::portable()).await;
    let clients = clients_with(&watched, 24, "gate held").await;
    let pool = &watched.pool;
    begin_end(pool).await;
    pool.workers().iter().for_each(|worker| pool.kill_worker(worker.pid));
    let is_it = |line: &shovel_tests::Line| line.message().contains("something is left to handle");
    pool.wait_for("a worker for what is left", is_it).await;
    pool.open_gate("held");
    expect_all(watched.pool, clients).await;
}

/// F52.
#[tokio::test]
async fn a_request_that_waits_for_a_worker_is_answered_though_the_pool_ends() {
    let (mut watched, _) = asleep(0).await;
    let pool = &mut watched.pool;
    let (address, before) = (pool.address(), pool.started().len());
    let asked = tokio::spawn(async move { get(address, "/info").await });
    until_one_starts(pool, before).await;
    begin_end(pool).await;
    pool.open_gate(START);
    assert_eq!(asked.await.unwrap().status, 200);
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
}

/// F52.
#[tokio::test]
async fn a_pool_that_has_never_served_ends_at_once_though_a_request_waits() {
    let options = Options::app().variable("FIXTURE_START_GATE", START);
    let mut pool = Pool::launch(options);
    pool.wait_until_it_listens().await;
    pool.wait_at_gate(START).await;
    let address = pool.address();
    let asked = tokio::spawn(async move { get(address, "/info").await });
    // It has been read once it is counted.
    let status = || async { pool.operate(&["status", "--json"]).await.json() };
    while status().await["totals"]["requests_waiting"] != 1 {}
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    drop(asked);
}

/// F174: nothing waits for ever.
#[tokio::test]
async fn clients_are_told_of_the_end_though_no_worker_could_be_started_for_their_messages() {
    let (mut watched, mut clients) = asleep(2).await;
    let pool = &mut watched.pool;
    let before = pool.started().len();
    clients[0].send("never handled").await;
    until_one_starts(pool, before).await;
    begin_end(pool).await;
    pool.sigterm();
    for client in &mut clients {
        client.socket.expect_close(1001, "server shutting down").await;
    }
    assert_eq!(pool.exit_status().await.code(), Some(1), "{}", pool.log());
}
