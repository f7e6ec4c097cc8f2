//! An HTTP client that never tries again: a request that fails has failed.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::within;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A connection that is kept for any number of requests, one after the other.
#[derive(Debug)]
pub struct Http {
    sender: SendRequest<Body>,
}

/// A response that has arrived whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers; empty if there are none.
    pub trailers: HeaderMap,
}

impl Http {
    /// Opens a connection.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn connect(address: SocketAddr) -> Http {
        Self::try_connect(address).await.expect("connect")
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn try_connect(address: SocketAddr) -> std::io::Result<Http> {
        let stream = within("a connection", TcpStream::connect(address)).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        Ok(Http { sender })
    }

    /// Sends a request and waits for the head of the response; its body may still be to come.
    ///
    /// # Errors
    /// Those of the connection: the request has failed.
    pub async fn stream<B>(&mut self, request: Request<B>) -> hyper::Result<Response<Incoming>>
    where
        B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        within("an answer", async {
            self.sender.ready().await?;
            self.sender.send_request(request.map(|body| body.boxed_unsync())).await
        })
        .await
    }

    /// Sends a request and waits for the whole response.
    ///
    /// # Errors
    /// As [`Http::stream`], also if the body breaks off.
    pub async fn send<B>(&mut self, request: Request<B>) -> hyper::Result<Answer>
    where
        B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let (head, body) = self.stream(request).await?.into_parts();
        let body = within("the body of an answer", body.collect()).await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let (status, headers) = (head.status, head.headers);
        Ok(Answer { status, headers, body: body.to_bytes(), trailers })
    }

    /// GET.
    ///
    /// # Errors
    /// As [`Http::send`].
    pub async fn get(&mut self, path: &str) -> hyper::Result<Answer> {
        self.send(request(Method::GET, path, "")).await
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Answer {
    /// The body as text.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// A header as text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A request with a body that is known.
pub fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shovel.test")
        .body(Full::new(body.into()))
        .expect("a request")
}

/// Sends a request on a connection of its own.
///
/// # Panics
/// If it fails.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    Http::connect(address).await.send(request).await.expect("an answer")
}

/// GET on a connection of its own.
///
/// # Panics
/// As [`send`].
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, request(Method::GET, path, "")).await
}

/// POST on a connection of its own.
///
/// # Panics
/// As [`send`].
pub async fn post(address: SocketAddr, path: &str, body: impl Into<Bytes>) -> Answer {
    send(address, request(Method::POST, path, body)).await
}

/// A body whose parts are sent as they come out of the channel; it ends when the sender is dropped.
pub fn body_of(
    parts: tokio::sync::mpsc::Receiver<Bytes>,
) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let parts = futures_util::stream::unfold(parts, |mut parts| async {
        let part = parts.recv().await?;
        Some((Ok(http_body::Frame::data(part)), parts))
    });
    http_body_util::StreamBody::new(parts)
}
