//! The end of a pool.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use shovel_tests::{Deploy, Http, Options, Pool, Raw, WebSocket, get, is_alive, signal, until};
use tokio::net::TcpStream;

/// F52.
#[tokio::test]
async fn terminate_finishes_what_is_in_flight_and_tells_clients_1001() {
    let mut pool = Pool::start(Options::app().workers(2).with("--io-threads", "2")).await;
    let address = pool.address();
    let mut socket = WebSocket::connect(address, "/ws?closing=closing").await;
    let mut http = Http::connect(address).await;
    let asking = tokio::spawn(async move { http.get("/gated?gate=request").await.unwrap().status });
    get(address, "/background?gate=background").await;
    pool.wait_at_gate("request").await;
    pool.wait_at_gate("background").await;
    pool.sigterm();
    pool.wait_for("the beginning of the end", |line| line.is("terminating")).await;
    until_refused(address).await;
    socket.expect_close(1001, "server shutting down").await;
    pool.wait_at_gate("closing").await;
    pool.open_gate("request");
    assert_eq!(asking.await.unwrap(), 200);
    assert!(is_alive(pool.pid()), "a close handler and background work are still at it");
    pool.open_gate("closing");
    pool.open_gate("background");
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    assert_eq!(pool.events("close")[0]["code"], 1001);
    assert_eq!(pool.events("background").len(), 1);
    assert_eq!(pool.events("shutdown").len(), 2);
    assert_eq!(pool.workers(), []);
}

/// New connections are refused from some moment on.
async fn until_refused(address: std::net::SocketAddr) {
    let deadline = Instant::now() + shovel_tests::PATIENCE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "connections are still taken");
    }
}

/// F52.
#[tokio::test]
async fn an_idle_pool_ends_at_once_on_each_signal_to_end() {
    for end in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut pool = Pool::start(Options::app().workers(2)).await;
        // A kept connection without a request under way holds up nothing.
        let mut http = Http::connect(pool.address()).await;
        http.get("/info").await.unwrap();
        let begun = Instant::now();
        signal(pool.pid(), end);
        assert_eq!(pool.exit_status().await.code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}

/// F250.
#[tokio::test]
async fn signals_that_say_something_to_other_servers_end_nobody() {
    let pool = Pool::start(Options::app()).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    for (foreign, name) in [
        (Signal::SIGUSR1, "SIGUSR1"),
        (Signal::SIGUSR2, "SIGUSR2"),
        (Signal::SIGALRM, "SIGALRM"),
        (Signal::SIGPIPE, "SIGPIPE"),
    ] {
        signal(pool.pid(), foreign);
        if foreign != Signal::SIGPIPE {
            pool.wait_for("a word about it", |line| line.message().contains(name)).await;
        }
        socket.send(name).await;
        socket.expect_text(&format!("echo {name}")).await;
    }
}

/// F52.
#[tokio::test]
async fn connections_are_closed_1001_after_the_messages_already_read() {
    let mut pool = Pool::start(Options::app()).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    // Sent at once: when the first is handled the second has been read too.
    socket.feed("gate busy".into()).await;
    socket.send("behind").await;
    pool.wait_at_gate("busy").await;
    pool.sigterm();
    pool.wait_for("the beginning of the end", |line| line.is("terminating")).await;
    pool.open_gate("busy");
    socket.expect_text("passed busy").await;
    socket.expect_text("echo behind").await;
    socket.expect_close(1001, "server shutting down").await;
    assert_eq!(pool.exit_status().await.code(), Some(0));
}

/// F52.
#[tokio::test]
async fn over_the_shutdown_timeout_the_rest_is_killed_and_the_pool_fails() {
    let mut pool = Pool::start(Options::app().with("--shutdown-timeout", "500ms")).await;
    get(pool.address(), "/background?gate=never").await;
    pool.wait_at_gate("never").await;
    let begun = Instant::now();
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(1));
    assert!(begun.elapsed() >= Duration::from_millis(500));
}

