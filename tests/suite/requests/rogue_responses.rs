//! D35 and D37: responses that no proper worker gives. Each costs at most its own request.

use shovel_tests::{Line, Options, Pool, Raw, WebSocket, get};

/// The answer to this on a connection that is closed behind it, whole and as it came.
async fn answer_to(pool: &Pool, method: &str, path: &str) -> String {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    String::from_utf8(raw.rest().await).expect("text").to_lowercase()
}

/// D37: a map of headers that is asked for more than it takes panics.
#[tokio::test]
async fn a_response_with_more_headers_than_any_has_is_a_502_and_the_pool_goes_on() {
    let pool = Pool::start(Options::rogue("honest").workers(2)).await;
    for path in ["/many-headers", "/many-names"].repeat(2) {
        assert_eq!(get(pool.address(), path).await.status, 502, "{path}");
        assert_eq!(get(pool.address(), "/").await.status, 200);
    }
    assert_eq!(pool.workers().len(), 2, "no link ended");
}

/// D35 and RFC 9110 §8.6: what is said of a body that cannot be there is dropped or of no effect.
#[tokio::test]
async fn the_content_length_of_a_response_without_a_body_promises_nothing() {
    let pool = Pool::start(Options::rogue("honest")).await;
    for (method, status, keeps_length) in
        [("GET", "204", false), ("GET", "304", true), ("HEAD", "200", true)]
    {
        let answer = answer_to(&pool, method, &format!("/length/{status}/7")).await;
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{answer}");
        assert_eq!(answer.contains("content-length: 7\r\n"), keeps_length, "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "a body that may not be: {answer}");
    }
    assert_eq!(get(pool.address(), "/").await.status, 200, "the link survives");
}

/// D35: the connection is kept, and what was sent beside such a response does not stand in it.
#[tokio::test]
async fn the_next_response_on_a_kept_connection_is_not_preceded_by_a_body_that_may_not_be() {
    let pool = Pool::start(Options::rogue("honest")).await;
    let mut raw = Raw::connect(pool.address()).await;
    for (method, status) in [("GET", "204"), ("GET", "304"), ("HEAD", "200"), ("GET", "204")] {
        raw.write(format!("{method} /length/{status}/7 HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let head = raw.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
}

/// D37: what concerns the hop to the app alone, and a second time at which it was made.
#[tokio::test]
async fn what_only_the_supervisor_is_to_read_of_a_response_goes_no_further() {
    let pool = Pool::start(Options::rogue("honest")).await;
    let answer = answer_to(&pool, "GET", "/hop-by-hop").await;
    assert!(answer.starts_with("http/1.1 200 ") && !answer.contains("\r\nte:"), "{answer}");
    assert!(answer.contains("\r\ndate: now\r\n"), "{answer}");
    assert_eq!(answer.matches("\r\ndate:").count(), 1, "{answer}");
}

/// D37 and RFC 9110 §8.6.
#[tokio::test]
async fn a_content_length_that_is_none_is_a_502() {
    let pool = Pool::start(Options::rogue("honest")).await;
    for length in ["+5", "-5", "5,5", "0x5", "five", "99999999999999999999"] {
        let answer = answer_to(&pool, "GET", &format!("/length/200/{length}")).await;
        assert!(answer.starts_with("http/1.1 502 "), "{length}: {answer}");
    }
    assert_eq!(get(pool.address(), "/").await.status, 200, "the link survives");
}

/// D132: five bytes come at once, whatever the head says.
#[tokio::test]
async fn a_response_of_another_length_than_it_says_is_a_502_while_nothing_was_sent() {
    let pool = Pool::start(Options::rogue("honest")).await;
    for (length, fault) in [("7", "fewer bytes"), ("3", "more bytes")] {
        let answer = answer_to(&pool, "GET", &format!("/length/200/{length}")).await;
        assert!(answer.starts_with("http/1.1 502 "), "{answer}");
        let is_it = |line: &Line| line.level() == "WARN" && line.text("why").contains(fault);
        pool.wait_for("the warning", is_it).await;
    }
    let whole = answer_to(&pool, "GET", "/length/200/5").await;
    assert!(whole.ends_with("\r\n\r\n12345"), "{whole}");
}

/// Begins a response, and waits for its head and the first five bytes.
async fn begun(pool: &Pool, version: &str, path: &str) -> Raw {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(format!("GET {path} HTTP/{version}\r\nHost: a\r\n\r\n")).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(raw.take(5).await, b"12345");
    raw
}

/// D132: its client has seen the head and must not take what came for whole.
#[tokio::test]
async fn a_response_that_ends_before_its_length_breaks_its_connection_and_is_told() {
    let pool = Pool::start(Options::rogue("honest")).await;
    let mut raw = begun(&pool, "1.1", "/begin-ten").await;
    assert_eq!(get(pool.address(), "/end-begun").await.status, 200);
    // The next request would be answered if the connection were kept.
    let (rest, _) = raw.rest_and_reset().await;
    assert_eq!(rest, b"");
    let is_it = |line: &Line| line.level() == "WARN" && line.text("why").contains("fewer bytes");
    pool.wait_for("the warning", is_it).await;
    assert_eq!(pool.workers().len(), 1, "the link survives");
}

/// D140: a client of HTTP/1.0 knows no other sign that something is missing.
#[tokio::test]
async fn a_response_that_ends_with_its_connection_and_breaks_off_is_reset() {
    let mut pool = Pool::start(Options::rogue("honest")).await;
    for (ends, is_cut) in [("/abort-begun", true), ("/end-begun", false)].repeat(3) {
        let mut raw = begun(&pool, "1.0", "/begin").await;
        assert_eq!(get(pool.address(), ends).await.status, 200);
        assert_eq!(raw.rest_and_reset().await, (Vec::new(), is_cut), "{ends}");
    }
    let mut raw = begun(&pool, "1.0", "/begin").await;
    pool.kill();
    assert_eq!(raw.rest_and_reset().await, (Vec::new(), true), "the supervisor was killed");
}

/// D37.
#[tokio::test]
async fn a_response_that_is_aborted_before_its_head_is_a_502() {
    let pool = Pool::start(Options::rogue("honest")).await;
    assert_eq!(get(pool.address(), "/abort").await.status, 502);
    let is_it =
        |line: &Line| line.level() == "WARN" && line.text("why").contains("before it began");
    pool.wait_for("a warning", is_it).await;
    assert_eq!(get(pool.address(), "/").await.status, 200, "the link survives");
}

/// D37 and J231: the log says why, once.
#[tokio::test]
async fn a_trailer_that_is_none_is_a_502_and_told_in_the_log_once() {
    let pool = Pool::start(Options::rogue("honest")).await;
    for _ in 0..3 {
        assert_eq!(get(pool.address(), "/bad-trailer").await.status, 502);
    }
    assert_eq!(get(pool.address(), "/bad-name").await.status, 502);
    for why in ["a header with a bad name", "a trailer with a bad name"] {
        let is_it = |line: &Line| line.level() == "WARN" && line.text("why").contains(why);
        pool.wait_for(why, is_it).await;
        assert_eq!(pool.log().lines().iter().filter(|line| is_it(line)).count(), 1, "{why}");
    }
}

/// A133 and RFC 6455 §4.2.2: the client would have to fail the connection.
#[tokio::test]
async fn an_upgrade_with_a_subprotocol_that_was_not_offered_is_a_502() {
    let pool = Pool::start(Options::rogue("honest")).await;
    let connect = async |offered| {
        let headers = [("sec-websocket-protocol", offered)];
        WebSocket::try_connect_with(pool.address(), "/protocol", &headers).await
    };
    assert_eq!(
        WebSocket::try_connect(pool.address(), "/protocol").await.unwrap_err().status(),
        502
    );
    assert_eq!(connect("chat.json, xchat").await.unwrap_err().status(), 502);
    let is_it = |line: &Line| line.level() == "WARN" && line.text("why").contains("subprotocol");
    pool.wait_for("the warning", is_it).await;
    assert_eq!(connect("a, chat").await.unwrap().headers["sec-websocket-protocol"], "chat");
}
