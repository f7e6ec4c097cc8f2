//! The echo: of a request's body, and of WebSocket messages.

use shovel_worker::{Error, FetchEvent, IntoResponse, MessageEvent, Response, header};

use crate::State;

/// Where the WebSocket echo is.
pub(crate) const PATH: &str = "/ws/echo";

/// Streams the request's body back: what has come is on its way back before the rest is here.
pub(crate) fn body(event: FetchEvent<State>) -> Response {
    let (head, body) = event.into_request().into_parts();
    let mut response = body.into_response();
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    response
}

pub(crate) fn join(mut event: FetchEvent<State>) -> Result<Response, Error> {
    let (connection, response) = event.upgrade_websocket()?;
    // There is nothing to remember of it, so another worker could go on with it at once; but an echo
    // is here to measure what a message costs at least.
    connection.pin();
    Ok(response)
}

/// Sends a message back as it came: text as text, binary as binary.
pub(crate) async fn message(event: MessageEvent<State>) -> Result<(), Error> {
    let (connection, message) = event.into_parts();
    connection.send(message).await?;
    Ok(())
}
