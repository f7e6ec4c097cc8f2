//! Requests and responses as RFC 9110 and 9112 have them.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, StreamBody};
use shovel_tests::{Http, Pool, Raw, get, request, send};

in_both_modes!(methods_targets_and_bodies_pass_both_ways_unchanged);
/// D29.
async fn methods_targets_and_bodies_pass_both_ways_unchanged(pool: Pool) {
    let mut http = Http::connect(pool.address()).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let path = "/mirror?a=%20b&c=%C3%B6&&d";
        let method = method.parse::<Method>().unwrap();
        let body = if method == Method::GET { "" } else { "a body\0 of bytes" };
        let answer = http.send(request(method.clone(), path, body)).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!((answer.header("method"), answer.header("target")), (method.as_str(), path));
        assert_eq!(answer.text(), body);
    }
}

in_both_modes!(repeated_headers_stay_repeated_and_hop_by_hop_headers_stay_behind);
/// D29.
async fn repeated_headers_stay_repeated_and_hop_by_hop_headers_stay_behind(pool: Pool) {
    let mut request = request(Method::POST, "/mirror", "x");
    let headers = request.headers_mut();
    headers.append("x-many", "one".parse().unwrap());
    headers.append("x-many", "two, three".parse().unwrap());
    headers.insert("cookie", "a=1; b=2".parse().unwrap());
    headers.insert("x-latin", http::HeaderValue::from_bytes(b"caf\xe9").unwrap());
    headers.insert("connection", "keep-alive, x-hop".parse().unwrap());
    headers.insert("x-hop", "not for the worker".parse().unwrap());
    headers.insert("keep-alive", "timeout=5".parse().unwrap());
    headers.insert("te", "trailers".parse().unwrap());
    let answer = send(pool.address(), request).await;
    let seen = answer.headers.get_all("seen-x-many").iter().collect::<Vec<_>>();
    assert_eq!(seen, ["one", "two, three"]);
    assert_eq!(answer.header("seen-cookie"), "a=1; b=2");
    assert_eq!(answer.headers["seen-x-latin"].as_bytes(), b"caf\xe9");
    assert_eq!(answer.header("seen-host"), "shovel.test");
    for name in ["seen-connection", "seen-x-hop", "seen-keep-alive", "seen-transfer-encoding"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
}

in_both_modes!(trailers_pass_both_ways);
/// D29.
async fn trailers_pass_both_ways(pool: Pool) {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "42".parse().unwrap());
    let frames = [
        Ok(http_body::Frame::data(Bytes::from_static(b"some data"))),
        Ok(http_body::Frame::trailers(trailers)),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let request = Request::post("/mirror")
        .header("host", "a")
        .header("te", "trailers")
        .header("trailer", "x-checksum")
        .body(body)
        .unwrap();
    let answer = Http::connect(pool.address()).await.send(request).await.unwrap();
    assert_eq!(answer.text(), "some data");
    assert_eq!(answer.trailers.get("x-checksum").map(|value| value.as_bytes()), Some(&b"42"[..]));
}

in_both_modes!(a_panic_is_a_500_that_tells_nothing_of_the_inside);
/// D33.
async fn a_panic_is_a_500_that_tells_nothing_of_the_inside(pool: Pool) {
    let mut http = Http::connect(pool.address()).await;
    for path in ["/panic", "/fail"] {
        let mut request = request(Method::GET, path, "");
        request.headers_mut().insert("x-dev", "1".parse().unwrap());
        let answer = http.send(request).await.unwrap();
        assert_eq!(answer.status, 500);
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
    assert_eq!(http.get("/info").await.unwrap().status, 200, "the worker lives");
}

in_both_modes!(the_operators_dev_flag_tells_the_inside, Options::app().flag("--dev"));
/// D33.
async fn the_operators_dev_flag_tells_the_inside(pool: Pool) {
    let answer = get(pool.address(), "/fail").await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("the secret is 42"), "{}", answer.text());
}

in_both_modes!(the_answer_to_head_has_the_head_of_get_and_no_body);
/// D35.
async fn the_answer_to_head_has_the_head_of_get_and_no_body(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("HEAD /produce?bytes=0 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    raw.write("HEAD /teapot HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 418 ") && head.contains("content-length: 15\r\n"), "{head}");
    // Had a body followed, it would stand before this head.
    raw.write("GET /info HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
}

in_both_modes!(no_body_follows_204_and_304);
/// D35.
async fn no_body_follows_204_and_304(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    for status in [204, 304] {
        raw.write(format!("GET /status?code={status} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let head = raw.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains("x-own: yes\r\n"), "{head}");
        // RFC 9112 §6.1: neither says how long a body is that cannot be.
        assert!(!head.contains("transfer-encoding"), "{head}");
    }
    raw.write("GET /info HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
}

in_both_modes!(a_client_that_expects_100_continue_gets_it_before_it_sends_the_body);
/// D35.
async fn a_client_that_expects_100_continue_gets_it_before_it_sends_the_body(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(
        "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    )
    .await;
    assert!(raw.head().await.starts_with("HTTP/1.1 100 "));
    raw.write("12345").await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-length: 1\r\n"), "{head}");
    assert_eq!(raw.take(1).await, b"5");
}

in_both_modes!(pipelined_requests_are_answered_in_order);
/// D35.
async fn pipelined_requests_are_answered_in_order(pool: Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(
        "POST /mirror?1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\
         GET /mirror?2 HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /mirror?3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    let text = String::from_utf8(raw.rest().await).unwrap();
    let places = ["target: /mirror?1\r\n", "target: /mirror?2\r\n", "target: /mirror?3\r\n"]
        .map(|target| text.find(target).unwrap_or_else(|| panic!("no {target} in {text}")));
    assert!(places.is_sorted(), "{text}");
}

in_both_modes!(a_connection_is_kept_for_http_1_1_and_closed_for_1_0);
/// D35.
async fn a_connection_is_kept_for_http_1_1_and_closed_for_1_0(pool: Pool) {
    let mut kept = Http::connect(pool.address()).await;
    for _ in 0..5 {
        assert_eq!(kept.get("/info").await.unwrap().status, 200);
    }
    assert!(!kept.is_closed());
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("GET /info HTTP/1.0\r\n\r\n").await;
    assert!(String::from_utf8_lossy(&raw.rest().await).contains(" 200 OK\r\n"));
}

in_both_modes!(a_body_that_the_handler_does_not_read_spoils_nothing);
/// D29: what the handler leaves of a body does not spoil the next request.
async fn a_body_that_the_handler_does_not_read_spoils_nothing(pool: Pool) {
    for _ in 0..3 {
        let mut http = Http::connect(pool.address()).await;
        let long = Bytes::from(vec![b'x'; 1 << 20]);
        let answer = http.stream(request(Method::POST, "/info", long)).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
        assert_eq!(get(pool.address(), "/info").await.status, 200);
    }
}
