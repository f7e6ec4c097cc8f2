//! BEHAVIOUR G87: a handler that blocks the thread of its worker.

use std::time::Duration;

use shovel_tests::{Options, Pool, until};

use crate::counted::{Busy, Counted};

/// G87: one that blocks again and again hangs one worker after the other, each for `--hang-timeout`;
/// what others wait for it is that and an adoption.
#[tokio::test]
#[ignore = "custody"]
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
