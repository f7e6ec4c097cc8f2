//! I68: whom the pool turned away is told by reason, beside what the test itself has seen.

use shovel_tests::{Options, Pool, Raw, WebSocket, get, upgrade_request, within};

use crate::harness::watched::{Metrics, Watched};

/// All reasons with what is told of each.
const REASONS: [&str; 6] =
    ["address-limit", "origin", "bad-handshake", "bad-head", "slow-head", "late-upgrade"];

/// That so many were turned away for these reasons, and none for another.
fn expect(metrics: &Metrics, refused: &[(&str, usize)]) {
    for reason in REASONS {
        let of_it = refused.iter().filter(|(other, _)| *other == reason);
        let expected: usize = of_it.map(|(_, count)| count).sum();
        let told = metrics.of(&format!("shovel_refusals_total{{reason=\"{reason}\"}}"));
        assert_eq!(told, expected as f64, "{reason}");
    }
}

/// Sends this head and expects this status.
async fn expect_status(pool: &Pool, head: &str, status: u16) {
    let mut raw = Raw::connect(pool.address()).await;
    // One that is too long may be refused, and closed, before all of it is sent.
    raw.try_write(head).await;
    let answer = raw.head().await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:.80}: {answer}");
}

/// I68, A11, D37 and H63.
#[tokio::test]
async fn heads_handshakes_and_origins_that_are_refused_are_counted() {
    let options = Options::app().with("--allow-origin", "https://example.com");
    let watched = Watched::start(options.with("--io-threads", "2")).await;
    let pool = &watched.pool;
    let mut slow = Raw::connect(pool.address()).await;
    slow.write("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let upgrade = |more: &str| upgrade_request("/ws", more);
    for origin in ["https://evil.test", "http://example.com", "null"] {
        expect_status(pool, &upgrade(&format!("Origin: {origin}\r\n")), 403).await;
    }
    let handshakes = [
        (upgrade("").replace("Connection: Upgrade\r\n", ""), 400),
        (upgrade("").replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12"), 426),
    ];
    for (head, status) in &handshakes {
        expect_status(pool, head, *status).await;
    }
    let (long, many) = ("x".repeat(100 << 10), "X-Many: 1\r\n".repeat(1000));
    let heads = [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET /info HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
    ];
    for (head, status) in &heads {
        expect_status(pool, head, *status).await;
    }
    let _welcome = WebSocket::connect(pool.address(), "/ws").await;
    within("the end of patience with the slow head", slow.rest()).await;
    let refused = [
        ("origin", 3),
        ("bad-handshake", handshakes.len()),
        ("bad-head", heads.len()),
        ("slow-head", 1),
    ];
    let metrics = watched.metrics().await;
    expect(&metrics, &refused);
    // Nothing of all that was a worker's.
    assert_eq!(metrics.of("shovel_requests_total"), 1.0);
    assert_eq!(metrics.of("shovel_responses_total{code=\"4xx\"}"), 0.0);
}

/// I68 and H62.
#[tokio::test]
async fn clients_over_the_limit_of_their_address_are_counted() {
    let options = Options::app().with("--max-connections-per-ip", "2").with("--io-threads", "2");
    let watched = Watched::start(options.with("--max-connections", "100")).await;
    let address = watched.pool.address();
    let mut welcome = Vec::new();
    for _ in 0..2 {
        welcome.push(WebSocket::connect(address, "/ws").await);
    }
    let mut refused = 0;
    for _ in 0..5 {
        let answer = Raw::connect(address).await.rest().await;
        refused += usize::from(answer.starts_with(b"HTTP/1.1 429 "));
    }
    assert_eq!(refused, 5);
    let metrics = watched.metrics().await;
    expect(&metrics, &[("address-limit", refused)]);
    assert_eq!(metrics.of("shovel_clients"), welcome.len() as f64);
    assert_eq!(metrics.of("shovel_clients_limit"), 100.0);
}

/// I68, A9 and A10: those whose client has had its 504. Where a client goes away, the handler is
/// dropped, so that nothing comes late.
#[tokio::test]
async fn upgrades_that_come_too_late_are_counted() {
    let watched = Watched::start(Options::app().with("--upgrade-timeout", "300ms")).await;
    let pool = &watched.pool;
    let mut timed_out = 0;
    for _ in 0..3 {
        let path = "/ws?upgrade&gate=late";
        let answer = WebSocket::try_connect(pool.address(), path).await.unwrap_err();
        timed_out += usize::from(answer.status() == 504);
    }
    assert_eq!(timed_out, 3);
    let mut leaving = Raw::connect(pool.address()).await;
    leaving.write(upgrade_request("/ws?upgrade&gate=after", "")).await;
    let waiting = pool.wait_at_gate("after").await;
    drop(leaving);
    pool.wait_for_close_event(waiting["connection"].as_str().unwrap()).await;
    pool.open_gate("late");
    // The close events of all four, in the worker.
    shovel_tests::until("the end of those that were late", || pool.events("close").len() == 4)
        .await;
    let metrics = watched.metrics().await;
    expect(&metrics, &[("late-upgrade", timed_out)]);
    let told = metrics.of("shovel_request_failures_total{reason=\"timeout\"}");
    assert_eq!(told, timed_out as f64);
    assert_eq!(get(pool.address(), "/info").await.status, 200);
}
