//! J71 and J72: the access log, and what requests are called.

use bytes::Bytes;
use http::Method;
use shovel_tests::{Http, Line, Options, Pool, Raw, WebSocket, get, request, send};

fn logging() -> Options {
    Options::app().flag("--access-log")
}

async fn line_of(pool: &Pool, path: &str) -> Line {
    let is_it = |line: &Line| line.is("request") && line.text("path") == path;
    pool.wait_for(&format!("the line about {path}"), is_it).await
}

/// J71.
#[tokio::test]
async fn a_request_has_one_line_with_what_an_operator_asks_for() {
    let pool = Pool::start(logging()).await;
    let answer = get(pool.address(), "/mirror?secret=42").await;
    let line = line_of(&pool, "/mirror").await;
    assert_eq!(line.target(), "access");
    assert_eq!(line.text("method"), "GET");
    assert_eq!(line.text("id"), answer.header("seen-x-request-id"));
    assert_eq!(line.number("status"), Some(200));
    assert_eq!(line.number("bytes"), Some(answer.body.len() as u64));
    assert_eq!(line.number("worker"), Some(pool.workers()[0].id));
    assert!(line.text("client").starts_with("127.0.0.1:"), "{}", line.raw);
    assert!(line.number("took_us").is_some(), "{}", line.raw);
    assert!(!line.raw.contains("secret"), "{}", line.raw);
    assert!(!line.raw.contains("broken_off"), "{}", line.raw);
    let lines = pool.log().lines().iter().filter(|line| line.is("request")).count();
    assert_eq!(lines, 1);
}

/// J71.
#[tokio::test]
async fn there_is_an_access_log_if_it_is_asked_for_or_in_development() {
    for (options, written) in
        [(Options::app(), false), (logging(), true), (Options::app().flag("--dev"), true)]
    {
        let mut pool = Pool::start(options).await;
        let mut socket = WebSocket::connect(pool.address(), "/ws").await;
        assert_eq!(socket.ask("hello").await, "echo hello");
        socket.close(4000, "bye").await;
        pool.sigterm();
        pool.exit_status().await;
        let lines = pool.log().lines();
        let told = |message| lines.iter().filter(|line| line.is(message)).count();
        let expected = usize::from(written);
        assert_eq!((told("request"), told("connection closed")), (expected, expected));
    }
}

/// J71 and I66.
#[tokio::test]
async fn an_app_by_itself_has_an_access_log_too() {
    let quiet = "error,shovel_worker::direct=info";
    for (options, written) in
        [(Options::app(), 0), (logging(), 1), (logging().variable("RUST_LOG", quiet), 1)]
    {
        let mut pool = Pool::start(options.alone()).await;
        get(pool.address(), "/mirror?secret=42").await;
        pool.sigterm();
        pool.exit_status().await;
        let lines = pool.log().lines();
        let lines: Vec<_> = lines.iter().filter(|line| line.raw.contains("/mirror")).collect();
        assert_eq!(lines.len(), written, "{}", pool.log());
        for line in lines {
            for part in ["request", "method=\"GET\"", "status=200", "client=127."] {
                assert!(line.raw.contains(part), "no {part:?} in {}", line.raw);
            }
        }
    }
}

/// J71.
#[tokio::test]
async fn the_access_log_is_written_though_little_else_is() {
    let quiet = "error,shovel_pool::driver::workers=info";
    let mut pool = Pool::launch(logging().variable("RUST_LOG", quiet));
    pool.wait_until_it_listens().await;
    get(pool.address(), "/info").await;
    line_of(&pool, "/info").await;
    assert!(pool.started().is_empty(), "more than was asked for");
}

/// J71.
#[tokio::test]
async fn an_access_log_in_text_reads_well() {
    let pool = Pool::launch(logging().log_in_text());
    let line = pool.wait_for("the address", |line| line.raw.contains("listening")).await;
    let (_, address) = line.raw.split_once("http://").unwrap();
    let address = address.split('"').next().unwrap().parse().unwrap();
    get(address, "/info").await;
    let line = pool.wait_for("the line", |line| line.raw.contains("path=\"/info\"")).await;
    for part in [" INFO request id=\"", " method=\"GET\" ", " status=200 ", " worker=1 client=127."]
    {
        assert!(line.raw.contains(part), "no {part:?} in {}", line.raw);
    }
}

