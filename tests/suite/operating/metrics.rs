//! I68: the admin address. What it tells is compared with what the test itself has done
//! and seen.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use shovel_tests::{Deploy, Http, Options, Pool, Raw, WebSocket, get, post, until, within};

use crate::harness::watched::{Metrics, Watched};

/// I68.
#[tokio::test]
async fn requests_are_counted_as_the_clients_saw_them() {
    let watched = Watched::start(Options::app().workers(2).with("--io-threads", "2")).await;
    let address = watched.pool.address();
    let (mut requests, mut bytes) = (0, 0);
    for _ in 0..7 {
        let answer = get(address, "/info").await;
        (requests, bytes) = (requests + 1, bytes + answer.body.len());
    }
    for (path, status) in [("/status?code=302", 302), ("/nothing", 404), ("/panic", 500)] {
        let answer = get(address, path).await;
        assert_eq!(answer.status, status);
        (requests, bytes) = (requests + 1, bytes + answer.body.len());
    }
    let upload = vec![b'x'; 700_000];
    let answer = post(address, "/count", upload.clone()).await;
    (requests, bytes) = (requests + 1, bytes + answer.body.len());
    let answer = get(address, "/produce?bytes=900000").await;
    assert_eq!(answer.body.len(), 900_000);
    (requests, bytes) = (requests + 1, bytes + answer.body.len());
    let metrics = watched.metrics().await;
    for (name, expected) in [
        ("requests_total", requests),
        ("request_body_bytes_total", upload.len()),
        ("response_body_bytes_total", bytes),
    ] {
        assert_eq!(metrics.of(&format!("shovel_{name}")), expected as f64, "{name}");
        assert_eq!(metrics.of_workers(&format!("shovel_worker_{name}")), expected as f64, "{name}");
    }
    for (code, expected) in [("1xx", 0), ("2xx", 9), ("3xx", 1), ("4xx", 1), ("5xx", 1)] {
        let series = format!("shovel_responses_total{{code=\"{code}\"}}");
        assert_eq!(metrics.of(&series), f64::from(expected), "{code}");
    }
    assert_eq!(metrics.of("shovel_request_duration_seconds_count"), requests as f64);
    assert_eq!(metrics.of("shovel_request_duration_seconds_bucket{le=\"+Inf\"}"), requests as f64);
    assert_eq!(metrics.of_workers("shovel_worker_answers_total"), requests as f64);
    let (all, theirs) = (
        metrics.of("shovel_request_duration_seconds_sum"),
        metrics.of_workers("shovel_worker_answer_seconds_total"),
    );
    assert!(all > 0.0 && (all - theirs).abs() < 1e-6, "{all} and {theirs}");
    assert_eq!(metrics.of("shovel_clients_accepted_total"), requests as f64);
    assert_eq!(metrics.of("shovel_requests_under_way"), 0.0);
}

/// I68.
#[tokio::test]
async fn messages_and_connections_are_counted_as_the_clients_saw_them() {
    let watched = Watched::start(Options::app().workers(2).with("--io-threads", "2")).await;
    let address = watched.pool.address();
    let mut sockets = Vec::new();
    for _ in 0..6 {
        sockets.push(WebSocket::connect(address, "/ws?subscribe=room").await);
    }
    let (mut received, mut bytes_received, mut bytes_sent) = (0, 0, 0);
    for (round, socket) in sockets.iter_mut().enumerate() {
        for _ in 0..=round {
            let text = format!("word{}", "x".repeat(round * 100));
            let answer = socket.ask(&text).await;
            received += 1;
            (bytes_received, bytes_sent) = (bytes_received + text.len(), bytes_sent + answer.len());
        }
    }
    sockets[0].send("publish room hello").await;
    for socket in &mut sockets {
        socket.expect_text("hello").await;
    }
    watched.pool.operate(&["publish", "room", "outside"]).await.text();
    for socket in &mut sockets {
        socket.expect_text("outside").await;
    }
    let metrics = watched.metrics().await;
    for (name, expected) in [
        ("connections_opened_total", 6),
        ("messages_received_total", received + 1),
        ("message_bytes_received_total", bytes_received + "publish room hello".len()),
        ("messages_sent_total", received),
        ("message_bytes_sent_total", bytes_sent),
        ("messages_published_total", 1),
        ("connections", 6),
    ] {
        assert_eq!(metrics.of(&format!("shovel_{name}")), expected as f64, "{name}");
        assert_eq!(metrics.of_workers(&format!("shovel_worker_{name}")), expected as f64, "{name}");
    }
    assert_eq!(metrics.of("shovel_messages_delivered_total"), 12.0);
    let bytes = 6 * ("hello".len() + "outside".len());
    assert_eq!(metrics.of("shovel_message_bytes_delivered_total"), bytes as f64);
    assert_eq!(metrics.of("shovel_clients"), 6.0);
    assert_eq!(metrics.of("shovel_responses_total{code=\"1xx\"}"), 6.0);
    for socket in sockets {
        socket.close(1000, "").await;
    }
    let metrics = watched.until("no connection", |now| now.of("shovel_connections") == 0.0).await;
    assert_eq!(metrics.of("shovel_connections_opened_total"), 6.0);
    watched.until("no client", |now| now.of("shovel_clients") == 0.0).await;
}

