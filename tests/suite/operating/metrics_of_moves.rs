//! I68: what is told of connections that outlive their worker, beside what the test itself
//! has done and its clients have seen.

use shovel_tests::{Options, WebSocket, get, program};

use crate::harness::counted::Counted;
use crate::harness::watched::{Metrics, Watched};

fn moved(metrics: &Metrics, series: &str) -> f64 {
    metrics.of(&format!("shovel_connections_moved_{series}"))
}

/// I68, G54, G55.
#[tokio::test]
async fn moves_are_counted_by_their_causes() {
    let watched = Watched::start(Options::program(program("user-app")).workers(1)).await;
    let (pool, address) = (&watched.pool, watched.pool.address());
    let mut socket = WebSocket::connect(address, "/ws/counter").await;
    socket.ask("one").await;
    pool.reload(2).await;
    socket.ask("two").await;
    pool.kill_worker(pool.workers()[0].pid);
    socket.ask("three").await;
    let metrics = watched.metrics().await;
    let counts = [
        ("from_workers_total{how=\"released\"}", 1.0),
        ("from_workers_total{how=\"revoked\"}", 0.0),
        ("to_workers_total{cause=\"reload\"}", 1.0),
        ("to_workers_total{cause=\"crash\"}", 1.0),
        ("to_workers_total{cause=\"wake\"}", 0.0),
    ];
    for (series, expected) in counts {
        assert_eq!(moved(&metrics, series), expected, "{series}");
    }
    for name in ["connections_refused_total", "connections_quarantined_total"] {
        assert_eq!(metrics.of(&format!("shovel_{name}")), 0.0, "{name}");
    }
    let idle = |now: &Metrics| {
        now.of("shovel_connections_unowned") == 0.0 && now.of("shovel_kept_message_bytes") == 0.0
    };
    let metrics = watched.until("nothing under way", idle).await;
    assert_eq!(metrics.of("shovel_connections"), 1.0);
}

/// I68, G58: who sleeps is there all the same, and fit to be sent requests.
#[tokio::test]
async fn a_pool_that_sleeps_says_so_and_counts_its_connections() {
    let options = Options::program(program("user-app"))
        .workers(2)
        .with("--sleep-after", "100ms")
        .with("--min-workers", "0");
    let watched = Watched::start(options).await;
    let mut socket = WebSocket::connect(watched.pool.address(), "/ws/counter").await;
    socket.ask("one").await;
    let all_sleep = |now: &Metrics| {
        now.of("shovel_workers_asleep") == 2.0 && now.of("shovel_connections_unowned") == 1.0
    };
    let metrics = watched.until("all to sleep", all_sleep).await;
    assert_eq!(metrics.of("shovel_connections"), 1.0);
    assert_eq!(get(watched.admin, "/readyz").await.status, 200);
    let status = get(watched.admin, "/status").await.json();
    assert_eq!((&status["workers_asleep"], &status["connections"]), (&2.into(), &1.into()));
    let text = watched.pool.operate(&["status"]).await.text().to_owned();
    assert!(text.contains("2 wanted, ") && text.contains("2 asleep"), "{text}");
    socket.ask("two").await;
    let metrics = watched.metrics().await;
    assert_eq!(metrics.of("shovel_connections_moved_to_workers_total{cause=\"wake\"}"), 1.0);
}

/// I68, G54: handlers that take longer than `--handler-timeout` are dropped, and only they.
#[tokio::test]
async fn connections_that_are_taken_from_a_handler_are_counted_as_revoked() {
    let watched = Watched::start(Options::portable().with("--handler-timeout", "100ms")).await;
    let pool = &watched.pool;
    let (mut held, mut idle) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let mut client = Counted::connect(pool, "").await;
        client.send(&format!("gate held-{number}")).await;
        pool.wait_at_gate(&format!("held-{number}")).await;
        held.push(client);
        idle.push(Counted::connect(pool, "").await);
    }
    pool.reload(2).await;
    let mut dropped = 0;
    for (number, client) in held.iter_mut().enumerate() {
        pool.open_gate(&format!("held-{number}"));
        dropped += u32::from(client.receive().await["redelivered"] == true);
    }
    for client in &mut idle {
        client.ask("still there").await;
    }
    assert_eq!(dropped, 3);
    let metrics = watched.metrics().await;
    assert_eq!(moved(&metrics, "from_workers_total{how=\"revoked\"}"), f64::from(dropped));
    assert_eq!(moved(&metrics, "from_workers_total{how=\"released\"}"), idle.len() as f64);
    let all = held.len() + idle.len();
    assert_eq!(moved(&metrics, "to_workers_total{cause=\"reload\"}"), all as f64);
}

/// I68, G56.
#[tokio::test]
async fn connections_that_the_app_refuses_to_take_over_are_counted() {
    let watched = Watched::start(Options::portable().workers(2).with("--io-threads", "2")).await;
    let pool = &watched.pool;
    let (mut refused, mut others) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        refused.push(Counted::connect(pool, "adopting=refuse").await);
        others.push(Counted::connect(pool, "").await);
    }
    pool.sighup();
    for client in &mut refused {
        client.socket.expect_close_code(1012).await;
    }
    pool.wait_for_reload(2).await;
    for client in &mut others {
        client.ask("still there").await;
    }
    let metrics = watched.metrics().await;
    assert_eq!(metrics.of("shovel_connections_refused_total"), refused.len() as f64);
    assert_eq!(moved(&metrics, "to_workers_total{cause=\"reload\"}"), others.len() as f64);
    assert_eq!(metrics.of("shovel_connections"), others.len() as f64);
}

/// I68, G57.
#[tokio::test]
async fn connections_that_ended_three_workers_are_counted() {
    let watched = Watched::start(Options::portable().workers(2)).await;
    let pool = &watched.pool;
    let mut other = Counted::connect(pool, "").await;
    let mut quarantined = 0;
    for _ in 0..2 {
        let mut poison = Counted::connect(pool, "").await;
        poison.send("abort").await;
        poison.socket.expect_close_code(1011).await;
        quarantined += 1;
        other.ask("still there").await;
        let metrics = watched.metrics().await;
        let told = metrics.of("shovel_connections_quarantined_total");
        assert_eq!(told, f64::from(quarantined));
    }
    assert_eq!(pool.exited().len(), 3 * 2, "{}", pool.log());
    assert_eq!(watched.metrics().await.of("shovel_connections_refused_total"), 0.0);
}
