//! G54: upgrades that are answered late, crossed with a reload.

use serde_json::Value;
use shovel_tests::{Options, Pool, WebSocket, get};

use crate::harness::counted::{Counted, PATH, pid_in};

/// G54: an upgrade whose handler ends after the switch is accepted by the old worker, and moves.
#[tokio::test]
async fn an_upgrade_that_is_answered_after_the_switch_moves_at_once() {
    let pool = Pool::start(Options::portable()).await;
    let address = pool.address();
    let path = format!("{PATH}?gate=late");
    let connecting = tokio::spawn(async move { WebSocket::connect(address, &path).await });
    let old = pid_in(&pool.wait_at_gate("late").await);
    pool.sighup();
    pool.wait_until_ready(2, 1).await;
    while get(pool.address(), "/info").await.json()["generation"] != 2 {}
    pool.open_gate("late");
    let mut client = Counted::of(connecting.await.unwrap()).await;
    pool.wait_for_reload(2).await;
    assert_ne!(client.pid().await, old);
    assert_eq!(pool.events("adopted").len(), 1);
}

/// G54: an upgrade that has timed out is nobody's, though its handler upgrades later; the worker
/// closes it by itself, and may go.
#[tokio::test]
async fn an_upgrade_that_timed_out_and_is_accepted_late_is_gone() {
    let pool = Pool::start(Options::portable().with("--upgrade-timeout", "200ms")).await;
    let path = format!("{PATH}?accepted=late");
    let refused = WebSocket::try_connect(pool.address(), &path).await.unwrap_err();
    assert_eq!(refused.status(), 504);
    let id = pool.wait_at_gate("late").await["connection"].clone();
    pool.sighup();
    pool.wait_until_ready(2, 1).await;
    pool.open_gate("late");
    let event = pool.wait_for_close_event(id.as_str().unwrap()).await;
    assert_eq!((&event["code"], &event["was_clean"]), (&1011.into(), &false.into()));
    pool.wait_for_reload(2).await;
    assert_eq!(pool.events("adopted"), Vec::<Value>::new());
    assert_eq!(pool.events("close").len(), 1);
    assert_eq!(pool.status().await["connections"], 0);
}

/// G54: the client leaves while the handler runs, during a reload.
#[tokio::test]
async fn an_upgrade_whose_client_leaves_during_a_reload_leaves_nothing_behind() {
    let pool = Pool::start(Options::portable()).await;
    let address = pool.address();
    let path = format!("{PATH}?accepted=late");
    let connecting = tokio::spawn(async move { WebSocket::connect(address, &path).await });
    let id = pool.wait_at_gate("late").await["connection"].clone();
    pool.sighup();
    pool.wait_until_ready(2, 1).await;
    connecting.abort();
    // Whose handler had upgraded it already: it hears of the close.
    let event = pool.wait_for_close_event(id.as_str().unwrap()).await;
    assert_eq!(event["code"], 1006);
    pool.wait_for_reload(2).await;
    assert_eq!(pool.events("dropped").len(), 1);
    assert_eq!(pool.events("adopted"), Vec::<Value>::new());
    assert_eq!(pool.status().await["connections"], 0);
}

/// G55: its worker dies instead: a request that was not answered is tried on another one.
#[tokio::test]
async fn an_upgrade_whose_worker_dies_is_not_half_accepted() {
    let pool = Pool::start(Options::portable().workers(2)).await;
    let address = pool.address();
    let path = format!("{PATH}?accepted=late");
    let connecting = tokio::spawn(async move { WebSocket::try_connect(address, &path).await });
    pool.kill_worker(pid_in(&pool.wait_at_gate("late").await));
    pool.open_gate("late");
    match connecting.await.unwrap() {
        Ok(socket) => drop(Counted::of(socket).await),
        Err(refused) => assert_eq!(refused.status(), 502),
    }
    assert_eq!(pool.events("adopted"), Vec::<Value>::new());
}
