//! Sends a response: its head, then its body as far as credit goes.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as _, Frame};
use shovel_protocol::ToSupervisor;
use shovel_protocol::control::{Headers, ResponseHead};
use shovel_protocol::limits::CONTROL_BYTES;

use super::caught::catch_panic;
use super::exchange::Exchange;

/// Most bytes of headers in one head: well below what the supervisor reads, lengths included.
const HEADERS_BYTES: usize = CONTROL_BYTES / 2;

/// What each header counts beside its bytes.
const HEADER_OVERHEAD_BYTES: usize = 32;

/// Why a response cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImpossibleResponse {
    #[error("its headers have over {HEADERS_BYTES} bytes")]
    HeadersTooLarge,
    #[error("status {0} is no answer")]
    Status(StatusCode),
    #[error("it accepts an upgrade to which more was done before than can be sent with it")]
    TooMuch,
    #[error("it accepts an upgrade that is another request's, or was withdrawn")]
    Stray,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenBody {
    #[error("{0}")]
    Error(#[source] axum::Error),
    #[error("panicked: {0}")]
    Panic(String),
}

/// Headers as the link has them.
pub(crate) fn wire_headers(headers: &HeaderMap) -> Result<Headers<'_>, ImpossibleResponse> {
    let mut bytes = 0;
    let mut list = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        bytes += name.as_str().len() + value.len() + HEADER_OVERHEAD_BYTES;
        list.push((name.as_str(), value.as_bytes()));
    }
    if bytes > HEADERS_BYTES {
        return Err(ImpossibleResponse::HeadersTooLarge);
    }
    Ok(Headers(list))
}

/// Sends the head of a response. Returns the body if it is to follow.
pub(crate) fn send_head(
    exchange: &Exchange,
    response: Response,
    to_head_request: bool,
) -> Result<Option<Body>, ImpossibleResponse> {
    let (mut parts, body) = response.into_parts();
    // RFC 9110 §15.2: after an interim response the final one must follow.
    if parts.status.is_informational() {
        return Err(ImpossibleResponse::Status(parts.status));
    }
    add_length(parts.status, &mut parts.headers, &body, to_head_request);
    let end = body.is_end_stream() || to_head_request;
    let head =
        ResponseHead { status: parts.status.as_u16(), headers: wire_headers(&parts.headers)? };
    let request = exchange.request;
    exchange.link.put(request.to_wire(), &ToSupervisor::Response { request, head, end });
    Ok((!end).then_some(body))
}

/// Sends the body. On an error the client hears that it is not whole.
pub(crate) async fn send_body(exchange: &Exchange, mut body: Body) -> Result<(), BrokenBody> {
    let request = exchange.request;
    let put = |frame: &ToSupervisor<'_>| exchange.link.put(request.to_wire(), frame);
    loop {
        let frame = match next_frame(&mut body).await {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                put(&ToSupervisor::ResponseBody { request, data: &[], end: true });
                return Ok(());
            }
            Err(broken) => {
                put(&ToSupervisor::Abort { request });
                return Err(broken);
            }
        };
        match frame.into_data() {
            Ok(data) => {
                let last = body.is_end_stream();
                send_chunks(exchange, data, last).await;
                if last {
                    return Ok(());
                }
            }
            Err(frame) => {
                let fields = frame.into_trailers().unwrap_or_default();
                // Trailers may always be dropped (RFC 9110 §6.5.1).
                let trailers = wire_headers(&fields).unwrap_or_default();
                put(&ToSupervisor::ResponseEnd { request, trailers });
                return Ok(());
            }
        }
    }
}

async fn next_frame(body: &mut Body) -> Result<Option<Frame<Bytes>>, BrokenBody> {
    let polled = poll_fn(|cx| match catch_panic(|| Pin::new(&mut *body).poll_frame(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(text) => Poll::Ready(Err(BrokenBody::Panic(text))),
    });
    polled.await?.transpose().map_err(BrokenBody::Error)
}

async fn send_chunks(exchange: &Exchange, mut data: Bytes, last: bool) {
    let request = exchange.request;
    let put = |data: &[u8], end| {
        exchange.link.put(request.to_wire(), &ToSupervisor::ResponseBody { request, data, end });
    };
    while !data.is_empty() {
        let chunk = data.split_to(exchange.spend_credit(data.len()).await);
        let end = last && data.is_empty();
        put(&chunk, end);
        if end {
            return;
        }
    }
    if last {
        put(&[], true);
    }
}

/// Says how long the body is, if that is known and may be said: the supervisor sees only its
/// chunks.
fn add_length(status: StatusCode, headers: &mut HeaderMap, body: &Body, to_head_request: bool) {
    let no_body = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let said = headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING);
    match body.size_hint().exact() {
        // To HEAD it would say that GET has no body (RFC 9110 §8.6).
        Some(0) if to_head_request => {}
        Some(bytes) if !no_body && !said => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        _ => {}
    }
}
