//! D36, H62 and H63: who may connect, and whose word is taken.

use std::net::SocketAddr;

use http::{Method, Request};
use http_body_util::Full;
use shovel_tests::{
    Answer, Line, Options, Pool, Raw, WebSocket, get, request, send, until, upgrade_request,
};

const ASK: &str = "GET /info HTTP/1.1\r\nHost: a\r\n\r\n";

in_both_modes!(
    clients_over_max_connections_wait_until_others_leave,
    Options::app().with("--max-connections", "2")
);
/// H62.
async fn clients_over_max_connections_wait_until_others_leave(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    let mut second = Raw::connect(pool.address()).await;
    second.write(ASK).await;
    assert!(second.head().await.starts_with("HTTP/1.1 200 "));
    let mut third = Raw::connect(pool.address()).await;
    third.write(ASK).await;
    // It would be answered before these, if it were.
    for _ in 0..20 {
        assert_eq!(socket.ask("still").await, "echo still");
    }
    assert!(!third.has_bytes(), "a third client was taken");
    drop(second);
    assert!(third.head().await.starts_with("HTTP/1.1 200 "));
}

fn addresses(pool: &Pool) -> Vec<SocketAddr> {
    pool.log().lines().iter().filter_map(Line::address).collect()
}

/// H62. Neither several listeners nor more I/O threads than clients make them more.
#[tokio::test]
async fn the_limit_of_clients_is_that_of_all_listeners_and_threads() {
    let options = Options::app().with("--listen", "127.0.0.1:0").with("--io-threads", "3");
    let pool = Pool::start(options.with("--max-connections", "1")).await;
    let addresses = addresses(&pool);
    let [address, second] = addresses[..] else { panic!("{addresses:?}") };
    let mut first = WebSocket::connect(address, "/ws").await;
    let mut others = Vec::new();
    for address in [second, address, second] {
        let mut other = Raw::connect(address).await;
        other.write(ASK).await;
        others.push(other);
    }
    for _ in 0..20 {
        assert_eq!(first.ask("still").await, "echo still");
    }
    assert!(others.iter().all(|other| !other.has_bytes()), "a second client was taken");
    drop(first);
    until("one of the others", || others.iter().any(Raw::has_bytes)).await;
}

in_both_modes!(
    clients_over_the_limit_of_their_address_are_refused_and_others_stay,
    Options::app().with("--max-connections-per-ip", "2").with("--io-threads", "2")
);
/// H62.
async fn clients_over_the_limit_of_their_address_are_refused_and_others_stay(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    let mut second = Raw::connect(pool.address()).await;
    second.write(ASK).await;
    assert!(second.head().await.starts_with("HTTP/1.1 200 "));
    let mut third = Raw::connect(pool.address()).await;
    let refusal = String::from_utf8(third.rest().await).unwrap();
    assert!(refusal.starts_with("HTTP/1.1 429 "), "{refusal}");
    assert!(refusal.contains("\r\nRetry-After: "), "{refusal}");
    assert_eq!(socket.ask("still").await, "echo still");
    // Each place is free again, also one that a WebSocket had.
    drop(socket);
    until_admitted(&pool).await;
    drop(second);
    until_admitted(&pool).await;
}

async fn until_admitted(pool: &Pool) {
    loop {
        let mut raw = Raw::connect(pool.address()).await;
        // One that is refused may be closed before it has asked.
        raw.try_write("GET /info HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        if raw.rest().await.starts_with(b"HTTP/1.1 200 ") {
            return;
        }
    }
}

in_both_modes!(
    a_trusted_proxy_may_have_any_number_of_connections,
    Options::app().with("--max-connections-per-ip", "1").with("--trust-proxy", "127.0.0.0/8")
);
/// H62.
async fn a_trusted_proxy_may_have_any_number_of_connections(pool: Pool) {
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(WebSocket::connect(pool.address(), "/ws").await);
    }
}

/// The status that an upgrade gets that comes from this page.
async fn upgraded_from(pool: &Pool, origin: Option<&str>) -> String {
    let mut raw = Raw::connect(pool.address()).await;
    let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
    raw.write(upgrade_request("/ws", &origin)).await;
    raw.head().await.split(' ').nth(1).unwrap().to_owned()
}

