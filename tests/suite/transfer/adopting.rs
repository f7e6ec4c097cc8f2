//! A new program that fails when it adopts.

use serde_json::Value;
use shovel_tests::{Options, Pool, get, until};

use crate::harness::counted::{Counted, pid_in};
use crate::harness::watched::Watched;

const CLIENTS: usize = 8;

async fn clients(pool: &Pool, query: &str) -> Vec<Counted> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Counted::connect(pool, query).await);
    }
    clients
}

/// G84: it shows by its first adoption whether it can adopt at all.
#[tokio::test]
async fn a_new_worker_is_given_no_second_connection_before_it_has_answered_for_the_first() {
    let options = Options::portable().workers(2).with("--io-threads", "2");
    let pool = Pool::start(options).await;
    let mut clients = clients(&pool, "adopting=gate+adopt").await;
    pool.sighup();
    pool.wait_at_gate("adopt").await;
    // Each turn of an I/O thread would begin as many moves as there is room for.
    for _ in 0..100 {
        get(pool.address(), "/info").await;
    }
    let mut adopting: Vec<u32> = pool.events("adopted").iter().map(pid_in).collect();
    let count = adopting.len();
    adopting.sort_unstable();
    adopting.dedup();
    assert_eq!(adopting.len(), count, "{count} adoptions are asked of {} workers", adopting.len());
    pool.open_gate("adopt");
    for client in &mut clients {
        while client.ask("have you moved").await["generation"] != 2 {}
    }
    pool.wait_for_reload(2).await;
    assert_eq!(pool.events("close"), Vec::<Value>::new());
}

/// G84: a program that exits when it adopts does not end one connection for each of its deaths.
#[tokio::test]
async fn a_program_that_exits_when_it_adopts_closes_no_crowd_of_connections() {
    const DEATHS: usize = 6;
    let watched = Watched::start(Options::portable()).await;
    let pool = &watched.pool;
    let _open = clients(pool, "adopting=exit").await;
    pool.sighup();
    let deaths = || pool.exited().iter().filter(|worker| worker.generation == 2).count();
    until("six deaths", || deaths() >= DEATHS).await;
    let deaths = deaths();
    // The next worker needs a pause before it starts, so nothing changes meanwhile.
    let metrics = watched.metrics().await;
    let closed = CLIENTS - metrics.of("shovel_connections") as usize;
    assert!(closed <= deaths / 3, "{closed} closed after {deaths} deaths:\n{}", pool.log());
    assert_eq!(metrics.of("shovel_connections_quarantined_total"), closed as f64);
}

/// G84: and what it does end is counted.
#[tokio::test]
async fn a_connection_that_ends_three_adopting_workers_is_counted() {
    let watched = Watched::start(Options::portable()).await;
    let mut client = Counted::connect(&watched.pool, "adopting=exit").await;
    watched.pool.sighup();
    client.socket.expect_close_code(1011).await;
    let deaths = || watched.pool.exited().iter().filter(|worker| worker.generation == 2).count();
    until("three deaths", || deaths() == 3).await;
    let metrics = watched.metrics().await;
    assert_eq!(metrics.of("shovel_connections_quarantined_total"), 1.0);
}
