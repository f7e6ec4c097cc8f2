//! The end of a pool while connections move.

use shovel_tests::{Line, Options, Pool};

use crate::harness::counted::Counted;
use crate::harness::watched::Watched;

/// Messages of each client that the pool has read when it is told to end.
const MESSAGES: usize = 3;

/// So many clients, and all that they have sent was read by the pool.
pub(super) async fn clients_with(watched: &Watched, clients: usize, text: &str) -> Vec<Counted> {
    let mut connected = Vec::new();
    for _ in 0..clients {
        let mut client = Counted::connect(&watched.pool, "").await;
        for _ in 0..MESSAGES {
            client.send(text).await;
        }
        connected.push(client);
    }
    // The first message of each asked for its id.
    let all = clients * (1 + MESSAGES);
    let read = "shovel_worker_messages_received_total";
    watched.until("all messages", |metrics| metrics.of_workers(read) >= all as f64).await;
    connected
}

/// Every answer comes, then 1001 and one close event for each.
pub(super) async fn expect_all(mut pool: Pool, clients: Vec<Counted>) {
    let count = clients.len();
    for mut client in clients {
        client.settle().await;
        client.socket.expect_close(1001, "server shutting down").await;
    }
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    let mut closes = pool.events("close");
    assert!(closes.iter().all(|event| event["code"] == 1001), "{closes:?}");
    closes.sort_by_key(|event| event["id"].to_string());
    closes.dedup_by_key(|event| event["id"].to_string());
    assert_eq!((closes.len(), pool.events("close").len()), (count, count), "{}", pool.log());
}

fn options() -> Options {
    Options::portable().workers(2).with("--io-threads", "2")
}

/// F80: SIGTERM at any step of a reload.
async fn nothing_read_is_lost_when_the_pool_ends_at(step: &str, is_it: impl Fn(&Line) -> bool) {
    let watched = Watched::start(options()).await;
    let clients = clients_with(&watched, 40, "sleep 100").await;
    watched.pool.sighup();
    watched.pool.wait_for(step, is_it).await;
    watched.pool.sigterm();
    expect_all(watched.pool, clients).await;
}

/// F80.
#[tokio::test]
async fn a_pool_that_ends_while_the_new_generation_starts_loses_nothing_that_was_read() {
    nothing_read_is_lost_when_the_pool_ends_at("the reload", |line| line.is("reload started"))
        .await;
}

/// F80.
#[tokio::test]
async fn a_pool_that_ends_at_the_switch_of_a_reload_loses_nothing_that_was_read() {
    let is_switch = |line: &Line| line.raw.contains("is whole and takes over");
    nothing_read_is_lost_when_the_pool_ends_at("the switch", is_switch).await;
}

/// F80.
#[tokio::test]
async fn a_pool_that_ends_at_the_first_move_of_a_reload_loses_nothing_that_was_read() {
    let is_move = |line: &Line| line.event().is_some_and(|event| event["event"] == "released");
    nothing_read_is_lost_when_the_pool_ends_at("a move", is_move).await;
}

/// F80.
#[tokio::test]
async fn a_pool_that_ends_at_the_first_adoption_of_a_reload_loses_nothing_that_was_read() {
    let is_adoption = |line: &Line| line.event().is_some_and(|event| event["event"] == "adopted");
    nothing_read_is_lost_when_the_pool_ends_at("an adoption", is_adoption).await;
}

/// F80: each old worker was told to release all of its connections when the pool is told to end, and
/// no handler has ended by then.
#[tokio::test]
async fn a_pool_that_ends_while_old_handlers_run_answers_all_and_tells_of_every_close() {
    let watched = Watched::start(options()).await;
    let clients = clients_with(&watched, 24, "gate held").await;
    let pool = &watched.pool;
    pool.sighup();
    pool.wait_for("the switch", |line| line.raw.contains("is whole and takes over")).await;
    pool.sigterm();
    pool.wait_for("the beginning of the end", |line| line.is("terminating")).await;
    // The workers that own nothing have had the time to leave, if they do.
    for _ in 0..20 {
        watched.metrics().await;
    }
    pool.open_gate("held");
    expect_all(watched.pool, clients).await;
}

/// F80: what a worker had that dies meanwhile is another's.
#[tokio::test]
async fn a_worker_that_dies_while_the_pool_ends_leaves_nothing_unanswered() {
    let watched = Watched::start(options()).await;
    let clients = clients_with(&watched, 24, "gate held").await;
    let pool = &watched.pool;
    let dies = pool.workers()[0].pid;
    pool.sigterm();
    pool.wait_for("the beginning of the end", |line| line.is("terminating")).await;
    pool.kill_worker(dies);
    pool.wait_until_exited(dies).await;
    pool.open_gate("held");
    expect_all(watched.pool, clients).await;
}