/// F53: whoever is not finished when the time is up is told of the end, not of a dead worker.
#[tokio::test]
async fn a_connection_whose_handler_outlasts_the_end_is_closed_with_1001() {
    let mut pool = Pool::start(Options::app().with("--shutdown-timeout", "500ms")).await;
    let mut socket = shovel_tests::WebSocket::connect(pool.address(), "/ws").await;
    socket.send("gate never").await;
    pool.wait_at_gate("never").await;
    pool.sigterm();
    socket.expect_close_code(1001).await;
    assert_eq!(pool.exit_status().await.code(), Some(1), "{}", pool.log());
}

/// F52.
#[tokio::test]
async fn a_worker_that_ignores_the_shutdown_cannot_keep_the_pool() {
    let mut pool = Pool::start(Options::rogue("deaf").with("--shutdown-timeout", "500ms")).await;
    let pid = pool.workers()[0].pid;
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(1));
    assert!(!is_alive(pid));
}

/// F52.
#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut pool = Pool::start(Options::app()).await;
    get(pool.address(), "/background?gate=never").await;
    pool.wait_at_gate("never").await;
    let begun = Instant::now();
    pool.sigterm();
    pool.wait_for("the beginning of the end", |line| line.is("terminating")).await;
    pool.sigterm();
    let code = pool.exit_status().await.code();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// F52.
#[tokio::test]
async fn a_client_that_does_not_answer_its_close_holds_up_the_end_by_a_second_at_most() {
    let mut pool = Pool::start(Options::app()).await;
    let mut raw = Raw::websocket(pool.address(), "/ws").await;
    let begun = Instant::now();
    pool.sigterm();
    assert_eq!(raw.frame().await.close_code(), 1001);
    assert_eq!(pool.exit_status().await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    pool.wait_for_event("the close event", |event| event["event"] == "close").await;
    assert_eq!(pool.events("close").len(), 1);
}

/// F53.
#[tokio::test]
async fn terminate_during_a_reload_ends_the_pool() {
    let mut pool = Pool::start(Options::app().workers(2)).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.send("gate busy").await;
    pool.wait_at_gate("busy").await;
    pool.sighup();
    pool.wait_until_ready(2, 2).await;
    pool.sigterm();
    pool.wait_for("the beginning of the end", |line| line.is("terminating")).await;
    pool.open_gate("busy");
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    socket.expect_text("passed busy").await;
    assert_eq!(pool.workers(), []);
}

/// F53.
#[tokio::test]
async fn terminate_while_a_new_generation_starts_ends_the_pool() {
    let deploy = Deploy::of("good");
    let mut pool = Pool::start(Options::deployed(&deploy).workers(2)).await;
    deploy.rogue("never-ready");
    pool.sighup();
    let is_new = |line: &shovel_tests::Line| line.is_of_generation("worker started", 2);
    pool.wait_for("a worker of the new generation", is_new).await;
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    assert_eq!(pool.workers(), []);
}

/// F53.
#[tokio::test]
async fn a_reload_during_terminate_is_ignored() {
    let mut pool = Pool::start(Options::app()).await;
    get(pool.address(), "/background?gate=last").await;
    pool.wait_at_gate("last").await;
    pool.sigterm();
    pool.wait_for("the beginning of the end", |line| line.is("terminating")).await;
    pool.sighup();
    pool.open_gate("last");
    assert_eq!(pool.exit_status().await.code(), Some(0));
    let lines = pool.log().lines();
    assert!(!lines.iter().any(|line| line.is_of_generation("worker started", 2)));
}

/// F53.
#[tokio::test]
async fn a_crash_during_terminate_is_not_restarted_and_the_pool_ends() {
    let mut pool = Pool::start(Options::app().workers(2)).await;
    get(pool.address(), "/background?gate=never").await;
    let pid = pool.wait_at_gate("never").await["pid"].as_u64().unwrap();
    pool.sigterm();
    pool.wait_for("the beginning of the end", |line| line.is("terminating")).await;
    pool.kill_worker(pid.try_into().unwrap());
    pool.exit_status().await;
    let starts = pool.started().len();
    assert_eq!(starts, 2);
    until("nobody", || !is_alive(pid.try_into().unwrap())).await;
}
