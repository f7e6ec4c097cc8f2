//! How requests are refused, and what is told of that: D204, D205 and J206.

use shovel_tests::{Options, Pool, Raw, upgrade_request};

const NEXT: &str = "GET /info HTTP/1.1\r\nHost: a\r\n\r\n";

fn head_of(path: &str) -> String {
    format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// How long the content is that a head tells of.
fn length_of(head: &str) -> usize {
    let (_, rest) = head.split_once("content-length: ").unwrap_or_else(|| panic!("{head}"));
    rest.lines().next().unwrap().parse().unwrap()
}

/// Asks for the head alone, and for something else right behind it.
async fn expect_no_content(pool: &Pool, path: &str, status: &str) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(head_of(path) + NEXT).await;
    let head = raw.head().await;
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    assert!(length_of(&head) > 0, "{head}");
    // Content would stand before it.
    let next = raw.head().await;
    assert!(next.starts_with("HTTP/1.1 "), "{path}: {next}");
}

/// D204 and RFC 9110 §9.3.2.
#[tokio::test]
async fn an_error_that_answers_a_head_has_a_length_and_no_content() {
    let pool = Pool::start(Options::rogue("honest")).await;
    expect_no_content(&pool, "/abort", "502").await;
    let options = Options::app().with("--request-timeout", "300ms").with("--max-body", "1KiB");
    let pool = Pool::start(options).await;
    expect_no_content(&pool, "/gated?gate=never", "504").await;
    let too_long = "HEAD /info HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n";
    let no_host = "HEAD /info HTTP/1.1\r\n\r\n";
    let behind_an_empty_line = "\r\nHEAD /info HTTP/1.1\r\n\r\n";
    for (request, status) in [(too_long, "413"), (no_host, "400"), (behind_an_empty_line, "400")] {
        let mut raw = Raw::connect(pool.address()).await;
        raw.write(request).await;
        let text = String::from_utf8(raw.rest().await).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert!(length_of(&text) > 0 && text.ends_with("\r\n\r\n"), "{text}");
    }
    let options = Options::app().with("--queue-timeout", "100ms");
    let mut pool = Pool::launch(options.variable("FIXTURE_START_GATE", "start"));
    pool.wait_until_it_listens().await;
    expect_no_content(&pool, "/info", "503").await;
}

/// D205: a close with something unread would have the system throw the answer away.
#[tokio::test]
async fn a_client_that_still_sends_its_body_reads_the_whole_413_and_is_cut_off_in_the_end() {
    let pool = Pool::start(Options::app().with("--max-body", "1KiB")).await;
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n").await;
    raw.write(vec![b'x'; 1 << 20]).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 413 ") && head.contains("connection: close"), "{head}");
    let content = String::from_utf8(raw.take(length_of(&head)).await).unwrap();
    assert!(content.contains("too long"), "{content}");
    // It never ends by itself, and is not read for ever.
    shovel_tests::within("the end", async {
        while raw.try_write(vec![b'x'; 1 << 10]).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(pool.exited(), []);
}

/// J206.
#[tokio::test]
async fn each_refusal_has_its_line_in_the_access_log() {
    let options = Options::app().flag("--access-log").with("--max-body", "1KiB");
    let options = options.with("--header-timeout", "300ms").with("--read-timeout", "300ms");
    let pool = Pool::start(options).await;
    let long = "x".repeat(100 << 10);
    let post = "POST /count HTTP/1.1\r\nHost: a\r\n";
    let foreign = upgrade_request("/ws", "Origin: https://evil.test\r\n");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), 400),
        (foreign, 403),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405),
        ("GET / HTTP/1.1\r\nHost:".to_owned(), 408),
        (format!("{post}Content-Length: 5\r\n\r\nab"), 408),
        (format!("{post}Content-Length: 5000\r\n\r\n"), 413),
        (format!("GET /{long}"), 414),
        (format!("{post}Expect: cake\r\n\r\n"), 417),
        (format!("{post}X: {long}"), 431),
        (format!("{post}Transfer-Encoding: cow\r\n\r\n"), 501),
        ("GET / HTTP/3.0\r\n\r\n".to_owned(), 505),
    ] {
        expect_line(&pool, &request, status).await;
    }
    let options = Options::app().flag("--access-log").with("--queue-timeout", "100ms");
    let options = options.with("--max-connections-per-ip", "1");
    let mut pool = Pool::launch(options.variable("FIXTURE_START_GATE", "start"));
    pool.wait_until_it_listens().await;
    let mut first = Raw::connect(pool.address()).await;
    first.write("GET /").await;
    expect_line(&pool, "", 429).await;
    first.write("info HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(first.head().await.starts_with("HTTP/1.1 503 "));
    wait_for_lines(&pool, 503, 1).await;
}

async fn expect_line(pool: &Pool, request: &str, status: u64) {
    let before = lines(pool, status);
    let mut raw = Raw::connect(pool.address()).await;
    raw.try_write(request).await;
    let head = raw.head().await;
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.50}: {head}");
    wait_for_lines(pool, status, before + 1).await;
}

fn lines(pool: &Pool, status: u64) -> usize {
    let is_it = |line: &&shovel_tests::Line| {
        line.target() == "access" && line.number("status") == Some(status)
    };
    pool.log().lines().iter().filter(is_it).count()
}

async fn wait_for_lines(pool: &Pool, status: u64, count: usize) {
    shovel_tests::until(&format!("the line of a {status}"), || lines(pool, status) == count).await;
}
