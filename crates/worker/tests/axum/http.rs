//! HTTP through a Router.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Path, Query, Request, State};
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use shovel_protocol::control::{Headers, RequestHead};
use shovel_protocol::{ToSupervisor, ToWorker};
use shovel_worker::{Channels, ConnectionId, WorkerInfo};
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::trace::TraceLayer;

use crate::harness::{self, REQUEST, UUID_TEXT, head};
use crate::{start, upgrade_request};

/// Extractors are told what the supervisor told of the request.
#[tokio::test]
async fn state_nested_routes_extractors_and_the_fallback_work_as_ever() {
    #[derive(Clone)]
    struct Greeting(&'static str);

    #[expect(clippy::too_many_arguments, reason = "to see them all at once")]
    async fn greet(
        State(Greeting(greeting)): State<Greeting>,
        Path(name): Path<String>,
        Query(query): Query<Vec<(String, String)>>,
        ConnectInfo(client): ConnectInfo<SocketAddr>,
        Extension(worker): Extension<WorkerInfo>,
        path: MatchedPath,
        headers: HeaderMap,
        connection: Option<Extension<ConnectionId>>,
        _channels: Extension<Channels>,
    ) -> Json<Vec<String>> {
        Json(vec![
            format!("{greeting} {name}"),
            format!("{query:?}"),
            client.to_string(),
            worker.index.to_string(),
            path.as_str().to_owned(),
            headers[header::HOST].to_str().unwrap().to_owned(),
            connection.map(|Extension(id)| id.to_string()).unwrap_or_default(),
        ])
    }
    let api = Router::new().route("/greet/{name}", get(greet)).with_state(Greeting("hello"));
    let router = Router::new()
        .nest("/api", api)
        .fallback(async |request: Request| (StatusCode::NOT_FOUND, request.uri().to_string()));
    let mut supervisor = start(router).await;
    supervisor.get(REQUEST, "/api/greet/world?a=1").await;
    let (status, body) = supervisor.response().await;
    assert_eq!(status, 200);
    let told = r#"["hello world","[(\"a\", \"1\")]","192.0.2.1:4321","2","/api/greet/{name}","#;
    assert_eq!(String::from_utf8(body).unwrap(), format!(r#"{told}"example.org",""]"#));
    supervisor.send(&[upgrade_request("/api/greet/world?a=1")]).await;
    let (_, body) = supervisor.response().await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(body, format!(r#"{told}"example.org","{UUID_TEXT}"]"#));
    supervisor.get(REQUEST, "/nowhere").await;
    assert_eq!(supervisor.response().await, (404, b"/nowhere".to_vec()));
    supervisor.shut_down().await;
}

#[tokio::test]
async fn tower_http_s_layers_trace_compress_and_allow_origins() {
    let router = Router::new()
        .route("/", get(async || "compress me ".repeat(1000)))
        .layer(CompressionLayer::new())
        .layer(CorsLayer::permissive())
        .layer(TraceLayer::new_for_http());
    let mut supervisor = start(router).await;
    let headers: [(&str, &[u8]); 2] = [("accept-encoding", b"gzip"), ("origin", b"http://a.test")];
    let head = RequestHead { headers: Headers(headers.into()), ..head("GET", "/") };
    supervisor.send(&[ToWorker::Request { request: REQUEST, head, end: true }]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Response { head, end: false, .. } = seen.read() else {
        panic!("{:?}", seen.read());
    };
    assert_eq!(head.status, 200);
    let value = |name| head.headers.0.iter().find(|(found, _)| *found == name).map(|found| found.1);
    assert_eq!(value("content-encoding"), Some(&b"gzip"[..]));
    assert_eq!(value("access-control-allow-origin"), Some(&b"*"[..]));
    let mut length = 0;
    loop {
        let seen = supervisor.next().await;
        let ToSupervisor::ResponseBody { data, end, .. } = seen.read() else {
            panic!("{:?}", seen.read());
        };
        length += data.len();
        if end {
            break;
        }
    }
    assert!((1..1000).contains(&length), "{length}");
    supervisor.shut_down().await;
}

/// D30: an event is sent before the next one is made.
#[tokio::test]
async fn server_sent_events_stream() {
    let shared = harness::State::default();
    let told = shared.clone();
    let router = Router::new().route(
        "/",
        get(async move || {
            Sse::new(stream::unfold((0, told), async |(number, told)| {
                if number > 0 {
                    told.go.notified().await;
                }
                let event = Event::default().data(number.to_string());
                (number < 2).then_some((Ok::<_, Infallible>(event), (number + 1, told)))
            }))
        }),
    );
    let mut supervisor = start(router).await;
    supervisor.get(REQUEST, "/").await;
    let seen = supervisor.next().await;
    assert!(matches!(seen.read(), ToSupervisor::Response { end: false, .. }));
    for expected in ["data: 0\n\n", "data: 1\n\n"] {
        let seen = supervisor.next().await;
        let ToSupervisor::ResponseBody { data, end: false, .. } = seen.read() else {
            panic!("{:?}", seen.read());
        };
        assert_eq!(data, expected.as_bytes());
        supervisor.expect_nothing().await;
        shared.go.notify_one();
    }
    let seen = supervisor.next().await;
    assert!(matches!(seen.read(), ToSupervisor::ResponseBody { data: b"", end: true, .. }));
    supervisor.shut_down().await;
}

/// D30: a chunk is answered before the next one is sent.
#[tokio::test]
async fn an_upload_streams_in_and_back_out() {
    let router = Router::new().route("/", post(async |body: Body| Body::new(body)));
    let mut supervisor = start(router).await;
    let head = head("POST", "/");
    supervisor.send(&[ToWorker::Request { request: REQUEST, head, end: false }]).await;
    let seen = supervisor.next().await;
    assert!(matches!(seen.read(), ToSupervisor::Response { end: false, .. }));
    for data in [&b"first"[..], b"second"] {
        let chunk = ToWorker::RequestBody { request: REQUEST, data, end: false };
        supervisor.send(&[chunk]).await;
        loop {
            match supervisor.next().await.read() {
                ToSupervisor::Credit { .. } => {}
                other => {
                    let back = ToSupervisor::ResponseBody { request: REQUEST, data, end: false };
                    assert_eq!(other, back);
                    break;
                }
            }
        }
    }
    let end = ToWorker::RequestBody { request: REQUEST, data: b"", end: true };
    supervisor.send(&[end]).await;
    let seen = supervisor.next().await;
    assert!(matches!(seen.read(), ToSupervisor::ResponseBody { end: true, .. }));
    supervisor.shut_down().await;
}