/// I68.
#[tokio::test]
async fn reloads_restarts_and_failures_are_counted_and_set_nothing_back() {
    let deploy = Deploy::of("good");
    let options = Options::deployed(&deploy).with("--request-timeout", "200ms");
    let watched = Watched::start(options).await;
    let (pool, address) = (&watched.pool, watched.pool.address());
    for _ in 0..3 {
        get(address, "/info").await;
    }
    pool.reload(2).await;
    deploy.not_executable();
    pool.operate(&["reload"]).await.failure();
    assert_eq!(get(address, "/gated?gate=never").await.status, 504);
    assert_eq!(post(address, "/exit", "x").await.status, 502);
    pool.wait_until_ready(2, 2).await;
    get(address, "/info").await;
    let metrics = watched.metrics().await;
    assert_eq!(metrics.of("shovel_generation"), 2.0);
    assert_eq!(metrics.of("shovel_reloads_total{outcome=\"finished\"}"), 1.0);
    assert_eq!(metrics.of("shovel_reloads_total{outcome=\"abandoned\"}"), 1.0);
    assert_eq!(metrics.of("shovel_restarts_total"), 1.0);
    assert_eq!(metrics.of("shovel_worker_restarts_total{worker=\"0\"}"), 1.0);
    // By workers of two generations, and before and after a restart.
    assert_eq!(metrics.of("shovel_worker_requests_total{worker=\"0\"}"), 6.0);
    assert_eq!(metrics.of("shovel_request_failures_total{reason=\"timeout\"}"), 1.0);
    assert_eq!(metrics.of("shovel_request_failures_total{reason=\"worker-lost\"}"), 1.0);
    assert_eq!(metrics.of("shovel_responses_total{code=\"5xx\"}"), 2.0);
    assert_eq!(metrics.of("shovel_workers{state=\"ready\"}"), 1.0);
}

/// I68.
#[tokio::test]
async fn what_waits_is_told_while_it_does_and_slow_consumers_are_counted() {
    let options = Options::app().with("--outbox-limit", "64KiB");
    let watched = Watched::start(options).await;
    let address = watched.pool.address();
    let mut slow = Raw::websocket(address, "/ws?subscribe=news").await;
    slow.write_frame(1, b"flood 1000").await;
    watched.until("bytes that wait", |now| now.of("shovel_outbox_bytes") >= 65_536.0).await;
    let request = tokio::spawn(async move { get(address, "/gated?gate=slow").await });
    watched.until("a request", |now| now.of("shovel_requests_under_way") == 1.0).await;
    watched.pool.open_gate("slow");
    request.await.unwrap();
    let told = watched.pool.operate(&["publish", "news", "too much", "--json"]).await.json();
    assert_eq!(told["closed"], 1);
    let metrics = watched.metrics().await;
    assert_eq!(metrics.of("shovel_slow_consumers_total"), 1.0);
    assert_eq!(metrics.of("shovel_worker_slow_consumers_total{worker=\"0\"}"), 1.0);
    drop(slow);
    watched.until("nothing to wait", |now| now.of("shovel_outbox_bytes") == 0.0).await;
}

