//! E45: workers that are replaced within their generation.

use std::collections::HashSet;

use shovel_tests::{Deploy, Http, Options, Pool, WebSocket, get, post};

/// E45.
#[tokio::test]
async fn a_worker_that_has_handled_its_share_is_replaced_without_a_failed_request() {
    let pool = Pool::start(Options::app().workers(2).with("--worker-max-requests", "20")).await;
    let first = pool.workers().iter().map(|worker| u64::from(worker.pid)).collect::<HashSet<_>>();
    let mut http = Http::connect(pool.address()).await;
    let mut asked = 0;
    loop {
        let answer = http.get("/info").await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["generation"], 1);
        asked += 1;
        assert!(asked < 100_000, "nobody was replaced:\n{}", pool.log());
        let pids =
            pool.workers().iter().map(|worker| u64::from(worker.pid)).collect::<HashSet<_>>();
        if pids.len() == 2 && pids.is_disjoint(&first) {
            break;
        }
    }
    assert!(asked >= 40, "replaced after {asked} requests");
}

/// E45.
#[tokio::test]
async fn a_worker_that_has_reached_its_age_is_replaced_and_its_connections_told_1012() {
    let pool = Pool::start(Options::app().with("--worker-max-age", "1s")).await;
    let old = pool.workers()[0];
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.expect_close_code(1012).await;
    pool.wait_until_exited(old.pid).await;
    let ready = pool.wait_until_ready(1, 2).await;
    assert_eq!((ready[1].index, ready[1].generation), (old.index, old.generation));
}

/// E45.
#[tokio::test]
async fn a_worker_that_holds_too_much_memory_is_replaced() {
    let pool = Pool::start(Options::app().with("--worker-max-rss", "200MiB")).await;
    let old = pool.workers()[0].pid;
    assert_eq!(post(pool.address(), "/grow?mib=300", "").await.text(), "grown");
    pool.wait_until_exited(old).await;
    assert_ne!(get(pool.address(), "/info").await.json()["pid"], old);
}

/// E45.
#[tokio::test]
async fn a_restarted_worker_runs_its_generations_image_though_another_file_lies_there() {
    let deploy = Deploy::of("first");
    let pool = Pool::start(Options::deployed(&deploy)).await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "first");
    deploy.app("second");
    pool.kill_worker(pool.workers()[0].pid);
    pool.wait_until_ready(1, 2).await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "first");
    pool.reload(2).await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "second");
}

/// E45: a copy over the running program neither fails nor changes what its generation runs.
#[tokio::test]
async fn a_program_may_be_copied_over_in_place_while_its_generation_runs() {
    let deploy = Deploy::of("first");
    let pool = Pool::start(Options::deployed(&deploy)).await;
    deploy.app_in_place("second");
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "first");
    pool.kill_worker(pool.workers()[0].pid);
    pool.wait_until_ready(1, 2).await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "first");
    pool.reload(2).await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "second");
}

/// E45.
#[tokio::test]
async fn a_restarted_script_runs_its_generations_lines_too() {
    let deploy = Deploy::of("first");
    deploy.rogue("honest");
    let pool = Pool::start(Options::deployed(&deploy)).await;
    deploy.rogue("exit");
    pool.kill_worker(pool.workers()[0].pid);
    pool.wait_until_ready(1, 2).await;
    assert_eq!(get(pool.address(), "/").await.status, 200);
}