in_both_modes!(
    upgrades_from_other_origins_are_refused_with_403,
    Options::app()
        .with("--allow-origin", "https://example.com")
        .with("--allow-origin", "http://localhost:3000")
);
/// H63.
async fn upgrades_from_other_origins_are_refused_with_403(pool: Pool) {
    for (origin, status) in [
        (Some("https://example.com"), "101"),
        (Some("http://localhost:3000"), "101"),
        (None, "101"),
        (Some("https://evil.test"), "403"),
        (Some("https://example.com.evil.test"), "403"),
        (Some("http://example.com"), "403"),
        (Some("null"), "403"),
    ] {
        assert_eq!(upgraded_from(&pool, origin).await, status, "{origin:?}");
    }
    // What is no upgrade is the app's to decide.
    let mut page = request(Method::GET, "/info", "");
    page.headers_mut().insert("origin", "https://evil.test".parse().unwrap());
    assert_eq!(send(pool.address(), page).await.status, 200);
    assert!(!pool.log().lines().iter().any(is_about_origins));
}

in_both_modes!(without_a_list_pages_of_the_same_host_pass_and_the_log_names_others);
/// H63.
async fn without_a_list_pages_of_the_same_host_pass_and_the_log_names_others(pool: Pool) {
    for (origin, status) in [
        (Some("http://shovel.test"), "101"),
        (Some("https://shovel.test"), "101"),
        (None, "101"),
        (Some("http://shovel.test:8080"), "403"),
        (Some("null"), "403"),
        (Some("https://anyone.test"), "403"),
    ] {
        assert_eq!(upgraded_from(&pool, origin).await, status, "{origin:?}");
    }
    let names = |line: &Line| {
        line.raw.contains("--allow-origin")
            && line.raw.contains("https://anyone.test")
            && line.raw.contains("shovel.test\"")
    };
    pool.wait_for("a line that names both", names).await;
    assert!(!pool.log().lines().iter().any(is_about_origins));
}

in_both_modes!(
    the_host_that_a_trusted_proxy_was_asked_is_the_same_host,
    Options::app().with("--trust-proxy", "127.0.0.1")
);
/// H63 and D36.
async fn the_host_that_a_trusted_proxy_was_asked_is_the_same_host(pool: Pool) {
    for (origin, status) in [("https://a.test", "101"), ("https://b.test", "403")] {
        let mut raw = Raw::connect(pool.address()).await;
        let more = format!("X-Forwarded-Host: a.test\r\nOrigin: {origin}\r\n");
        raw.write(upgrade_request("/ws", &more)).await;
        assert_eq!(raw.head().await.split(' ').nth(1), Some(status), "{origin}");
    }
}

in_both_modes!(what_anyone_says_of_the_host_before_is_not_believed);
/// H63 and D36.
async fn what_anyone_says_of_the_host_before_is_not_believed(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    let more = "X-Forwarded-Host: a.test\r\nOrigin: https://a.test\r\n";
    raw.write(upgrade_request("/ws", more)).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 403 "));
}

in_both_modes!(
    every_origin_passes_if_that_is_chosen_and_the_log_says_so,
    Options::app().with("--allow-origin", "*")
);
/// H63.
async fn every_origin_passes_if_that_is_chosen_and_the_log_says_so(pool: Pool) {
    pool.wait_for("a line about origins", is_about_origins).await;
    assert_eq!(upgraded_from(&pool, Some("https://anyone.test")).await, "101");
    assert_eq!(upgraded_from(&pool, Some("null")).await, "101");
}

fn is_about_origins(line: &Line) -> bool {
    line.raw.contains("web pages of every origin may open WebSockets")
}

