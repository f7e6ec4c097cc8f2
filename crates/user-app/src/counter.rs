//! The counter: how many messages came on a connection, whichever workers it has had.
//!
//! Each text message is answered by
//! `{"n","echo","pid","generation","redelivered"}`. The count is kept in the connection's attachment
//! alone, and the attachment and the answer take effect together: so each `n` is seen exactly once,
//! though workers be reloaded or killed meanwhile.

use serde::{Deserialize, Serialize};
use shovel_worker::{Attachment, Error, FetchEvent, MessageEvent, Response};

use crate::State;

/// Where the counter's WebSocket is.
pub(crate) const PATH: &str = "/ws/counter";

#[derive(Default, Serialize, Deserialize)]
struct Count {
    n: u64,
}

impl Attachment for Count {}

#[derive(Serialize)]
struct Answer<'a> {
    n: u64,
    echo: &'a str,
    pid: u32,
    generation: u32,
    redelivered: bool,
}

pub(crate) fn join(mut event: FetchEvent<State>) -> Result<Response, Error> {
    let (connection, response) = event.upgrade_websocket()?;
    connection.attach(&Count::default())?;
    Ok(response)
}

pub(crate) async fn message(event: &MessageEvent<State>) -> Result<(), Error> {
    let Some(echo) = event.message().as_text() else {
        event.connection().close(1003, "text only")?;
        return Ok(());
    };
    let Count { n: before } = event.attachment()?.unwrap_or_default();
    let count = Count { n: before + 1 };
    event.connection().attach(&count)?;
    let answer = Answer {
        n: count.n,
        echo,
        pid: event.worker().pid,
        generation: event.worker().generation,
        redelivered: event.redelivered(),
    };
    event.connection().send(serde_json::to_string(&answer)?).await?;
    Ok(())
}
