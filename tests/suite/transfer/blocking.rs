//! A handler that blocks the thread of its worker.

use std::time::{Duration, Instant};

use shovel_tests::{Line, Options, Pool, post, until};

use crate::harness::counted::{Busy, Counted};

/// The line that says which connection's handler does not end.
async fn wait_until_told(pool: &Pool, client: &Counted) -> Line {
    let is_it = |line: &Line| {
        line.text("connection") == client.id && line.message().contains("does not let go")
    };
    pool.wait_for("which connection's handler blocks", is_it).await
}

/// F81: a request has until `--drain-timeout`, whatever a neighbour's handler does.
#[tokio::test]
async fn a_request_is_answered_though_a_neighbours_handler_blocks_for_long() {
    let options = Options::portable().with("--handler-timeout", "100ms");
    let pool = Pool::start(options).await;
    let (address, mut client) = (pool.address(), Counted::connect(&pool, "").await);
    let posting = tokio::spawn(async move { post(address, "/gated?gate=post", "text").await });
    pool.wait_at_gate("post").await;
    client.send("block-for 2000").await;
    pool.wait_for_event("the block", |event| event["event"] == "blocking").await;
    pool.sighup();
    wait_until_told(&pool, &client).await;
    pool.open_gate("post");
    assert_eq!(posting.await.unwrap().status, 200);
    client.settle().await;
    pool.wait_for_reload(2).await;
    assert!(pool.log().lines().iter().all(|line| !line.raw.contains("killing it")));
}

/// F81: then the request is broken off, and the connection goes on with another worker.
#[tokio::test]
async fn a_worker_with_requests_is_killed_for_a_connection_at_the_drain_timeout() {
    let options =
        Options::portable().with("--handler-timeout", "100ms").with("--drain-timeout", "1500ms");
    let pool = Pool::start(options).await;
    let (address, mut client) = (pool.address(), Counted::connect(&pool, "").await);
    let posting = tokio::spawn(async move { post(address, "/gated?gate=never", "text").await });
    pool.wait_at_gate("never").await;
    client.send("block").await;
    pool.wait_for_event("the block", |event| event["event"] == "blocking").await;
    let begun = Instant::now();
    pool.sighup();
    wait_until_told(&pool, &client).await;
    assert_eq!(posting.await.unwrap().status, 502);
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    let answer = client.receive().await;
    assert_eq!((&answer["redelivered"], &answer["generation"]), (&true.into(), &2.into()));
    pool.wait_for_reload(2).await;
}

/// G87: one that blocks again and again hangs one worker after the other, each for `--hang-timeout`;
/// what others wait for it is that and an adoption.
#[tokio::test]
async fn a_handler_that_blocks_again_and_again_pauses_others_for_the_hang_timeout_at_most() {
    const HANG: Duration = Duration::from_secs(2);
    // A busy machine may take that long for an adoption and an answer.
    const ADOPTION: Duration = Duration::from_millis(1200);
    let options = Options::portable().workers(2).with("--hang-timeout", "2s");
    let pool = Pool::start(options).await;
    let mut neighbours = Vec::new();
    for _ in 0..20 {
        neighbours.push(Counted::connect(&pool, "").await);
    }
    let mut client = Counted::connect(&pool, "").await;
    let busy = Busy::start(neighbours, &["busy"]);
    busy.wait_for_answers(200).await;
    client.send("block-for 20000").await;
    pool.wait_for_event("the block", |event| event["event"] == "blocking").await;
    client.socket.expect_close_code(1011).await;
    busy.wait_for_answers(200).await;
    until("as many workers as before", || pool.workers().len() == 2).await;
    let longest = busy.longest_pause();
    busy.finish().await;
    assert!(longest <= HANG + ADOPTION, "others waited {longest:?}:\n{}", pool.log());
}
