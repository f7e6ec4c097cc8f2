//! A request and its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use shovel_core::custody::Route;
use shovel_protocol::control::{Headers, ResponseHead, UpgradeHead};
use shovel_protocol::{LeaseId, WorkerId};
use tokio::sync::{Semaphore, mpsc};

/// Most of a body that is under way, in either direction.
pub(super) const WINDOW_BYTES: u32 = 256 * 1024;

/// A request that waits for its answer, or for the rest of it.
pub(super) struct Exchange {
    /// The worker that it was given to.
    pub(super) worker: WorkerId,
    /// The connection that is reserved for its upgrade, until that is accepted.
    pub(super) offered: Option<LeaseId>,
    pub(super) stage: Stage,
    pub(super) answer: Option<Answer>,
    /// Where its body goes, once the head has come.
    chunks: Option<mpsc::UnboundedSender<Chunk>>,
    /// How much of the request's body may be sent.
    pub(super) credit: Arc<Semaphore>,
}

/// How far a request has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Sent,
    /// The head of its response has come.
    Answered,
    /// Nothing more comes.
    Ended,
}

/// How a request was answered.
pub(super) enum Answer {
    Response(Response<()>, mpsc::UnboundedReceiver<Chunk>),
    Upgrade {
        route: Route,
        protocol: Option<String>,
        headers: HeaderMap,
    },
    /// Not at all: the request's own body failed.
    NoBody(axum::Error),
}

/// A part of a response's body. The channel closes at the end of a whole body.
pub(super) enum Chunk {
    Data(Bytes),
    Trailers(HeaderMap),
    /// It is not whole, and nothing more comes.
    CutOff,
}

impl Exchange {
    /// A request just sent, which perhaps offers an upgrade.
    pub(super) fn new(worker: WorkerId, offered: Option<LeaseId>) -> Exchange {
        let credit = Arc::new(Semaphore::new(WINDOW_BYTES as usize));
        Exchange { worker, offered, stage: Stage::Sent, answer: None, chunks: None, credit }
    }

    /// The head of the response; its body follows unless `end` says that it has none.
    pub(super) fn respond(&mut self, head: &ResponseHead<'_>, end: bool) {
        let mut response = Response::new(());
        *response.status_mut() =
            StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
        *response.headers_mut() = read_headers(&head.headers);
        let (chunks, receiver) = mpsc::unbounded_channel();
        self.chunks = Some(chunks);
        self.stage = Stage::Answered;
        self.answer = Some(Answer::Response(response, receiver));
        if end {
            self.finish();
        }
    }

    /// The upgrade is accepted.
    pub(super) fn upgrade(&mut self, route: Route, head: &UpgradeHead<'_>) {
        self.offered = None;
        let protocol = head.protocol.map(str::to_owned);
        let headers = read_headers(&head.headers);
        self.answer = Some(Answer::Upgrade { route, protocol, headers });
        self.finish();
    }

    /// A part of the response's body.
    pub(super) fn take_body(&mut self, data: &[u8], end: bool) {
        let chunk = Chunk::Data(Bytes::copy_from_slice(data));
        match end {
            true => self.end(chunk),
            false => self.send(chunk),
        }
    }

    /// Its worker has ended. `is_replaced`: as happens to workers, so the client gets a 502.
    pub(super) fn lose(&mut self, is_replaced: bool) {
        if is_replaced && self.stage == Stage::Sent {
            let (status, headers) = (StatusCode::BAD_GATEWAY.as_u16(), Headers::default());
            return self.respond(&ResponseHead { status, headers }, true);
        }
        self.end(Chunk::CutOff);
    }

    fn send(&self, chunk: Chunk) {
        if let Some(chunks) = &self.chunks {
            // Nobody reads any more if the response was dropped.
            let _ = chunks.send(chunk);
        }
    }

    /// The last that comes, then the end.
    pub(super) fn end(&mut self, last: Chunk) {
        self.send(last);
        self.finish();
    }

    fn finish(&mut self) {
        self.stage = Stage::Ended;
        self.chunks = None;
    }
}

/// Leaves out what cannot be a header.
pub(super) fn read_headers(headers: &Headers<'_>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.0.len());
    for (name, value) in &headers.0 {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}
