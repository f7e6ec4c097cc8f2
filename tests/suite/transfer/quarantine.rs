//! G57: a message that ends its workers costs its own connection, and no other.

use std::time::Duration;

use serde_json::Value;
use shovel_tests::{Options, Pool, until};

use crate::harness::counted::{Busy, Counted};

const NEIGHBOURS: usize = 200;

async fn neighbours(pool: &Pool) -> Busy {
    let mut clients = Vec::new();
    for _ in 0..NEIGHBOURS {
        clients.push(Counted::connect(pool, "").await);
    }
    let busy = Busy::start(clients, &["busy"]);
    busy.wait_for_answers(NEIGHBOURS).await;
    busy
}

/// The pool goes on as whole as before.
async fn expect_only_its_own(pool: &Pool, poison: &mut Counted, busy: Busy) -> Vec<Counted> {
    poison.socket.expect_close_code(1011).await;
    busy.wait_for_answers(2 * NEIGHBOURS).await;
    let mut clients = busy.finish().await;
    for client in &mut clients {
        client.ask("still there").await;
    }
    until("as many workers as before", || pool.workers().len() == 2).await;
    clients
}

/// G57.
#[tokio::test]
async fn a_poison_message_closes_its_connection_and_no_busy_neighbour() {
    let options = Options::portable().workers(2).with("--io-threads", "2");
    let pool = Pool::start(options).await;
    let busy = neighbours(&pool).await;
    let mut poison = Counted::connect(&pool, "").await;
    poison.send("abort").await;
    let _open = expect_only_its_own(&pool, &mut poison, busy).await;
    assert_eq!(pool.wait_for_close_event(&poison.id).await["code"], 1011);
    assert_eq!(pool.events("close").len(), 1);
    assert_eq!(pool.exited().len(), 3, "{}", pool.log());
}

/// G57: so does an adoption; no worker could be told of that close.
#[tokio::test]
async fn a_poison_adoption_closes_its_connection_and_no_busy_neighbour() {
    let options = Options::portable().workers(2).with("--io-threads", "2");
    let pool = Pool::start(options).await;
    let busy = neighbours(&pool).await;
    let mut poison = Counted::connect(&pool, "adopting=abort").await;
    pool.sighup();
    let _open = expect_only_its_own(&pool, &mut poison, busy).await;
    assert_eq!(pool.events("close"), Vec::<Value>::new());
    // The two old ones, and three.
    pool.wait_for_reload(2).await;
    assert_eq!(pool.exited().len(), 5, "{}", pool.log());
}

/// G57: neither is a neighbour whose message a worker has died with for another reason before, so
/// that it is as suspect as the poison.
#[tokio::test]
async fn a_poison_adoption_after_a_crash_closes_no_neighbour_that_was_there_too() {
    let options = Options::portable().workers(2).with("--io-threads", "2");
    let pool = Pool::start(options).await;
    let busy = neighbours(&pool).await;
    let mut poison = Counted::connect(&pool, "adopting=abort").await;
    pool.kill_worker(poison.pid().await);
    let _open = expect_only_its_own(&pool, &mut poison, busy).await;
    assert_eq!(pool.events("close"), Vec::<Value>::new());
    // The one that was killed, and three.
    assert_eq!(pool.exited().len(), 4, "{}", pool.log());
}

/// G57: workers that were killed because they did not let go blame nobody.
#[tokio::test]
async fn a_connection_whose_workers_are_killed_for_a_move_is_not_blamed() {
    let options = Options::portable().with("--handler-timeout", "100ms");
    let pool = Pool::start(options).await;
    let mut client = Counted::connect(&pool, "").await;
    client.send("block").await;
    for generation in 2..=5 {
        pool.wait_for_event("the block", |event| event["event"] == "blocking").await;
        pool.reload(generation).await;
        assert_eq!(client.receive().await["redelivered"], true);
        client.send("block").await;
        let blocks = usize::try_from(generation).unwrap();
        until("the next block", || pool.events("blocking").len() == blocks).await;
    }
    assert_eq!(pool.events("close"), Vec::<Value>::new());
    // It ends with the pool, which need not wait for it.
    tokio::time::timeout(Duration::from_secs(10), async { drop(pool) }).await.unwrap();
}
