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

/// D37.
#[tokio::test]
async fn a_response_that_is_aborted_before_its_head_is_a_502() {
    let pool = Pool::start(Options::rogue("honest")).await;
    assert_eq!(get(pool.address(), "/abort").await.status, 502);
    assert_eq!(get(pool.address(), "/").await.status, 200, "the link survives");
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
