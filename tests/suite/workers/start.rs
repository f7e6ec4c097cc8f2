//! Workers that do not start, and pools that do not come up.

use std::time::Duration;

use shovel_tests::{Options, Pool, WebSocket, get, program};

/// E41.
#[tokio::test]
async fn three_failed_starts_with_none_ever_ready_end_the_pool_with_the_last_words() {
    let mut pool = Pool::launch(Options::rogue("exit").workers(2));
    assert_eq!(pool.exit_status().await.code(), Some(1));
    let log = pool.log().to_string();
    assert!(log.contains("cannot start: the database is away"), "{log}");
    let starts = pool.started().len();
    assert!((3..=6).contains(&starts), "{starts} starts:\n{log}");
}

/// E41.
#[tokio::test]
async fn an_app_whose_start_handler_fails_says_so_in_the_pools_log() {
    let mut pool = Pool::launch(Options::app().variable("FIXTURE_START_FAILS", "1"));
    assert_eq!(pool.exit_status().await.code(), Some(1));
    let log = pool.log().to_string();
    assert!(log.contains("the database is away"), "{log}");
}

/// E42.
#[tokio::test]
async fn a_worker_that_is_not_ready_in_time_is_killed() {
    let mut pool = Pool::launch(Options::rogue("never-ready").with("--ready-timeout", "200ms"));
    pool.wait_for("a start", |line| line.is("worker started")).await;
    pool.wait_until_exited(pool.started()[0].pid).await;
    assert_eq!(pool.exit_status().await.code(), Some(1));
}

/// E46.
#[tokio::test]
async fn a_program_that_does_not_speak_the_link_ends_the_pool_with_a_line_that_says_so() {
    for (mode, words) in [("stranger", "link"), ("wrong-version", "version")] {
        let mut pool = Pool::launch(Options::rogue(mode));
        assert_eq!(pool.exit_status().await.code(), Some(1), "{mode}");
        let lines = pool.log().lines();
        let says_so = lines.iter().any(|line| line.output().is_none() && line.raw.contains(words));
        assert!(says_so, "no line with {words:?} about {mode}");
    }
}

/// E46.
#[tokio::test]
async fn a_program_that_knows_nothing_of_pools_ends_it_once_the_time_is_over() {
    let options = Options::program("/bin/sleep").argument("60").with("--ready-timeout", "200ms");
    let mut pool = Pool::launch(options);
    assert_eq!(pool.exit_status().await.code(), Some(1));
    let mut pool = Pool::launch(Options::program("/bin/true"));
    assert_eq!(pool.exit_status().await.code(), Some(1));
}

/// E46 and I65.
#[tokio::test]
async fn a_program_is_found_by_a_relative_path() {
    let app = program("fixture-app");
    let folder = app.parent().unwrap().display();
    let options = Options::program("./fixture-app").after(&format!("cd '{folder}'"));
    let pool = Pool::start(options).await;
    assert_eq!(get(pool.address(), "/info").await.status, 200);
}

/// E41.
#[tokio::test]
async fn a_worker_that_fails_again_and_again_is_restarted_after_growing_pauses() {
    let pool = Pool::start(Options::app()).await;
    let mut died = Vec::new();
    for times in 1..=4 {
        let ready = pool.wait_until_ready(1, times).await;
        pool.kill_worker(ready[times - 1].pid);
        pool.wait_until_exited(ready[times - 1].pid).await;
        died.push(std::time::Instant::now());
    }
    pool.wait_until_ready(1, 5).await;
    // 100, 200, 400 and 800 ms, of which jitter takes at most a quarter.
    let last = died[3].elapsed();
    assert!(last > Duration::from_millis(550), "the fourth restart came after {last:?}");
    let all = died[0].elapsed();
    assert!(all > Duration::from_millis(1000), "four restarts came within {all:?}");
    let mut socket = WebSocket::connect(pool.address(), "/ws/echo").await;
    assert_eq!(socket.ask("well again").await, "well again");
}
