//! Publishing from outside: a request's body becomes a message on a channel.

use percent_encoding::percent_decode_str;
use serde::Serialize;
use shovel_worker::{Error, FetchEvent, IntoResponse, Json, Message, Response, StatusCode, body};

use crate::{State, bad_request};

/// What the path of a publish request begins with; the rest is the channel's name.
pub(crate) const PATH: &str = "/publish/";

const BODY_LIMIT_BYTES: usize = 1024 * 1024;

/// Publishes the body, as text if it is UTF-8, and answers how many connections it reached.
pub(crate) async fn publish(event: FetchEvent<State>, channel: &str) -> Result<Response, Error> {
    let channel =
        event.channel(&percent_decode_str(channel).decode_utf8_lossy()).map_err(bad_request)?;
    let body = body::to_bytes(event.into_request().into_body(), BODY_LIMIT_BYTES)
        .await
        // A body that broke off ends here too, but then nobody waits for the answer.
        .map_err(|_| Error::status(StatusCode::PAYLOAD_TOO_LARGE, "at most 1 MiB\n"))?;
    let message = match String::from_utf8(body.to_vec()) {
        Ok(text) => Message::from(text),
        Err(_) => Message::from(body),
    };
    let published = channel.publish(message).await?;
    let answer = Answer {
        delivered: published.delivered,
        dropped: published.dropped,
        closed: published.closed,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

#[derive(Serialize)]
struct Answer {
    delivered: u64,
    dropped: u64,
    closed: u64,
}