fn forwarded(path: &str) -> Request<Full<bytes::Bytes>> {
    let mut request = request(Method::GET, path, "");
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6, 7.7.7.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "example.com"),
        ("forwarded", "for=7.7.7.7;proto=https"),
        ("x-request-id", "from-the-proxy"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

fn seen(answer: &Answer) -> [&str; 5] {
    [
        answer.header("seen-x-forwarded-for"),
        answer.header("seen-x-forwarded-proto"),
        answer.header("seen-x-forwarded-host"),
        answer.header("seen-forwarded"),
        answer.header("seen-x-request-id"),
    ]
}

in_both_modes!(
    what_a_trusted_proxy_says_goes_on_and_tells_who_the_client_is,
    Options::app().with("--trust-proxy", "127.0.0.1")
);
/// D36 and D170.
async fn what_a_trusted_proxy_says_goes_on_and_tells_who_the_client_is(pool: Pool) {
    let answer = send(pool.address(), forwarded("/mirror")).await;
    assert_eq!(
        seen(&answer),
        [
            "6.6.6.6, 7.7.7.7, 127.0.0.1",
            "https",
            "example.com",
            "for=7.7.7.7;proto=https, for=127.0.0.1;proto=https;host=\"example.com\"",
            "from-the-proxy",
        ]
    );
    assert_eq!(send(pool.address(), forwarded("/info")).await.json()["client"], "7.7.7.7:0");
}

in_both_modes!(
    what_is_no_text_hides_nobody_behind_a_trusted_proxy,
    Options::app().with("--trust-proxy", "127.0.0.1")
);
/// D170.
async fn what_is_no_text_hides_nobody_behind_a_trusted_proxy(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    let head = b"GET /info HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    raw.write([&head[..], b"X-Forwarded-For: \xff, 7.7.7.7\r\n\r\n"].concat()).await;
    let answer = String::from_utf8_lossy(&raw.rest().await).into_owned();
    assert!(answer.contains("\"client\":\"7.7.7.7:0\""), "{answer}");
}

/// D170 and J71.
#[tokio::test]
async fn the_access_log_has_the_client_and_the_id_that_a_trusted_proxy_told() {
    let options = Options::app().with("--trust-proxy", "127.0.0.1").flag("--access-log");
    let pool = Pool::start(options).await;
    send(pool.address(), forwarded("/info")).await;
    let is_it = |line: &Line| line.is("request") && line.text("path") == "/info";
    let line = pool.wait_for("the line", is_it).await;
    assert_eq!((line.text("client"), line.text("id")), ("7.7.7.7:0", "from-the-proxy"));
}

mod what_anyone_else_says_of_itself_is_dropped {
    use super::*;

    in_both_modes!(without_proxies);
    /// D36 and D171.
    async fn without_proxies(pool: Pool) {
        is_dropped(pool).await;
    }

    in_both_modes!(with_other_proxies, Options::app().with("--trust-proxy", "10.0.0.0/8"));
    /// D36 and D171.
    async fn with_other_proxies(pool: Pool) {
        is_dropped(pool).await;
    }

    async fn is_dropped(pool: Pool) {
        let answer = send(pool.address(), forwarded("/mirror")).await;
        let [list, proto, host, whole, id] = seen(&answer);
        assert_eq!([list, proto, host], ["127.0.0.1", "http", "shovel.test"]);
        assert_eq!(whole, "for=127.0.0.1;proto=http;host=\"shovel.test\"");
        assert_ne!(id, "from-the-proxy");
        let client = send(pool.address(), forwarded("/info")).await.json()["client"].clone();
        assert!(client.as_str().unwrap().starts_with("127.0.0.1:"), "{client}");
    }
}

/// H62: what is read again on reload counts from then on.
#[tokio::test]
async fn a_reload_changes_how_many_may_connect() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings = |limit: u32| std::fs::write(file.path(), format!("max-connections = {limit}\n"));
    settings(1).unwrap();
    let options = Options::app().with("--config", file.path().to_str().unwrap());
    let pool = Pool::start(options).await;
    let first = WebSocket::connect(pool.address(), "/ws/echo").await;
    settings(3).unwrap();
    pool.sighup();
    assert_eq!(get(pool.address(), "/info").await.status, 200);
    drop(first);
    pool.wait_for_reload(2).await;
    until("a new generation", || pool.workers().iter().all(|worker| worker.generation == 2)).await;
}
