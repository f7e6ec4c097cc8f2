//! Requests that wait too long.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use nix::sys::signal::Signal;
use shovel_tests::{Http, Options, Pool, Raw, get, post, request, signal, until};

use crate::harness::watched::Watched;

in_both_modes!(
    a_request_without_an_answer_in_time_is_a_504_and_its_handler_is_dropped,
    Options::app().with("--request-timeout", "300ms")
);
/// D32.
async fn a_request_without_an_answer_in_time_is_a_504_and_its_handler_is_dropped(pool: Pool) {
    let mut http = Http::connect(pool.address()).await;
    let begun = Instant::now();
    let answer = http.get("/gated?gate=slow").await.unwrap();
    assert_eq!(answer.status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    pool.wait_for_event("the end of the handler", |event| event["event"] == "dropped").await;
    assert_eq!(get(pool.address(), "/info").await.status, 200);
}

/// D32.
#[tokio::test]
async fn an_answer_that_comes_after_the_504_goes_nowhere() {
    let pool = Pool::start(Options::app().with("--request-timeout", "300ms")).await;
    let pid = pool.workers()[0].pid;
    let mut http = Http::connect(pool.address()).await;
    // The worker answers before it hears of the cancelling: it stands still until both are there.
    signal(pid, Signal::SIGSTOP);
    let answer = http.get("/info").await.unwrap();
    signal(pid, Signal::SIGCONT);
    assert_eq!(answer.status, 504);
    for _ in 0..3 {
        assert_eq!(get(pool.address(), "/mirror").await.header("target"), "/mirror");
    }
}

in_both_modes!(
    an_upload_that_goes_on_may_last_longer_than_the_timeout,
    Options::app().with("--request-timeout", "200ms")
);
/// D32.
async fn an_upload_that_goes_on_may_last_longer_than_the_timeout(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await;
    for _ in 0..5 {
        // Another request that times out in the meantime tells that the time is over.
        assert_eq!(get(pool.address(), "/gated?gate=never").await.status, 504);
        raw.write("x").await;
    }
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

in_both_modes!(
    a_response_that_streams_may_last_longer_than_the_timeout,
    Options::app().with("--request-timeout", "200ms")
);
/// D32.
async fn a_response_that_streams_may_last_longer_than_the_timeout(pool: Pool) {
    let mut http = Http::connect(pool.address()).await;
    let answer = http.stream(request(Method::GET, "/stream?gate=last", "")).await.unwrap();
    // Another request that times out in the meantime tells that the time is over.
    assert_eq!(get(pool.address(), "/gated?gate=never").await.status, 504);
    pool.open_gate("last");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "first\nlast\n");
}

/// D34.
#[tokio::test]
async fn requests_wait_for_a_worker_to_be_ready() {
    let pool = Pool::start(Options::app()).await;
    let pid = pool.workers()[0].pid;
    pool.kill_worker(pid);
    pool.wait_until_exited(pid).await;
    let answer = post(pool.address(), "/count", "12345").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "5"));
}

/// D34.
#[tokio::test]
async fn a_request_that_no_worker_takes_in_time_is_a_503_with_retry_after() {
    let pool = starting(Options::app().with("--queue-timeout", "300ms")).await;
    let begun = Instant::now();
    let answer = get(pool.address(), "/info").await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    pool.open_gate("start");
    pool.wait_until_ready(1, 1).await;
    assert_eq!(get(pool.address(), "/info").await.status, 200);
    expect_failures(pool, 1, 0).await;
}

/// D34.
#[tokio::test]
async fn no_more_than_1024_requests_wait() {
    const FIT: usize = 1024;
    let pool = starting(Options::app()).await;
    let mut waiting = Vec::new();
    for _ in 0..FIT + 6 {
        let mut http = Http::connect(pool.address()).await;
        waiting.push(tokio::spawn(async move { http.get("/info").await.unwrap().status }));
    }
    // Those that do not fit are answered at once, before any worker is ready.
    until("the answers to those that do not fit", || {
        waiting.iter().filter(|request| request.is_finished()).count() >= 6
    })
    .await;
    pool.open_gate("start");
    let mut refused = 0;
    for request in waiting {
        let status = request.await.unwrap();
        refused += usize::from(status == 503);
        assert!(status == 503 || status == 200, "{status}");
    }
    assert_eq!(refused, 6);
    expect_failures(pool, 0, 6).await;
}

/// I68: what the metrics tell of requests that found no worker in time, or too many that wait.
async fn expect_failures(pool: Pool, no_worker: u32, queue_full: u32) {
    let metrics = Watched::of(pool).await.metrics().await;
    for (reason, expected) in [("no-worker", no_worker), ("queue-full", queue_full)] {
        let series = format!("shovel_request_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(metrics.of(&series), f64::from(expected), "{reason}");
    }
}

/// A pool that listens while its worker waits at the gate `start`.
async fn starting(options: Options) -> Pool {
    let options = Watched::options(options).variable("FIXTURE_START_GATE", "start");
    let mut pool = Pool::launch(options);
    pool.wait_until_it_listens().await;
    pool
}
