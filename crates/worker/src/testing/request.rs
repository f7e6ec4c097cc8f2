//! A request on its way to the app.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Request, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use shovel_protocol::control::{Headers, RequestHead};
use shovel_protocol::id::Leased;
use shovel_protocol::{ConnectionUuid, RequestId, ToWorker};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::exchange::WINDOW_BYTES;
use super::supervisor::Supervisor;
use crate::ClientAddress;
use crate::supervised::respond::wire_headers;

/// Whose request it is if the test does not say.
const CLIENT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 49152);

/// Most of a body that one frame takes.
const CHUNK_BYTES: usize = WINDOW_BYTES as usize / 4;

/// A request that was sent. Dropped before it is answered, the client has gone away.
pub(super) struct SentRequest {
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) request: RequestId,
    upload: Option<AbortHandle>,
}

/// Sends a request.
pub(super) fn ask(
    supervisor: &Arc<Supervisor>,
    request: Request<Body>,
    upgrade_to: Option<ConnectionUuid>,
) -> SentRequest {
    let id = RequestId(Leased { slot: supervisor.next_id(), lease: 1 });
    let (mut head, body) = request.into_parts();
    add_headers(&mut head, &body, upgrade_to.is_some());
    let client = head.extensions.get().map_or(CLIENT, |ClientAddress(client)| *client).to_string();
    let headers = match wire_headers(&head.headers) {
        Ok(headers) => headers,
        Err(error) => panic!("this request cannot be sent: {error}"),
    };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let wire_head = RequestHead {
        method: head.method.as_str(),
        target,
        version: version(head.version),
        headers,
        client: &client,
        offer: None,
    };
    let uuid = upgrade_to.map(|ConnectionUuid(uuid)| uuid.into_bytes());
    let end = body.is_end_stream();
    let credit = supervisor.act(|state| state.begin(id, wire_head, uuid, end));
    let upload = Upload { supervisor: supervisor.clone(), request: id, body, credit };
    let upload = (!end).then(|| tokio::spawn(upload.run()).abort_handle());
    SentRequest { supervisor: supervisor.clone(), request: id, upload }
}

impl Drop for SentRequest {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.abort();
        }
        self.supervisor.act(|state| state.forget(self.request));
    }
}

/// The task that sends the body of a request, as far as credit goes.
struct Upload {
    supervisor: Arc<Supervisor>,
    request: RequestId,
    body: Body,
    credit: Arc<Semaphore>,
}

impl Upload {
    async fn run(mut self) {
        let request = self.request;
        while let Some(frame) = self.body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    return self.supervisor.act(|state| state.cancel(request, Some(error)));
                }
            };
            let mut data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    let fields = frame.into_trailers().unwrap_or_default();
                    let trailers = wire_headers(&fields).unwrap_or_default();
                    return self.tell(&ToWorker::RequestEnd { request, trailers });
                }
            };
            while !data.is_empty() {
                let chunk = data.split_to(data.len().min(CHUNK_BYTES));
                // The semaphore is never closed, and a chunk is no longer than a `u32`.
                if let Ok(credit) = self.credit.acquire_many(chunk.len() as u32).await {
                    credit.forget();
                }
                self.tell(&ToWorker::RequestBody { request, data: &chunk, end: false });
            }
        }
        self.tell(&ToWorker::RequestEnd { request, trailers: Headers::default() });
    }

    fn tell(&self, frame: &ToWorker<'_>) {
        self.supervisor.act(|state| state.tell_of(self.request, frame));
    }
}

/// What every client says, unless the test has said it.
fn add_headers(head: &mut http::request::Parts, body: &Body, is_upgrade: bool) {
    let host = head.uri.authority().map_or("localhost", |authority| authority.as_str());
    let mut add = |name, value: Result<HeaderValue, _>| {
        if let Ok(value) = value {
            head.headers.entry(name).or_insert(value);
        }
    };
    add(header::HOST, HeaderValue::from_str(host));
    if is_upgrade {
        // The key of RFC 6455 §1.3.
        add(header::SEC_WEBSOCKET_KEY, Ok(HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==")));
        add(header::SEC_WEBSOCKET_VERSION, Ok(HeaderValue::from_static("13")));
    }
    match body.size_hint().exact() {
        Some(length_bytes) if length_bytes > 0 => {
            add(header::CONTENT_LENGTH, Ok(HeaderValue::from(length_bytes)));
        }
        _ => {}
    }
}

fn version(version: Version) -> u8 {
    match version {
        Version::HTTP_10 => 10,
        Version::HTTP_2 => 20,
        _ => 11,
    }
}
