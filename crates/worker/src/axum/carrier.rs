//! An HTTP/1 connection within the process, for the one thing that only hyper can make: an
//! [`OnUpgrade`], which axum's own extractor takes out of a request's extensions.
//!
//! What goes over it is fixed; the real request and its response are passed by. The walk:
//! [`Carrier::open`] -> the Router is called with the `OnUpgrade` -> [`Carrier::upgrade`] if it
//! answers 101, and then frames flow through the [`Pipe`]; otherwise the carrier is dropped.

use std::pin::Pin;
use std::sync::Mutex;

use axum::body::Body;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::oneshot;

use crate::lock::lock;

/// What waits in each direction of a pipe, at most.
const PIPE_BYTES: usize = 64 * 1024;

/// hyper's own minimum.
const HYPER_BUFFER_BYTES: usize = 8 * 1024;

/// The head of a 101 fits, and what is read at once beyond it passes by this buffer.
const HEAD_BUFFER_BYTES: usize = 256;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// A connection whose only request waits for its answer.
pub(super) struct Carrier {
    server: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    accept: oneshot::Sender<()>,
    client: DuplexStream,
}

/// The client's end after the upgrade.
pub(super) type Pipe = BufReader<DuplexStream>;

/// A bug: what is fixed did not work.
#[derive(Debug, thiserror::Error)]
#[error("in-memory upgrade failed: {0}")]
pub(super) struct CarrierFailed(String);

impl Carrier {
    /// Opens a connection as far as the `OnUpgrade` of its request.
    pub(super) async fn open() -> Result<(OnUpgrade, Carrier), CarrierFailed> {
        let (mut client, server) = tokio::io::duplex(PIPE_BYTES);
        client.write_all(REQUEST).await.map_err(failed)?;
        let (offer, offered) = oneshot::channel();
        let (accept, accepted) = oneshot::channel();
        let once = Mutex::new(Some((offer, accepted)));
        let service = service_fn(move |request| {
            let once = lock(&once).take();
            async move {
                let (offer, accepted) = once.ok_or_else(|| failed("asked twice"))?;
                answer(request, offer, accepted).await
            }
        });
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HYPER_BUFFER_BYTES);
        let server = builder.serve_connection(TokioIo::new(server), service).with_upgrades();
        let mut server: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(server);
        tokio::select! {
            // The server makes what the other branch waits for. It is polled again later on; the
            // other has ended by then.
            biased;
            ended = &mut server => Err(failed(format!("ended early: {ended:?}"))),
            on_upgrade = offered => {
                Ok((on_upgrade.map_err(failed)?, Carrier { server, accept, client }))
            }
        }
    }

    /// Answers 101, by which the `OnUpgrade` gets its end of the pipe.
    pub(super) async fn upgrade(self) -> Result<Pipe, CarrierFailed> {
        // The service waits for it.
        let _ = self.accept.send(());
        self.server.await.map_err(failed)?;
        let mut pipe = BufReader::with_capacity(HEAD_BUFFER_BYTES, self.client);
        let mut line = String::new();
        // An empty line ends the head, and has its line break.
        while pipe.read_line(&mut line).await.map_err(failed)? > 2 {
            line.clear();
        }
        Ok(pipe)
    }
}

async fn answer(
    mut request: Request<Incoming>,
    offer: oneshot::Sender<OnUpgrade>,
    accepted: oneshot::Receiver<()>,
) -> Result<Response<Body>, CarrierFailed> {
    // Nobody waits any more if the carrier is gone, and then nothing is polled either.
    let _ = offer.send(hyper::upgrade::on(&mut request));
    accepted.await.map_err(failed)?;
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket");
    response.body(Body::empty()).map_err(failed)
}

fn failed(why: impl ToString) -> CarrierFailed {
    CarrierFailed(why.to_string())
}
