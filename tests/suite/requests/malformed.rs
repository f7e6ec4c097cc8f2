//! D37: what is no proper request or response.

use std::time::{Duration, Instant};

use shovel_tests::{Options, Pool, Raw, get, upgrade_request};

async fn answer_to(pool: &Pool, request: &str) -> String {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(request).await;
    raw.head().await
}

in_both_modes!(a_request_line_or_headers_that_are_too_large_are_refused);
/// D37.
async fn a_request_line_or_headers_that_are_too_large_are_refused(pool: Pool) {
    let long = "x".repeat(600 << 10);
    for request in [
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n"),
    ] {
        let mut raw = Raw::connect(pool.address()).await;
        // The server may close before all of it was written.
        raw.try_write(&request).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 431 ") || head.starts_with("HTTP/1.1 414 "), "{head}");
    }
    let many = "X-Many: 1\r\n".repeat(1000);
    let head = answer_to(&pool, &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    assert_eq!(get(pool.address(), "/info").await.json()["requests"], 1, "no worker was asked");
}

in_both_modes!(content_lengths_that_differ_are_refused);
/// D37.
async fn content_lengths_that_differ_are_refused(pool: Pool) {
    for lengths in ["Content-Length: 3\r\nContent-Length: 4", "Content-Length: 3, 4"] {
        let request = format!("POST /count HTTP/1.1\r\nHost: a\r\n{lengths}\r\n\r\nabcd");
        let head = answer_to(&pool, &request).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    }
}

in_both_modes!(content_length_beside_transfer_encoding_is_refused_or_does_not_count);
/// D37.
async fn content_length_beside_transfer_encoding_is_refused_or_does_not_count(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(
        "POST /mirror HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let text = String::from_utf8(raw.rest().await).unwrap();
    if !text.starts_with("HTTP/1.1 400 ") {
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("hello"), "{text}");
        assert!(!text.contains("seen-content-length"), "{text}");
    }
}

in_both_modes!(heads_that_are_no_http_are_refused);
/// D37.
async fn heads_that_are_no_http_are_refused(pool: Pool) {
    for request in [
        "nonsense\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Nul: a\0b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n",
    ] {
        let head = answer_to(&pool, request).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{request:?}: {head}");
    }
    assert_eq!(get(pool.address(), "/info").await.json()["requests"], 1, "no worker was asked");
}

in_both_modes!(a_host_that_is_missing_or_named_twice_is_refused);
/// D37 and RFC 9112 §3.2.
async fn a_host_that_is_missing_or_named_twice_is_refused(pool: Pool) {
    for hosts in ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nHost: a\r\n"] {
        let request = format!("GET /info HTTP/1.1\r\n{hosts}\r\n");
        let head = answer_to(&pool, &request).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{request:?}: {head}");
        let upgrade = upgrade_request("/ws", "").replace("Host: shovel.test\r\n", hosts);
        let head = answer_to(&pool, &upgrade).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{upgrade:?}: {head}");
    }
    assert_eq!(get(pool.address(), "/info").await.json()["requests"], 1, "no worker was asked");
}

in_both_modes!(a_body_with_more_between_its_chunks_than_in_them_is_refused);
/// D202.
async fn a_body_with_more_between_its_chunks_than_in_them_is_refused(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1000));
    // The server may close before all of it was written.
    raw.try_write(chunk.repeat(100)).await;
    let text = String::from_utf8(raw.rest().await).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("connection: close"), "{text}");
}

in_both_modes!(a_chunk_without_a_proper_length_is_the_clients_fault);
/// D37 and RFC 9112 §7.1: the handler waits for the rest of a body that breaks a rule.
async fn a_chunk_without_a_proper_length_is_the_clients_fault(pool: Pool) {
    for chunks in ["ZZ\r\n", "5\r\nhello\r\n-1\r\n", "5\r\nhello, and too much\r\n0\r\n\r\n"] {
        let head = "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let head = answer_to(&pool, &format!("{head}{chunks}")).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{chunks:?}: {head}");
    }
    assert_eq!(get(pool.address(), "/info").await.status, 200, "the link survives");
}

in_both_modes!(a_client_whose_headers_do_not_come_is_closed_after_ten_seconds);
/// D37.
async fn a_client_whose_headers_do_not_come_is_closed_after_ten_seconds(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    let begun = Instant::now();
    raw.write("GET / HTTP/1.1\r\nHost: a\r\n").await;
    raw.rest().await;
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(16), "{took:?}");
}

/// D37.
#[tokio::test]
async fn a_workers_header_that_would_split_the_response_is_a_502() {
    let pool = Pool::start(Options::rogue("honest")).await;
    for path in ["/bad-header", "/bad-name"] {
        let answer = get(pool.address(), path).await;
        assert_eq!(answer.status, 502, "{path}");
        assert!(!answer.headers.contains_key("x-second"));
    }
    assert_eq!(get(pool.address(), "/").await.status, 200, "the link survives");
}

in_both_modes!(a_byte_that_is_no_text_hides_no_option_of_a_connection);
/// D251.
async fn a_byte_that_is_no_text_hides_no_option_of_a_connection(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    let first = b"GET /info HTTP/1.1\r\nHost: a\r\nConnection: close, \xe9\r\n\r\n";
    raw.write(&[&first[..], b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await;
    let text = String::from_utf8(raw.rest().await).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 ").count(), 1, "{text}");

    let mut raw = Raw::connect(pool.address()).await;
    let named = b"GET /mirror HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\nConnection: close, x-secret, \xe9\r\n\r\n";
    raw.write(named).await;
    let text = String::from_utf8(raw.rest().await).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 ") && !text.contains("x-secret"), "{text}");
}

in_both_modes!(what_is_refused_has_no_content_if_it_was_a_head_request_and_only_then);
/// D252.
async fn what_is_refused_has_no_content_if_it_was_a_head_request_and_only_then(pool: Pool) {
    for (request, has_content) in [
        ("HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n", false),
        ("\r\nHEAD / HTTP/1.1\r\nHost: a b\r\n\r\n", false),
        ("POST / HTTP/1.1\r\nHost: a b\r\nContent-Length: 5\r\n\r\nHEAD ", true),
        ("HEADS / HTTP/1.1\r\nHost: a b\r\n\r\n", true),
    ] {
        let mut raw = Raw::connect(pool.address()).await;
        raw.write(request).await;
        let text = String::from_utf8(raw.rest().await).unwrap();
        let (head, content) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{request:?}: {text}");
        assert_eq!(content.is_empty(), !has_content, "{request:?}: {text}");
    }
}
