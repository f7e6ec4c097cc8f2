//! L106: who is answered at the admin address, and who is not kept waiting there.

use nix::sys::signal::Signal;
use shovel_tests::{Line, Options, Pool, Raw, signal, within};

use crate::harness::watched::Watched;

async fn status_for(watched: &Watched, head: &str) -> String {
    let mut raw = Raw::connect(watched.admin).await;
    raw.write(format!("{head}\r\n\r\n")).await;
    let head = raw.head().await;
    head.split(' ').nth(1).unwrap().to_owned()
}

/// L106: a page of anybody's can have its own name lead here.
#[tokio::test]
async fn a_request_for_a_host_that_others_can_own_is_refused() {
    let watched = Watched::start(Options::app()).await;
    let port = watched.admin.port();
    for (host, status) in [
        (format!("Host: 127.0.0.1:{port}"), "200"),
        ("Host: localhost".into(), "200"),
        ("Host: [::1]:9".into(), "200"),
        ("Host: shovel.test".into(), "200"),
        ("Host: evil.test".into(), "421"),
        (format!("Host: evil.test:{port}"), "421"),
        ("Host: localhost.evil.test".into(), "421"),
        ("Host: \u{ff}".into(), "421"),
        ("Host: localhost\r\nHost: evil.test".into(), "421"),
        ("X-None: 1".into(), "421"),
    ] {
        for path in ["/status", "/metrics", "/healthz", "/nothing"] {
            let head = format!("GET {path} HTTP/1.1\r\n{host}");
            let expected = if path == "/nothing" && status == "200" { "404" } else { status };
            assert_eq!(status_for(&watched, &head).await, expected, "{host} {path}");
        }
    }
    let absolute = "GET http://evil.test/status HTTP/1.1\r\nHost: localhost";
    assert_eq!(status_for(&watched, absolute).await, "421");
    assert_eq!(status_for(&watched, "GET /healthz HTTP/1.0").await, "200");
}

/// L106.
#[tokio::test]
async fn those_who_say_nothing_keep_nobody_out() {
    let watched = Watched::start(Options::app()).await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        let mut raw = Raw::connect(watched.admin).await;
        raw.try_write("GET /heal").await;
        silent.push(raw);
    }
    // They may stay for 5 s.
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(status_for(&watched, "GET /healthz HTTP/1.1\r\nHost: localhost").await, "200");
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(4), "{:?}", begun.elapsed());
    // Those that came first had to leave.
    let nothing = within("the end", silent[0].rest()).await;
    assert!(nothing.is_empty());
}

/// L203.
#[tokio::test]
async fn many_who_ask_at_once_are_all_answered() {
    let watched = Watched::start(Options::app()).await;
    // All wait to be accepted when the pool goes on.
    signal(watched.pool.pid(), Signal::SIGSTOP);
    let mut clients = Vec::new();
    for _ in 0..400 {
        let mut raw = Raw::connect(watched.admin).await;
        raw.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        clients.push(raw);
    }
    signal(watched.pool.pid(), Signal::SIGCONT);
    for mut raw in clients {
        let text = String::from_utf8(raw.rest().await).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("ok\n"), "{text}");
    }
}

/// L203.
#[tokio::test]
async fn a_head_that_is_too_long_or_does_not_end_is_answered_and_the_connection_ends_in_order() {
    let watched = Watched::start(Options::app()).await;
    let mut silent = Raw::connect(watched.admin).await;
    let mut begun = Raw::connect(watched.admin).await;
    begun.write("GET /heal").await;
    let mut long = Raw::connect(watched.admin).await;
    // More than is read of it.
    let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(64 << 10));
    long.write(head).await;
    for (raw, status) in [(&mut long, "431"), (&mut silent, "408"), (&mut begun, "408")] {
        let (text, is_reset) = raw.rest_and_reset().await;
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert!(!is_reset, "{text}");
    }
}

/// L106.
#[tokio::test]
async fn what_is_open_to_others_than_this_machine_is_pointed_out() {
    let options = Options::app().listen("0.0.0.0:0").with("--admin-listen", "0.0.0.0:0");
    let pool = Pool::start(options.flag("--dev")).await;
    let is_warning =
        |line: &Line, words: &str| line.raw.contains("\"WARN\"") && line.message().contains(words);
    pool.wait_for("one", |line| is_warning(line, "can reach the admin address")).await;
    pool.wait_for("the other", |line| is_warning(line, "with --dev whoever can reach")).await;
    let pool = Watched::start(Options::app().flag("--dev")).await.pool;
    let lines = pool.log().lines();
    assert!(!lines.iter().any(|line| is_warning(line, "can reach")), "{}", pool.log());
}
