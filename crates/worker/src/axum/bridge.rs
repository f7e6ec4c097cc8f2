//! Lets axum's own `WebSocketUpgrade` work: it wants a byte stream and speaks WebSocket on it.
//!
//! The walk: offer -> [`Carrier`] -> Router -> 101 -> our connection is accepted and a [`Bridge`]
//! started: events become WebSocket frames in the pipe, and frames become sends.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode, header};
use shovel_protocol::{Close, CloseCode};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message as Framed};

use super::carrier::{Carrier, Pipe};
use super::delivery::{Event, Events, GRACE};
use super::upgradable::{Taken, Upgradable};
use crate::event::Accepted;
use crate::{Connection, Error, Message, SendError};

/// What our end reads and writes at once. The default is 128 KiB for each connection.
const BUFFER_BYTES: usize = 8 * 1024;

/// Calls the Router with a request that offers an upgrade, which any extractor may take.
pub(super) async fn call(
    router: Router,
    mut request: Request<Body>,
    offer: Upgradable,
) -> Result<Response, Error> {
    let (on_upgrade, carrier) = Carrier::open().await?;
    request.extensions_mut().insert(on_upgrade);
    let response = super::call(router, request).await;
    let is_ours = response.extensions().get::<Accepted>().is_some();
    if is_ours || response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    accept(&response, offer, carrier)
}

/// Accepts our connection as the Router accepted its own.
fn accept(theirs: &Response, offer: Upgradable, carrier: Carrier) -> Result<Response, Error> {
    let protocol = theirs.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let protocol = protocol.map(|protocol| protocol.to_str()).transpose()?;
    let Taken { connection, events, mut response, .. } = offer.take(protocol)?;
    *response.headers_mut() = theirs.headers().clone();
    // What belongs to the handshake is said by the supervisor, which has the socket.
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::SEC_WEBSOCKET_ACCEPT,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_EXTENSIONS,
    ] {
        response.headers_mut().remove(name);
    }
    let bridge = Bridge { connection: connection.clone(), events };
    offer.spawn(&connection, async move {
        // Without it the carrier is dropped, which tells the other end that the upgrade failed.
        if bridge.connection.tenure.accepted().await {
            bridge.run(carrier).await;
        }
    });
    Ok(response)
}

/// A connection on one side, WebSocket frames on the other.
struct Bridge {
    connection: Connection,
    events: Events,
}

type Frames = WebSocketStream<Pipe>;

impl Bridge {
    async fn run(mut self, carrier: Carrier) {
        let connection = self.connection.clone();
        let code = match carrier.upgrade().await {
            Ok(pipe) => {
                self.pass_on(pipe).await;
                CloseCode::NORMAL
            }
            Err(error) => {
                tracing::error!(connection = %connection.id(), "{error}");
                CloseCode::INTERNAL_ERROR
            }
        };
        // If it is closed already this does nothing.
        let _ = connection.close(code.0, "");
    }

    async fn pass_on(&mut self, pipe: Pipe) {
        let mut config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES);
        // The supervisor limits what clients send, and sends.
        (config.max_message_size, config.max_frame_size) = (None, None);
        let frames = Frames::from_raw_socket(pipe, Role::Client, Some(config)).await;
        let (to_app, from_app) = frames.split();
        let mut from_app = std::pin::pin!(pass_up(from_app, &self.connection));
        let closed = tokio::select! {
            // Only `from_app` is taken up again, and it keeps its place.
            () = &mut from_app => return,
            closed = pass_down(&mut self.events, to_app) => closed,
        };
        if let Ok(()) = closed {
            // The app answers the close. If it does not read, the end of the pipe tells it.
            let _ = timeout(GRACE, from_app).await;
        }
    }
}

/// Passes on what the client sends, until its close has been passed on too. An error ends the pipe
/// without a close frame, as the client's socket ended.
async fn pass_down(
    events: &mut Events,
    mut to_app: SplitSink<Frames, Framed>,
) -> Result<(), WebSocketError> {
    while let Some(event) = next_event(events, &mut to_app).await? {
        match event {
            Event::Message { message, handled, .. } => {
                // A short message may wait in the buffer for more. A long one counts as handled when
                // the pipe has taken it; until then its client is held back.
                match message.len() < BUFFER_BYTES {
                    true => to_app.feed(framed(message)).await?,
                    false => to_app.send(framed(message)).await?,
                }
                drop(handled);
            }
            Event::Closed(close) => return to_app.send(framed_close(close)?).await,
        }
    }
    Ok(())
}

/// The next event. Writes what there is only if none comes in this turn of the runtime: for each
/// read the app's end zeroes 128 KiB, so the messages of one batch had better be read at once.
async fn next_event(
    events: &mut Events,
    to_app: &mut SplitSink<Frames, Framed>,
) -> Result<Option<Event>, WebSocketError> {
    if events.is_empty() {
        yield_now().await;
    }
    if events.is_empty() {
        to_app.flush().await?;
    }
    Ok(events.recv().await)
}

/// Passes on what the app sends, until its end of the pipe is closed.
async fn pass_up(mut from_app: SplitStream<Frames>, connection: &Connection) {
    while let Some(Ok(frame)) = from_app.next().await {
        let sent = match frame {
            Framed::Text(text) => connection.send(text.as_str()).await,
            Framed::Binary(data) => connection.send(data).await,
            Framed::Close(frame) => {
                close(connection, frame);
                Ok(())
            }
            // The frame codec answers pings; the supervisor has its own.
            Framed::Ping(_) | Framed::Pong(_) | Framed::Frame(_) => Ok(()),
        };
        match sent {
            // What is sent after a close is lost, and the app about to see that close.
            Ok(()) | Err(SendError::Closed) => {}
            Err(error) => {
                tracing::error!(connection = %connection.id(), "cannot send: {error}");
                let _ = connection.close(CloseCode::INTERNAL_ERROR.0, "");
            }
        }
    }
}

fn close(connection: &Connection, frame: Option<CloseFrame>) {
    let (code, reason) = match &frame {
        Some(frame) => (u16::from(frame.code), frame.reason.as_str()),
        None => (CloseCode::NORMAL.0, ""),
    };
    if let Err(error) = connection.close(code, reason) {
        tracing::error!(connection = %connection.id(), "cannot close as told: {error}");
        let _ = connection.close(CloseCode::NORMAL.0, "");
    }
}

fn framed(message: Message) -> Framed {
    match message {
        Message::Text(text) => Framed::text(text.as_str()),
        Message::Binary(data) => Framed::Binary(data),
    }
}

/// A close frame; an error if the client's socket ended without one.
fn framed_close(close: Close) -> Result<Framed, WebSocketError> {
    match close.code {
        CloseCode::ABNORMAL => Err(WebSocketError::ConnectionClosed),
        CloseCode::NO_STATUS => Ok(Framed::Close(None)),
        CloseCode(code) => {
            Ok(Framed::Close(Some(CloseFrame { code: code.into(), reason: close.reason.into() })))
        }
    }
}
