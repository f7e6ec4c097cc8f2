//! G58: workers that nobody needs are not there, and are when they are needed.

use nix::sys::signal::Signal;
use serde_json::Value;
use shovel_tests::{Options, Pool, WebSocket, get, signal, until};

use crate::harness::counted::{Counted, pid_in};

fn sleepy(min_workers: &str) -> Options {
    Options::portable().with("--sleep-after", "100ms").with("--min-workers", min_workers)
}

/// Waits until no worker is left, the one that has answered last included: an answer may be here
/// before the log tells of who gave it.
async fn until_asleep(pool: &Pool, last: u32) {
    until("no worker at all", || {
        pool.started().iter().any(|worker| worker.pid == last) && pool.workers().is_empty()
    })
    .await;
}

/// G58.
#[tokio::test]
async fn publishes_arrive_with_no_worker_and_the_next_message_wakes_one() {
    let pool = Pool::start(sleepy("0").workers(2)).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Counted::connect(&pool, "subscribe=news").await);
    }
    for round in 0..3 {
        let last = clients[round].pid().await;
        until_asleep(&pool, last).await;
        let told = pool.operate(&["publish", "news", "extra", "--json"]).await.json();
        assert_eq!(told["delivered"], 4);
        for client in &mut clients {
            client.socket.expect_text("extra").await;
        }
        assert!(pool.workers().is_empty(), "round {round}");
        assert_eq!(clients[round].ask("awake?").await["redelivered"], false);
    }
    assert!(pool.events("adopted").iter().all(|event| event["cause"] == "Wake"));
    assert_eq!(pool.events("close"), Vec::<Value>::new());
}

/// G58.
#[tokio::test]
async fn a_request_wakes_a_worker_and_so_does_an_upgrade() {
    let pool = Pool::start(sleepy("0")).await;
    for _ in 0..2 {
        let answer = get(pool.address(), "/info").await.json();
        until_asleep(&pool, pid_in(&answer)).await;
    }
    let mut client = Counted::connect(&pool, "").await;
    client.ask("awake").await;
}

/// G58: the close event comes though everybody slept.
#[tokio::test]
async fn a_close_wakes_a_worker_for_its_event() {
    let pool = Pool::start(sleepy("0")).await;
    let mut client = Counted::connect(&pool, "").await;
    let id = client.id.clone();
    until_asleep(&pool, client.pid().await).await;
    client.socket.close(4000, "good night").await;
    let event = pool.wait_for_close_event(&id).await;
    assert_eq!((&event["code"], &event["redelivered"]), (&4000.into(), &false.into()));
    until_asleep(&pool, pid_in(&event)).await;
    // And if it goes without a word.
    let mut lost = Counted::connect(&pool, "").await;
    let id = lost.id.clone();
    until_asleep(&pool, lost.pid().await).await;
    drop(lost);
    assert_eq!(pool.wait_for_close_event(&id).await["code"], 1006);
}

/// G58: messages that cross the falling asleep are handled, each once.
#[tokio::test]
async fn messages_that_cross_the_falling_asleep_are_handled() {
    let options = Options::portable().with("--sleep-after", "1ms").with("--min-workers", "0");
    let pool = Pool::start(options).await;
    let mut client = Counted::connect(&pool, "").await;
    for round in 0..10 {
        // It is only about to: its connection leaves it, or its process ends, meanwhile.
        until("a sleeper", || falls_asleep(&pool) > round).await;
        for _ in 0..5 {
            client.ask("across").await;
        }
    }
    assert_eq!(pool.events("close"), Vec::<Value>::new());
}

/// How many times a worker has been told to fall asleep so far.
fn falls_asleep(pool: &Pool) -> usize {
    let lines = pool.log().lines();
    lines.iter().filter(|line| line.message().ends_with("falls asleep")).count()
}

/// G58.
#[tokio::test]
async fn a_reload_while_asleep_wakes_into_the_new_program() {
    let pool = Pool::start(sleepy("0")).await;
    let mut client = Counted::connect(&pool, "").await;
    until_asleep(&pool, client.pid().await).await;
    pool.reload(2).await;
    let answer = client.ask("awake?").await;
    assert_eq!((&answer["generation"], &answer["redelivered"]), (&2.into(), &false.into()));
    until_asleep(&pool, pid_in(&answer)).await;
    assert_eq!(client.ask("awake?").await["generation"], 2);
}

/// G58: nobody is woken to be told of the end.
#[tokio::test]
async fn a_pool_that_sleeps_ends_at_once() {
    let mut pool = Pool::start(sleepy("0")).await;
    let mut client = Counted::connect(&pool, "").await;
    until_asleep(&pool, client.pid().await).await;
    let started = pool.started().len();
    pool.sigterm();
    client.socket.expect_close(1001, "server shutting down").await;
    assert_eq!(pool.exit_status().await.code(), Some(0));
    assert_eq!(pool.started().len(), started, "{}", pool.log());
}

/// G58.
#[tokio::test]
async fn as_many_workers_as_told_stay_awake() {
    let pool = Pool::start(sleepy("1").workers(3)).await;
    let mut client = Counted::connect(&pool, "").await;
    until("one worker", || pool.workers().len() == 1).await;
    let last = pool.workers()[0].pid;
    client.ask("still there").await;
    // Twenty times as long as it takes.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(pool.workers().iter().map(|worker| worker.pid).collect::<Vec<_>>(), [last]);
    assert_eq!(client.pid().await, last);
}

/// G58: a connection that cannot move keeps its worker awake, until it closes.
#[tokio::test]
async fn a_connection_that_is_not_portable_keeps_its_worker_awake() {
    let pool = Pool::start(sleepy("0").workers(2)).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.send("info").await;
    let owner = pid_in(&socket.next_json().await);
    until("one worker", || pool.workers().len() == 1).await;
    assert_eq!(pool.workers()[0].pid, owner);
    assert_eq!(socket.ask("still").await, "echo still");
    // Ten times as long as it takes.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(pool.workers()[0].pid, owner);
    socket.close(4000, "enough").await;
    until_asleep(&pool, owner).await;
}

/// G58 and G55: the one that was woken dies at once; the message is handled all the same.
#[tokio::test]
async fn a_worker_that_dies_on_waking_is_followed_by_another() {
    let pool = Pool::start(sleepy("0")).await;
    let mut client = Counted::connect(&pool, "adopting=gate+adopt").await;
    until_asleep(&pool, client.pid().await).await;
    client.send("awake?").await;
    let first = pid_in(&pool.wait_at_gate("adopt").await);
    signal(first, Signal::SIGKILL);
    pool.open_gate("adopt");
    assert_ne!(pid_in(&client.receive().await), first);
}