/// I68.
#[cfg(target_env = "gnu")]
#[tokio::test]
async fn what_waits_is_allocated_and_what_has_gone_is_freed() {
    const MIB: f64 = 1024.0 * 1024.0;
    let allocated = |now: &Metrics| now.of("shovel_allocated_bytes");
    let watched = Watched::start(Options::app().with("--outbox-limit", "16MiB")).await;
    let address = watched.pool.address();
    let before = allocated(&watched.metrics().await);
    assert!((0.1 * MIB..16.0 * MIB).contains(&before), "{before}");
    let mut slow = Raw::websocket(address, "/ws").await;
    slow.write_frame(1, b"flood 1000").await;
    let waits = |now: &Metrics| now.of("shovel_outbox_bytes") >= 16.0 * MIB;
    let full = watched.until("bytes that wait", waits).await;
    // A buffer may be twice as long as what is in it, and is copied where it grows.
    assert!((16.0 * MIB..64.0 * MIB).contains(&(allocated(&full) - before)), "{full:?}");
    let status = watched.pool.status().await;
    assert!(status["allocated_bytes"].as_f64().unwrap() - before > 8.0 * MIB, "{status}");
    drop(slow);
    watched.until("memory to be freed", |now| allocated(now) < before + MIB).await;
}

/// I68.
#[tokio::test]
async fn readyz_says_whether_requests_would_be_answered_and_healthz_whether_the_pool_lives() {
    let options = Watched::options(Options::app().variable("FIXTURE_START_GATE", "start"));
    let mut pool = Pool::launch(options);
    let line = pool.wait_for("the address", |line| line.is("listening for operators")).await;
    let admin: SocketAddr = line.text("address").trim_start_matches("http://").parse().unwrap();
    pool.wait_at_gate("start").await;
    assert_eq!(get(admin, "/healthz").await.status, 200);
    let answer = get(admin, "/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (503, "no worker is ready\n"));
    pool.open_gate("start");
    pool.wait_until_it_listens().await;
    pool.wait_until_ready(1, 1).await;
    assert_eq!(get(admin, "/readyz").await.status, 200);
    let address = pool.address();
    let request = tokio::spawn(async move { get(address, "/gated?gate=slow").await });
    pool.wait_at_gate("slow").await;
    pool.sigterm();
    pool.wait_for("the end to begin", |line| line.is("terminating")).await;
    assert_eq!(get(admin, "/readyz").await.status, 503);
    assert_eq!(get(admin, "/healthz").await.status, 200);
    let status = get(admin, "/status").await.json();
    assert_eq!((&status["terminating"], &status["pid"]), (&true.into(), &pool.pid().into()));
    pool.open_gate("slow");
    assert_eq!(request.await.unwrap().status, 200);
    assert_eq!(pool.exit_status().await.code(), Some(0));
}

#[tokio::test]
async fn every_metric_is_documented_and_no_other() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md");
    let document = std::fs::read_to_string(document).unwrap();
    let table = document.split("| of the pool |").nth(1).unwrap();
    let table = table.split("\n\n").next().unwrap();
    let mut documented: BTreeSet<_> =
        table.split('`').filter(|word| word.starts_with("shovel_")).collect();
    if !cfg!(target_env = "gnu") {
        documented.remove("shovel_allocated_bytes");
    }
    let watched = Watched::start(Options::app()).await;
    let metrics = get(watched.admin, "/metrics").await;
    let told = metrics.text().lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told: BTreeSet<_> = told.map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(told, documented);
}

#[tokio::test]
async fn clients_of_the_admin_address_that_dawdle_are_let_go_and_change_nothing() {
    let watched = Watched::start(Options::app()).await;
    let mut dawdling = Raw::connect(watched.admin).await;
    dawdling.write("GET /metrics HTT").await;
    for path in ["/", "/reload", "/metrics/x"] {
        assert_eq!(get(watched.admin, path).await.status, 404, "{path}");
    }
    assert_eq!(post(watched.admin, "/status", "x").await.status, 405);
    let mut client = Http::connect(watched.admin).await;
    assert_eq!(client.get("/healthz").await.unwrap().text(), "ok\n");
    until("the end of the connection", || client.is_closed()).await;
    let told = within("the end of patience", dawdling.rest()).await;
    assert!(told.starts_with(b"HTTP/1.1 408 "));
}

#[tokio::test]
async fn an_admin_address_that_is_taken_exits_1_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let app = shovel_tests::program("fixture-app");
    let folder = tempfile::TempDir::new().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--admin-listen", &address, app.to_str().unwrap()];
    let told = shovel_tests::operate(folder.path(), &arguments).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert_eq!(told.err.lines().count(), 1, "{told:?}");
    assert!(told.err.contains(&address) && told.err.contains("in use"), "{told:?}");
}
