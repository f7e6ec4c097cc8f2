//! The app's answer to a request.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use shovel_protocol::ToWorker;
use tokio::sync::mpsc;

use super::exchange::Chunk;
use super::patience::patiently;
use super::request::SentRequest;

/// A response of the app, whose body may still be on its way.
///
/// Dropped, it takes the client away.
///
/// ```
/// use shovel_worker::testing::TestApp;
/// use shovel_worker::{App, Error, FetchEvent, Html};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let app = App::new(()).on_fetch(async |_: FetchEvent<()>| Ok::<_, Error>(Html("<p>hello")));
/// let app = TestApp::start(app).await.unwrap();
/// let response = app.get("/").await;
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
/// assert_eq!(response.text().await, "<p>hello");
/// # }
/// ```
pub struct TestResponse(Response<Body>);

impl TestResponse {
    pub(super) fn new(
        head: Response<()>,
        chunks: mpsc::UnboundedReceiver<Chunk>,
        asked: SentRequest,
    ) -> TestResponse {
        TestResponse(head.map(|()| Body::new(ResponseBody { chunks, asked })))
    }

    /// The status, which may be compared with a number.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = App::new(()).on_fetch(async |_: FetchEvent<()>| Ok::<_, Error>("hello"));
    /// # let app = TestApp::start(app).await.unwrap();
    /// assert_eq!(app.get("/").await.status(), 200);
    /// # }
    /// ```
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// All headers.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = App::new(()).on_fetch(async |_: FetchEvent<()>| Ok::<_, Error>("hello"));
    /// # let app = TestApp::start(app).await.unwrap();
    /// assert!(app.get("/").await.headers().contains_key("content-type"));
    /// # }
    /// ```
    pub fn headers(&self) -> &HeaderMap {
        self.0.headers()
    }

    /// A header that came, the first of its name, if it is text.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = App::new(()).on_fetch(async |_: FetchEvent<()>| Ok::<_, Error>("hello"));
    /// # let app = TestApp::start(app).await.unwrap();
    /// let response = app.get("/").await;
    /// assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    /// # }
    /// ```
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// Waits for the whole body.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = App::new(()).on_fetch(async |_: FetchEvent<()>| Ok::<_, Error>("hello"));
    /// # let app = TestApp::start(app).await.unwrap();
    /// assert_eq!(app.get("/").await.bytes().await, "hello");
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the body breaks off, or does not end.
    pub async fn bytes(self) -> Bytes {
        let body = patiently("the end of a response's body", self.0.into_body().collect()).await;
        match body {
            Ok(body) => body.to_bytes(),
            Err(error) => panic!("the body of the response is not whole: {error}"),
        }
    }

    /// Waits for the whole body, which is text.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = App::new(()).on_fetch(async |_: FetchEvent<()>| Ok::<_, Error>("hello"));
    /// # let app = TestApp::start(app).await.unwrap();
    /// assert_eq!(app.get("/").await.text().await, "hello");
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it is not, or the body breaks off, or does not end.
    pub async fn text(self) -> String {
        match String::from_utf8(self.bytes().await.into()) {
            Ok(text) => text,
            Err(error) => panic!("the body of the response is not text: {error}"),
        }
    }

    /// The response itself, for a body that is looked at while it streams in, or may break off.
    ///
    /// ```
    /// # use shovel_worker::testing::TestApp;
    /// # use shovel_worker::{App, Error, FetchEvent};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let app = App::new(()).on_fetch(async |_: FetchEvent<()>| Ok::<_, Error>("hello"));
    /// # let app = TestApp::start(app).await.unwrap();
    /// # use http_body_util::BodyExt;
    /// let mut body = app.get("/").await.into_response().into_body();
    /// let first = body.frame().await.unwrap().unwrap();
    /// assert_eq!(first.into_data().unwrap(), "hello");
    /// # }
    /// ```
    pub fn into_response(self) -> Response<Body> {
        self.0
    }
}

impl fmt::Debug for TestResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TestResponse");
        debug.field("status", &self.status()).field("headers", self.headers());
        debug.finish_non_exhaustive()
    }
}

/// The app has broken the body off, or has ended.
#[derive(Debug, thiserror::Error)]
#[error("the app broke the body off")]
struct CutOff;

struct ResponseBody {
    chunks: mpsc::UnboundedReceiver<Chunk>,
    asked: SentRequest,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        self.chunks.poll_recv(cx).map(|chunk| match chunk? {
            Chunk::Data(data) => {
                let (request, bytes) = (self.asked.request, data.len() as u32);
                let credit = ToWorker::Credit { request, bytes };
                self.asked.supervisor.act(|state| state.tell_of(request, &credit));
                Some(Ok(Frame::data(data)))
            }
            Chunk::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Chunk::CutOff => Some(Err(CutOff)),
        })
    }
}
