//! Rooms: whatever one connection says, every connection of the room receives, the sender too.

use percent_encoding::percent_decode_str;
use shovel_worker::{Connection, Error, FetchEvent, MessageEvent, Response, StatusCode};

use crate::{State, bad_request};

/// What the path of a room's WebSocket begins with; the rest is the room's name.
pub(crate) const PATH: &str = "/ws/room/";

pub(crate) fn join(mut event: FetchEvent<State>, name: &str) -> Result<Response, Error> {
    if name.is_empty() {
        return Err(Error::status(StatusCode::NOT_FOUND, "a room has a name\n"));
    }
    let (connection, response) = event.upgrade_websocket()?;
    connection.subscribe(&channel(&connection)).map_err(bad_request)?;
    // Nothing is attached to it, so it ends with its worker.
    connection.pin();
    Ok(response)
}

/// Publishes a message as it came: text as text, binary as binary.
pub(crate) async fn message(event: &MessageEvent<State>) -> Result<(), Error> {
    let connection = event.connection();
    connection.publish(&channel(connection), event.message().clone()).await?;
    Ok(())
}

fn channel(connection: &Connection) -> String {
    let path = connection.url().path();
    let name = path.strip_prefix(PATH).unwrap_or(path);
    format!("room:{}", percent_decode_str(name).decode_utf8_lossy())
}