/// J71.
#[tokio::test]
async fn a_body_that_was_not_taken_whole_is_marked() {
    let pool = Pool::start(logging()).await;
    let mut http = Http::connect(pool.address()).await;
    let asked = request(Method::GET, "/produce?bytes=100000000", "");
    drop((http.stream(asked).await.unwrap(), http));
    let line = line_of(&pool, "/produce").await;
    assert_eq!(line.number("status"), Some(200));
    assert!(line.raw.contains(r#""broken_off":true"#), "{}", line.raw);
    assert!(line.number("bytes").unwrap() < 100_000_000, "{}", line.raw);
}

/// J71.
#[tokio::test]
async fn bodies_with_their_length_and_without_and_none_at_all_are_whole() {
    let pool = Pool::start(logging()).await;
    let mut http = Http::connect(pool.address()).await;
    pool.open_gate("end");
    for (method, path, bytes) in [
        (Method::GET, "/produce?bytes=3000000", 3_000_000),
        (Method::GET, "/stream?gate=end", 11),
        (Method::HEAD, "/info", 0),
        (Method::GET, "/status?code=204", 0),
        (Method::GET, "/status?code=304", 0),
    ] {
        http.send(request(method, path, "")).await.unwrap();
        let line = line_of(&pool, path.split('?').next().unwrap()).await;
        assert!(!line.raw.contains("broken_off"), "{}", line.raw);
        assert_eq!(line.number("bytes"), Some(bytes), "{}", line.raw);
    }
}

/// J71.
#[tokio::test]
async fn a_client_that_does_not_wait_for_the_answer_has_499() {
    let pool = Pool::start(logging()).await;
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("GET /gated?gate=never HTTP/1.1\r\nHost: a\r\n\r\n").await;
    pool.wait_at_gate("never").await;
    drop(raw);
    let line = line_of(&pool, "/gated").await;
    assert_eq!(line.number("status"), Some(499));
    assert_eq!(line.number("worker"), Some(pool.workers()[0].id));
}

/// J71.
#[tokio::test]
async fn what_no_worker_was_asked_has_its_line_too() {
    let pool = Pool::start(logging()).await;
    let mut raw = Raw::connect(pool.address()).await;
    raw.write("GET /old HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
        .await;
    assert!(raw.head().await.starts_with("HTTP/1.1 4"));
    let line = line_of(&pool, "/old").await;
    assert_eq!(line.text("worker"), "", "{}", line.raw);
    assert!(line.number("status").unwrap() >= 400, "{}", line.raw);
}

/// J71.
#[tokio::test]
async fn a_failure_names_the_worker_that_failed() {
    let pool = Pool::start(logging().with("--request-timeout", "100ms")).await;
    let answer = get(pool.address(), "/gated?gate=never").await;
    assert_eq!(answer.status, 504);
    let line = line_of(&pool, "/gated").await;
    assert_eq!(line.number("status"), Some(504));
    assert_eq!(line.number("worker"), Some(pool.workers()[0].id));
}

/// J71.
#[tokio::test]
async fn an_upgrade_names_its_connection() {
    let pool = Pool::start(logging()).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.send("info").await;
    let id = socket.next_json().await["id"].as_str().unwrap().to_owned();
    let line = line_of(&pool, "/ws").await;
    assert_eq!(line.number("status"), Some(101));
    assert_eq!(line.text("connection"), id);
}

/// J71: the access log can be turned on and off without a restart.
#[tokio::test]
async fn a_reload_turns_the_access_log_on() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = Options::app().with("--config", file.path().to_str().unwrap());
    let pool = Pool::start(options).await;
    get(pool.address(), "/info").await;
    std::fs::write(file.path(), "access-log = true\n").unwrap();
    pool.reload(2).await;
    get(pool.address(), "/mirror").await;
    line_of(&pool, "/mirror").await;
    assert!(!pool.log().lines().iter().any(|line| line.text("path") == "/info"));
}

fn with_headers(
    path: &str,
    headers: &[(&str, &str)],
) -> http::Request<http_body_util::Full<Bytes>> {
    let mut request = request(Method::GET, path, "");
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

/// J72.
#[tokio::test]
async fn a_trace_goes_on_and_names_many_requests_each_of_which_has_an_id() {
    let pool = Pool::start(logging()).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-00");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let headers =
            [("traceparent", &*parent), ("tracestate", "a=1"), ("x-request-id", "forged")];
        let answer = send(pool.address(), with_headers("/mirror", &headers)).await;
        assert_eq!(answer.header("seen-traceparent"), parent);
        assert_eq!(answer.header("seen-tracestate"), "a=1");
        ids.push(answer.header("seen-x-request-id").to_owned());
    }
    assert_ne!(ids[0], ids[1]);
    assert!(ids.iter().all(|id| id != "forged"), "{ids:?}");
    for id in ids {
        let is_it = |line: &Line| line.is("request") && line.text("id") == id;
        let line = pool.wait_for("the line", is_it).await;
        assert_eq!(line.text("trace"), trace);
    }
}

/// J72.
#[tokio::test]
async fn a_request_without_a_sound_trace_begins_one() {
    let pool = Pool::start(Options::app()).await;
    let one = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for sent in [&[][..], &["nonsense"], &["00-0-0-0"], &[one, one]] {
        let mut headers: Vec<_> = sent.iter().map(|value| ("traceparent", *value)).collect();
        headers.push(("tracestate", "a=1"));
        let answer = send(pool.address(), with_headers("/mirror", &headers)).await;
        let begun = answer.header("seen-traceparent");
        assert_eq!(answer.headers.get_all("seen-traceparent").iter().count(), 1);
        let parts: Vec<_> = begun.split('-').collect();
        assert_eq!((parts[0], parts[3]), ("00", "01"), "{begun}");
        assert_eq!((parts[1].len(), parts[2].len()), (32, 16), "{begun}");
        assert_ne!(begun, one);
        assert_eq!(answer.header("seen-x-request-id"), parts[1]);
        assert_eq!(answer.header("seen-tracestate"), "");
    }
}

/// J72: an upgrade is a request too.
#[tokio::test]
async fn an_upgrade_has_a_trace_and_an_id() {
    let pool = Pool::start(Options::app()).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.send("info").await;
    let info = socket.next_json().await;
    let request = info["request"].as_str().unwrap();
    assert!(info["traceparent"].as_str().unwrap().contains(request), "{info}");
}
