//! Where a request ends and the next begins, and how long its client may keep it waiting: D120 to D122.

use shovel_tests::{Options, Pool, Raw, get, upgrade_request};

/// The requests that workers were asked, this one included.
async fn asked(pool: &Pool) -> u64 {
    get(pool.address(), "/info").await.json()["requests"].as_u64().unwrap()
}

async fn status_of(pool: &Pool, request: impl AsRef<[u8]>) -> String {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(request).await;
    let text = raw.head().await;
    text["HTTP/1.1 ".len()..][..3].to_owned()
}

in_both_modes!(an_upgrade_with_a_body_is_refused_and_nothing_behind_it_is_read);
/// D120 and RFC 9110 §7.8.
async fn an_upgrade_with_a_body_is_refused_and_nothing_behind_it_is_read(pool: Pool) {
    for (framing, rest) in [
        ("Content-Length: 18\r\n", "abcd"),
        ("Content-Length: 18\r\n", "abcdefghijklmnopqr"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nabcd\r\n0\r\n\r\n"),
    ] {
        let mut raw = Raw::connect(pool.address()).await;
        let next = "GET /info HTTP/1.1\r\nHost: a\r\n\r\n";
        raw.write(upgrade_request("/ws", framing) + rest + next).await;
        let text = String::from_utf8(raw.rest().await).unwrap();
        assert!(text.starts_with("HTTP/1.1 400 "), "{framing}: {text}");
        assert!(text.contains("connection: close\r\n"), "{framing}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{framing}: {text}");
    }
    assert_eq!(asked(&pool).await, 1);
    let empty = upgrade_request("/ws", "Content-Length: 0\r\n");
    assert_eq!(status_of(&pool, empty).await, "101");
}

in_both_modes!(a_length_that_two_could_read_differently_is_refused);
/// D120 and RFC 9112 §6.
async fn a_length_that_two_could_read_differently_is_refused(pool: Pool) {
    for (fields, status) in [
        ("Transfer-Encoding: gzip, chunked", "501"),
        ("Transfer-Encoding: chunked, chunked", "501"),
        ("Transfer-Encoding: identity", "501"),
        ("Transfer-Encoding: cow", "501"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "400"),
        ("Content-Length: 5\r\nContent-Length: 5", "400"),
        ("Content-Length: 18446744073709551615", "400"),
        ("Content-Length: +5", "400"),
    ] {
        let request = format!("POST /mirror HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
        assert_eq!(status_of(&pool, request).await, status, "{fields}");
    }
    assert_eq!(asked(&pool).await, 1);
}

in_both_modes!(what_follows_a_body_is_the_next_request_however_its_trailers_end);
/// D120: the second request is neither swallowed nor read as a trailer.
async fn what_follows_a_body_is_the_next_request_however_its_trailers_end(pool: Pool) {
    for trailers in ["\r\n", "X-T: 1\r\n\r\n", "X-T: 1\n\r\n", "X-T: 1\n\n"] {
        let mut raw = Raw::connect(pool.address()).await;
        let head = "POST /mirror HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let next = "GET /status?code=204 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        raw.write(format!("{head}5\r\nhello\r\n0\r\n{trailers}{next}")).await;
        let text = String::from_utf8(raw.rest().await).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 ") && text.contains("hello"),
            "{trailers:?}: {text}"
        );
        assert_eq!(text.matches("HTTP/1.1 ").count(), 2, "{trailers:?}: {text}");
    }
}

in_both_modes!(trailers_that_would_say_how_a_message_is_read_are_dropped);
/// D120 and RFC 9110 §6.5.1.
async fn trailers_that_would_say_how_a_message_is_read_are_dropped(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(
        "POST /mirror HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-Sum, Host\r\n\
         Connection: close, TE\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: evil\r\n\
         Content-Length: 7\r\nAuthorization: x\r\nX-Forwarded-For: 6.6.6.6\r\nX-Sum: 1\r\n\r\n",
    )
    .await;
    let text = String::from_utf8(raw.rest().await).unwrap().to_lowercase();
    assert!(text.ends_with("0\r\nx-sum: 1\r\n\r\n"), "{text}");
}

in_both_modes!(a_host_that_is_none_and_a_target_that_is_none_are_refused);
/// D120 and RFC 9112 §3.2.
async fn a_host_that_is_none_and_a_target_that_is_none_are_refused(pool: Pool) {
    for host in ["a b", "a,b", "u@a", "a/b", "a:xx", "[::1", "\u{e4}"] {
        let request = format!("GET /info HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(status_of(&pool, request).await, "400", "{host}");
    }
    for (line, status) in [
        ("GET *", "400"),
        ("GET info", "400"),
        ("GET ftp://a/info", "400"),
        ("CONNECT a:80", "501"),
        ("TRACE /info", "405"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status_of(&pool, request).await, status, "{line}");
    }
    assert_eq!(asked(&pool).await, 1);
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("GET http://b:8/mirror HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let text = String::from_utf8(raw.rest().await).unwrap();
    assert!(
        text.contains("\r\nseen-host: b:8\r\n") && text.contains("\r\ntarget: /mirror\r\n"),
        "{text}"
    );
    assert!(text.contains("host=\"b:8\"") && !text.contains("host=\"a\""), "{text}");
}

in_both_modes!(an_answer_that_does_not_read_the_body_comes_without_a_100);
/// D120: the client is told to send its body only when somebody asks for it.
async fn an_answer_that_does_not_read_the_body_comes_without_a_100(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    let expects = "Host: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    raw.write(format!("POST /info HTTP/1.1\r\n{expects}")).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // It may have begun to send its body, or not: what comes next cannot be told.
    assert!(head.contains("connection: close\r\n"), "{head}");
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(format!("POST /count HTTP/1.1\r\n{expects}")).await;
    assert_eq!(raw.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.write("hello").await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("connection: close"), "{head}");
}

in_both_modes!(
    a_client_that_ends_its_side_is_answered_if_the_operator_says_so,
    Options::app().with("--half-close", "answer")
);
/// D31.
async fn a_client_that_ends_its_side_is_answered_if_the_operator_says_so(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    // Of what it has said before, nothing is left out.
    let next = "GET /info HTTP/1.1\r\nHost: a\r\n\r\n";
    raw.write(format!("GET /gated?gate=later HTTP/1.1\r\nHost: a\r\n\r\n{next}")).await;
    pool.wait_at_gate("later").await;
    raw.end().await;
    // It has been seen once another has been answered.
    asked(&pool).await;
    pool.open_gate("later");
    let text = String::from_utf8(raw.rest().await).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{text}");
    // The last says so.
    assert_eq!(text.matches("connection: close\r\n").count(), 1, "{text}");
}

in_both_modes!(
    a_body_that_is_too_long_is_a_413_however_it_is_framed,
    Options::app().with("--max-body", "1KiB")
);
/// D122.
async fn a_body_that_is_too_long_is_a_413_however_it_is_framed(pool: Pool) {
    let post = |framing: &str| format!("POST /count HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
    assert_eq!(status_of(&pool, post("Content-Length: 1025")).await, "413");
    let long = format!("401\r\n{}\r\n", "x".repeat(1025));
    assert_eq!(status_of(&pool, post("Transfer-Encoding: chunked") + &long).await, "413");
    let fits = "x".repeat(1024);
    assert_eq!(status_of(&pool, post("Content-Length: 1024") + &fits).await, "200");
}

in_both_modes!(
    a_body_that_does_not_come_on_is_a_408,
    Options::app().with("--read-timeout", "300ms")
);
/// D121.
async fn a_body_that_does_not_come_on_is_a_408(pool: Pool) {
    let upload = "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc";
    assert_eq!(status_of(&pool, upload).await, "408");
    // While the app keeps its client waiting, the client may be quiet.
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("GET /gated?gate=slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    pool.wait_at_gate("slow").await;
    assert_eq!(status_of(&pool, upload).await, "408");
    pool.open_gate("slow");
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
}

/// D121.
#[tokio::test]
async fn a_response_that_nobody_reads_ends() {
    let pool = Pool::start(Options::app().with("--write-timeout", "300ms")).await;
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("GET /produce?bytes=1000000000 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.head().await;
    let clients =
        || async { pool.operate(&["status", "--json"]).await.json()["totals"]["clients"].clone() };
    while clients().await != 0 {}
    assert!(raw.rest().await.len() < 1_000_000_000);
}

in_both_modes!(
    a_head_within_the_operators_limits_is_taken,
    Options::app().with("--max-headers", "500").with("--max-header-size", "256KiB")
);
/// D122.
async fn a_head_within_the_operators_limits_is_taken(pool: Pool) {
    let many = "X-Many: 1\r\n".repeat(400);
    let long = "x".repeat(200 << 10);
    let head = |fields: &str| format!("GET /info HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    assert_eq!(status_of(&pool, head(&many)).await, "200");
    assert_eq!(status_of(&pool, head(&format!("X-Long: {long}\r\n"))).await, "200");
    assert_eq!(status_of(&pool, head(&many.repeat(2))).await, "431");
}

/// D120 and F52: what was read when the pool is told to end is answered, the next request on a
/// kept connection too.
#[tokio::test]
async fn requests_that_were_sent_on_kept_connections_are_answered_when_the_pool_ends() {
    let mut pool = Pool::start(Options::app()).await;
    let mut raw = Raw::connect(pool.address()).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    raw.write(get("/gated?gate=end")).await;
    pool.wait_at_gate("end").await;
    raw.write(get("/info") + &get("/info")).await;
    pool.sigterm();
    pool.wait_for("the end", |line| line.is("terminating")).await;
    pool.open_gate("end");
    let text = String::from_utf8(raw.rest().await).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 ").count(), 3, "{text}");
    assert_eq!(text.matches("connection: close").count(), 1, "{text}");
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
}
