//! What a subcommand says when the pool ends before it can answer.

use shovel_tests::{Options, Pool};

/// I67.
#[tokio::test]
async fn a_reload_in_a_pool_that_ends_says_so_and_not_that_the_pool_goes_on() {
    let mut pool = Pool::start(Options::app()).await;
    let address = pool.address();
    let slow = tokio::spawn(async move { shovel_tests::get(address, "/gated?gate=slow").await });
    pool.wait_at_gate("slow").await;
    let reload = pool.begin(&["reload"]);
    pool.wait_until_ready(2, 1).await;
    pool.sigterm();
    let told = reload.await.unwrap();
    assert!(told.failure().contains("the pool is ending"), "{told:?}");
    assert!(!told.failure().contains("as before"), "{told:?}");
    pool.open_gate("slow");
    slow.await.unwrap();
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    // Nor when it has not begun.
    let told = pool.operate(&["reload"]).await;
    assert!(!told.failure().contains("as before"), "{told:?}");
}
