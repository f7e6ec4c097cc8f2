//! Requests and responses.

mod harness;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use harness::{Notes, REQUEST, Supervisor, WINDOW_BYTES, head};
use http_body::Frame;
use http_body_util::BodyExt;
use shovel_protocol::control::{Headers, ResponseHead};
use shovel_protocol::{ToSupervisor, ToWorker};
use shovel_worker::{
    App, Body, Bytes, ClientAddress, Error, FetchEvent, HeaderMap, HeaderValue, IntoResponse,
    Response, StatusCode,
};
use tokio::sync::mpsc;

/// A body that a test makes piece by piece.
struct Fed(mpsc::UnboundedReceiver<Result<Frame<Bytes>, std::io::Error>>);

type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx)
    }
}

fn fed() -> (Feed, Body) {
    let (feed, fed) = mpsc::unbounded_channel();
    (feed, Body::new(Fed(fed)))
}

/// An app that answers with one body.
fn answers_with(body: Body) -> App<()> {
    let body = std::sync::Mutex::new(Some(body));
    App::new(()).on_fetch(move |_event| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Ok::<_, Infallible>(Response::new(body)) }
    })
}

fn chunk(data: &[u8], end: bool) -> ToSupervisor<'_> {
    ToSupervisor::ResponseBody { request: REQUEST, data, end }
}

