//! Reloads that go wrong.

use shovel_tests::{Deploy, Options, Pool, WebSocket, get};

/// Reloads into what has been deployed, expects that this is abandoned with a reason in these
/// words and that it cost nobody anything, and then reloads well.
async fn assert_costs_nothing(pool: Pool, deploy: &Deploy, words: &str) {
    let old = pool.workers();
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    pool.sighup();
    let abandoned =
        pool.wait_for("the end of the attempt", |line| line.is("reload abandoned")).await;
    assert_eq!(abandoned.number("generation"), Some(2));
    assert!(abandoned.raw.contains(words), "no {words:?} in {}", abandoned.raw);
    assert_eq!(socket.ask("still here").await, "echo still");
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "good");
    shovel_tests::until("the end of the bad ones", || pool.workers() == old).await;

    deploy.app("better");
    pool.sighup();
    socket.expect_close(1012, "server reloading").await;
    let is_end = |line: &shovel_tests::Line| line.is("reload finished");
    pool.wait_for("the end of the good reload", is_end).await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "better");
}

async fn good_pool(deploy: &Deploy) -> Pool {
    let options = Options::deployed(deploy)
        .workers(2)
        .with("--ready-timeout", "2s")
        .with("--close-spread", "0ms");
    Pool::start(options).await
}

/// F50 and E41.
#[tokio::test]
async fn a_new_binary_that_crashes_costs_nothing() {
    let deploy = Deploy::of("good");
    let pool = good_pool(&deploy).await;
    deploy.rogue("exit");
    assert_costs_nothing(pool, &deploy, "exited with code 3").await;
}

/// F50.
#[tokio::test]
async fn a_new_binary_that_never_becomes_ready_costs_nothing() {
    let deploy = Deploy::of("good");
    let pool = good_pool(&deploy).await;
    deploy.rogue("never-ready");
    assert_costs_nothing(pool, &deploy, "ready").await;
}

/// F50 and E46.
#[tokio::test]
async fn a_new_binary_that_does_not_speak_the_link_costs_nothing() {
    let deploy = Deploy::of("good");
    let pool = good_pool(&deploy).await;
    deploy.rogue("stranger");
    assert_costs_nothing(pool, &deploy, "link").await;
}

/// F50 and E46.
#[tokio::test]
async fn a_new_binary_of_another_version_costs_nothing() {
    let deploy = Deploy::of("good");
    let pool = good_pool(&deploy).await;
    deploy.rogue("wrong-version");
    assert_costs_nothing(pool, &deploy, "version").await;
}

/// F50 and E46.
#[tokio::test]
async fn a_new_file_that_cannot_be_executed_costs_nothing() {
    let deploy = Deploy::of("good");
    let pool = good_pool(&deploy).await;
    deploy.not_executable();
    let path = deploy.path();
    assert_costs_nothing(pool, &deploy, path.to_str().unwrap()).await;
}

/// F50 and E46.
#[tokio::test]
async fn a_file_that_is_gone_at_a_reload_costs_nothing() {
    let deploy = Deploy::of("good");
    let pool = good_pool(&deploy).await;
    std::fs::remove_file(deploy.path()).unwrap();
    let path = deploy.path();
    assert_costs_nothing(pool, &deploy, path.to_str().unwrap()).await;
}

/// F53.
#[tokio::test]
async fn a_worker_that_crashes_during_a_reload_does_not_stop_it() {
    let deploy = Deploy::of("good");
    let pool = good_pool(&deploy).await;
    let old = pool.workers();
    deploy.app("better");
    pool.sighup();
    pool.wait_for("the start of the reload", |line| line.is("reload started")).await;
    pool.kill_worker(old[0].pid);
    pool.wait_for_reload(2).await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "better");
    assert!(pool.workers().iter().all(|worker| worker.generation == 2));
}

/// E175: a worker that does not leave delays a reload by its deadline at most.
#[tokio::test]
async fn a_worker_that_will_not_leave_is_killed_at_its_deadline() {
    let options = Options::rogue("deaf").with("--shutdown-timeout", "500ms");
    let pool = Pool::start(options).await;
    let old = pool.workers()[0].pid;
    pool.sighup();
    pool.wait_until_exited(old).await;
    pool.wait_for_reload(2).await;
}

/// E175: nor does one that acknowledges nothing.
#[tokio::test]
async fn a_worker_that_acknowledges_nothing_delays_a_reload_by_the_drain_timeout_at_most() {
    let options =
        Options::rogue("mute").with("--drain-timeout", "500ms").with("--close-spread", "0ms");
    let pool = Pool::start(options).await;
    let mut socket = WebSocket::connect(pool.address(), "/").await;
    assert_eq!(socket.ask("one").await, "one");
    pool.sighup();
    pool.wait_for_reload(2).await;
    match socket.next().await {
        tokio_tungstenite::tungstenite::Message::Close(Some(frame)) => {
            let code = u16::from(frame.code);
            assert!(code == 1012 || code == 1011, "{code}");
        }
        other => panic!("not a close: {other:?}"),
    }
}

/// E175: a worker that is gone delays nothing.
#[tokio::test]
async fn a_reload_while_a_place_waits_to_be_restarted_goes_on() {
    let pool = Pool::start(Options::app().workers(2)).await;
    let victim = pool.workers()[0].pid;
    pool.kill_worker(victim);
    pool.wait_until_exited(victim).await;
    pool.reload(2).await;
    assert_eq!(pool.workers().len(), 2);
    assert_eq!(get(pool.address(), "/info").await.json()["generation"], 2);
}