fn request(method: &'static str, end: bool) -> ToWorker<'static> {
    ToWorker::Request { request: REQUEST, head: head(method, "/path?query"), end }
}

/// D29.
#[tokio::test]
async fn a_small_response_is_a_head_and_one_chunk() {
    let app = App::new(()).on_fetch(async |event: FetchEvent<()>| {
        let request = event.request();
        assert_eq!((request.method().as_str(), request.uri().path()), ("GET", "/path"));
        assert_eq!(event.client().unwrap().to_string(), "192.0.2.1:4321");
        assert_eq!(request.extensions().get(), event.client().map(ClientAddress).as_ref());
        let worker = event.worker();
        assert_eq!((worker.id, worker.index, worker.generation), (7, 2, 3));
        Ok::<_, Error>(([("x-twice", "a"), ("x-once", "b")], "hello"))
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.send(&[request("GET", true)]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Response { head, end: false, .. } = seen.read() else {
        panic!("no head: {:?}", seen.read());
    };
    assert_eq!(head.status, 200);
    assert!(head.headers.0.contains(&("x-once", b"b")));
    assert!(head.headers.0.contains(&("content-length", b"5")));
    supervisor.expect(chunk(b"hello", true)).await;
    supervisor.shut_down().await;
}

/// D35: to HEAD goes the head that GET would have, and nothing behind it.
#[tokio::test]
async fn a_response_to_head_ends_with_its_head() {
    let mut supervisor = Supervisor::start(answers_with("hello".into())).await;
    supervisor.send(&[request("HEAD", true)]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Response { head, end, .. } = seen.read() else { panic!("no head") };
    assert!(end);
    assert_eq!(head.headers.0, [("content-length", &b"5"[..])]);
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn an_app_without_a_fetch_handler_answers_404() {
    let mut supervisor = Supervisor::start(App::new(())).await;
    supervisor.get(REQUEST, "/").await;
    assert_eq!(supervisor.response().await, (404, Vec::new()));
    supervisor.shut_down().await;
}

/// D30.
#[tokio::test]
async fn a_response_streams_and_stops_without_credit() {
    let (feed, body) = fed();
    let mut supervisor = Supervisor::start(answers_with(body)).await;
    supervisor.send(&[request("GET", true)]).await;
    supervisor.next().await;
    feed.send(Ok(Frame::data(Bytes::from_static(b"early")))).unwrap();
    supervisor.expect(chunk(b"early", false)).await;

    let window = WINDOW_BYTES as usize;
    feed.send(Ok(Frame::data(vec![1; window].into()))).unwrap();
    let mut received = b"early".len();
    while received < window {
        let seen = supervisor.next().await;
        let ToSupervisor::ResponseBody { data, end: false, .. } = seen.read() else { panic!() };
        received += data.len();
    }
    assert_eq!(received, window);
    supervisor.expect_nothing().await;
    supervisor.send(&[ToWorker::Credit { request: REQUEST, bytes: 100 }]).await;
    supervisor.expect(chunk(&[1; 5], false)).await;

    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    feed.send(Ok(Frame::trailers(trailers))).unwrap();
    let trailers = Headers(vec![("x-sum", b"42")]);
    supervisor.expect(ToSupervisor::ResponseEnd { request: REQUEST, trailers }).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_body_that_fails_aborts_the_response() {
    let (feed, body) = fed();
    let mut supervisor = Supervisor::start(answers_with(body)).await;
    supervisor.send(&[request("GET", true)]).await;
    supervisor.next().await;
    feed.send(Err(std::io::Error::other("by intent"))).unwrap();
    supervisor.expect(ToSupervisor::Abort { request: REQUEST }).await;
    supervisor.shut_down().await;
}

/// D29, D30.
#[tokio::test]
async fn an_upload_streams_and_is_granted_as_it_is_read() {
    let notes = Arc::new(Notes::default());
    let mut heard = notes.listen();
    let (go, wait) = mpsc::unbounded_channel::<()>();
    let wait = Arc::new(tokio::sync::Mutex::new(wait));
    let app = App::new(notes).on_fetch(move |event: FetchEvent<Arc<Notes>>| {
        let wait = wait.clone();
        async move {
            let notes = event.state().clone();
            let mut body = event.into_request().into_body();
            let first = body.frame().await.unwrap()?.into_data().unwrap();
            notes.say(format!("first {}", first.len()));
            wait.lock().await.recv().await;
            let rest = body.collect().await?;
            let sum = rest.trailers().unwrap()["x-sum"].clone();
            Ok::<_, Error>(format!("{} {}", first.len() + rest.to_bytes().len(), sum.to_str()?))
        }
    });
    let mut supervisor = Supervisor::start(app).await;
    let data = vec![1; 64 * 1024];
    let part = ToWorker::RequestBody { request: REQUEST, data: &data, end: false };
    supervisor.send(&[request("POST", false), part.clone()]).await;
    assert_eq!(heard.next().await, "first 65536");
    supervisor.send(&[part.clone(), part.clone(), part.clone()]).await;
    supervisor.expect_nothing().await;
    go.send(()).unwrap();
    let half = ToSupervisor::Credit { request: REQUEST, bytes: WINDOW_BYTES / 2 };
    supervisor.expect(half.clone()).await;
    supervisor.expect(half).await;
    let trailers = Headers(vec![("x-sum", b"42")]);
    supervisor.send(&[part, ToWorker::RequestEnd { request: REQUEST, trailers }]).await;
    let body = format!("{} 42", 5 * 64 * 1024).into_bytes();
    assert_eq!(supervisor.response().await, (200, body));
    supervisor.shut_down().await;
}

/// D31: the handler, and later the body of the response.
#[tokio::test]
async fn a_cancelled_request_drops_its_handler_and_its_body() {
    let (feed, body) = fed();
    let body = std::sync::Mutex::new(Some(body));
    let app = App::new(()).on_fetch(move |event: FetchEvent<()>| {
        let body = body.lock().unwrap().take();
        async move {
            match (event.request().uri().path(), body) {
                ("/streams", Some(body)) => Ok::<_, Infallible>(Response::new(body)),
                (_, held) => {
                    std::future::pending::<()>().await;
                    drop(held);
                    Ok(StatusCode::OK.into_response())
                }
            }
        }
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.get(REQUEST, "/streams").await;
    supervisor.next().await;
    assert!(!feed.is_closed());
    supervisor.send(&[ToWorker::Cancel { request: REQUEST }]).await;
    harness::patiently("the drop of the body", feed.closed()).await;
    supervisor.get(REQUEST, "/waits").await;
    supervisor.send(&[ToWorker::Cancel { request: REQUEST }]).await;
    supervisor.expect_nothing().await;
    // It would wait for the handler, were that still there.
    supervisor.shut_down().await;
}

/// D31: a handler that reads a body hears that no more comes, even if it is not that request's
/// handler any more.
#[tokio::test]
async fn a_body_that_outlives_its_answer_is_cut_off() {
    let notes = Arc::new(Notes::default());
    let mut heard = notes.listen();
    let app = App::new(notes).on_fetch(async |mut event: FetchEvent<Arc<Notes>>| {
        let body = event.take_body();
        let notes = event.state().clone();
        event.wait_until(async move { notes.say(body.collect().await.unwrap_err().to_string()) });
        Ok::<_, Infallible>(StatusCode::ACCEPTED)
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.send(&[request("POST", false)]).await;
    assert_eq!(supervisor.response().await.0, 202);
    assert!(heard.next().await.contains("cut off"));
    supervisor.shut_down().await;
}

/// B16, D33.
#[tokio::test]
async fn only_dev_tells_the_client_why_a_handler_failed() {
    for dev in [false, true] {
        let app = App::new(()).on_fetch(async |event: FetchEvent<()>| {
            if event.request().uri().path() == "/panics" {
                panic!("secret");
            }
            Err::<(), _>(Error::message("secret"))
        });
        let mut supervisor = Supervisor::start_with(app, 1, dev).await;
        supervisor.expect_ready().await;
        for path in ["/panics", "/errs"] {
            supervisor.get(REQUEST, path).await;
            let (status, body) = supervisor.response().await;
            assert_eq!(status, 500);
            assert_eq!(String::from_utf8(body).unwrap().contains("secret"), dev);
        }
        supervisor.shut_down().await;
    }
}

/// The supervisor would end the link over a head that it cannot read.
#[tokio::test]
async fn a_head_that_is_too_large_becomes_an_error_response() {
    let app = App::new(()).on_fetch(async |_event: FetchEvent<()>| {
        let large = HeaderValue::from_str(&"x".repeat(1024 * 1024))?;
        Ok::<_, Error>([("x-large", large)])
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.get(REQUEST, "/").await;
    assert_eq!(supervisor.response().await.0, 500);
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_answered_with_500() {
    let mut supervisor = Supervisor::start(App::new(())).await;
    let mut head = head("GET", "/");
    head.headers = Headers(vec![("x-bad", b"a\r\nb")]);
    supervisor.send(&[ToWorker::Request { request: REQUEST, head, end: true }]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Response { head: ResponseHead { status, .. }, end, .. } = seen.read() else {
        panic!("no head");
    };
    assert_eq!((status, end), (500, true));
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_body_beyond_its_credit_ends_the_worker() {
    let app = App::new(()).on_fetch(async |event: FetchEvent<()>| {
        std::future::pending::<()>().await;
        drop(event);
        Ok::<_, Infallible>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    let data = vec![1; 64 * 1024];
    let part = ToWorker::RequestBody { request: REQUEST, data: &data, end: false };
    supervisor.send(&[request("POST", false)]).await;
    for _ in 0..5 {
        supervisor.send(std::slice::from_ref(&part)).await;
    }
    assert!(supervisor.ended().await.to_string().contains("no credit"));
}
