//! The task that reads a link: its frames become events.
//!
//! The walk: socket -> `Incoming` -> `WsMessage`, which most are, or `Pieces` -> `ToWorker` ->
//! `Connections` or `Table` -> `InPlace` or `Dispatch`.
//! In a runtime of one thread all that has arrived is handled before anything that came of it is
//! written.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, Version, header};
use shovel_link::{Filled, Incoming, Socket};
use shovel_protocol::control::{AdoptHead, Headers, RequestHead, Welcome};
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::limits::{CONTROL_BYTES, FRAME_PAYLOAD_BYTES};
use shovel_protocol::pieces::Pieces;
use shovel_protocol::{
    Again, BadFrame, Close, CloseCode, Frame, Kind, LeaseId, RequestId, ToSupervisor, ToWorker,
    WsMessage,
};
use tokio::sync::Notify;

use super::connections::Connections;
use super::dispatch::Dispatch;
use super::exchange::Exchange;
use super::in_place::InPlace;
use super::link::{Link, failed};
use super::respond;
use super::switchboard::Switchboard;
use super::tenure::{Adoption, Closed, Event, SharedTenure};
use super::upload::UploadBody;
use crate::event::Arrived;
use crate::lock::lock;
use crate::{Connection, Message, RunError};

/// A link whose first frame has come.
pub(crate) struct Greeted {
    pub(crate) socket: Arc<Socket>,
    pub(crate) incoming: Incoming,
    pub(crate) welcome: Welcome,
    /// What the supervisor can do.
    pub(crate) capabilities: Capabilities,
}

/// The reading half of a link.
pub(crate) struct Reader<S> {
    pub(crate) socket: Arc<Socket>,
    pub(crate) incoming: Incoming,
    pub(crate) pieces: Pieces,
    pub(crate) frames: FrameHandler<S>,
}

/// Whom the frames of a link go to.
pub(crate) struct FrameHandler<S> {
    link: Arc<Link>,
    connections: Connections,
    in_place: InPlace<S>,
    dispatch: Arc<Dispatch<S>>,
    switchboard: Arc<Switchboard>,
    shutdown: Arc<Notify>,
}

impl Greeted {
    /// Waits for `hello`.
    pub(crate) async fn by(socket: Socket) -> Result<Greeted, RunError> {
        let mut incoming = Incoming::default();
        loop {
            if let Some(frame) = incoming.next_frame()? {
                let Some(ToWorker::Hello(greeting, welcome)) = ToWorker::read(frame)? else {
                    return Err(out_of_turn(Kind::Hello, "it comes first on a link").into());
                };
                let capabilities = greeting.capabilities;
                let socket = Arc::new(socket);
                return Ok(Greeted { socket, incoming, welcome, capabilities });
            }
            fill(&mut incoming, &socket).await?;
        }
    }
}

impl<S: Send + Sync + 'static> Reader<S> {
    pub(crate) fn new(greeted: Greeted, frames: FrameHandler<S>) -> Self {
        let longest = frames.link.max_message_bytes.max(CONTROL_BYTES);
        let pieces = Pieces::new(longest.saturating_add(FRAME_PAYLOAD_BYTES));
        Reader { socket: greeted.socket, incoming: greeted.incoming, pieces, frames }
    }

    /// Reads until the link ends.
    pub(crate) async fn run(mut self) -> RunError {
        loop {
            // Frames may have come together with `hello`.
            if let Err(bad) = self.handle_all() {
                return bad.into();
            }
            // Most of what comes of it is there by now. What the socket does not take, and what
            // tasks put, is the writer's.
            if let Err(error) = self.frames.link.write(&self.socket) {
                return failed(error);
            }
            if let Err(error) = fill(&mut self.incoming, &self.socket).await {
                return error;
            }
        }
    }

    fn handle_all(&mut self) -> Result<(), BadFrame> {
        while let Some(frame) = self.incoming.next_frame()? {
            // Most are messages, and in one piece.
            match frame.is(Kind::WsMessage) && self.pieces.is_whole(&frame) {
                true => self.frames.handle_message(WsMessage::read(frame)?)?,
                false => self.frames.handle_any(&mut self.pieces, frame)?,
            }
        }
        self.frames.in_place.end_row();
        Ok(())
    }
}

impl<S: Send + Sync + 'static> FrameHandler<S> {
    pub(crate) fn new(
        link: Arc<Link>,
        dispatch: Arc<Dispatch<S>>,
        switchboard: Arc<Switchboard>,
        shutdown: Arc<Notify>,
    ) -> Self {
        let in_place = InPlace::new(dispatch.clone());
        let connections = Connections::default();
        FrameHandler { link, connections, in_place, dispatch, switchboard, shutdown }
    }

    #[inline]
    fn handle_message(&mut self, message: WsMessage<'_>) -> Result<(), BadFrame> {
        let WsMessage { connection, seq, again, kind, data } = message;
        let Some(connection) = self.connections.find(&self.link, connection) else {
            return Ok(());
        };
        // Room first, so that it is made where it stays.
        let room = Box::new_uninit();
        let connection_too = connection.clone();
        let message = Message::copied(kind, data).ok_or_else(|| not_text(Kind::WsMessage))?;
        let arrived = Box::write(room, Arrived { connection: connection_too, seq, again, message });
        self.in_place.message(connection, arrived);
        Ok(())
    }

    /// Any frame, and before any but a message the row ends. Apart, so that the way of most is short.
    #[inline(never)]
    fn handle_any(&mut self, pieces: &mut Pieces, frame: Frame<'_>) -> Result<(), BadFrame> {
        let Some(whole) = pieces.push(frame)? else { return Ok(()) };
        let frame = match ToWorker::read(whole)? {
            None => return Ok(()),
            Some(ToWorker::Message(message)) => return self.handle_message(message),
            Some(other) => other,
        };
        self.in_place.end_row();
        match frame {
            // Handled above.
            ToWorker::Message(_) => {}
            ToWorker::Request { request, head, end } => self.begin_request(request, head, end),
            ToWorker::RequestBody { request, data, end } => {
                self.receive_body(request, data, end)?;
            }
            ToWorker::RequestEnd { request, trailers } => {
                if let Some(exchange) = self.exchange(request)
                    && let Some(upload) = &exchange.upload
                {
                    upload.finish(read_headers(&trailers).unwrap_or_default());
                }
            }
            ToWorker::Cancel { request } => self.cancel(request),
            ToWorker::Closed { connection, seq, again, close } => {
                self.close(connection, Closed { seq: Some(seq), again, close });
            }
            ToWorker::Gone { connection, close } => {
                let again = Again::default();
                self.close(connection, Closed { seq: None, again, close });
            }
            ToWorker::Adopt { connection, adopt, request } => {
                self.adopt(connection, &adopt, &request.read()?);
            }
            ToWorker::Release { connection } => {
                if let Some(connection) = self.connections.find(&self.link, connection) {
                    self.in_place.release(connection);
                }
            }
            ToWorker::Revoke { connection } => {
                if let Some(connection) = self.connections.find(&self.link, connection) {
                    connection.tenure.revoke();
                }
            }
            ToWorker::Pressure { connection, over } => {
                if let Some(connection) = self.connections.find(&self.link, connection) {
                    connection.tenure.press(over);
                }
            }
            ToWorker::Outbox { connection, outbox } => {
                if let Some(connection) = self.connections.find(&self.link, connection) {
                    connection.tenure.take_outbox(outbox);
                }
            }
            ToWorker::ChannelMessage { token, channel, kind, data } => {
                let message =
                    Message::copied(kind, data).ok_or_else(|| not_text(Kind::ChannelMessage))?;
                self.switchboard.deliver(token, channel, &message);
            }
            ToWorker::Published { token, published } => self.switchboard.answer(token, published),
            ToWorker::ChannelRefused { channel } => self.switchboard.refuse(channel),
            ToWorker::Credit { request, bytes } => {
                if let Some(exchange) = self.exchange(request) {
                    exchange.grant(bytes);
                }
            }
            ToWorker::Ping { nonce } => self.link.put(nonce, &ToSupervisor::Pong { nonce }),
            ToWorker::Shutdown => self.shutdown.notify_one(),
            ToWorker::Hello(..) => {
                return Err(out_of_turn(Kind::Hello, "it comes once on a link"));
            }
        }
        Ok(())
    }

    /// Nothing comes for the connection after its close, so it leaves the table at once.
    fn close(&mut self, id: LeaseId, closed: Closed) {
        if let Some(connection) = self.connections.remove(&self.link, id) {
            connection.tenure.socket_closed();
            self.in_place.deliver(&connection, Event::Closed(Box::new(closed)));
            // Its handler runs by now, or is known to be under way.
            self.link.count_out();
        }
    }

    /// A connection that another worker had is this one's, if the app takes it over.
    fn adopt(&mut self, id: LeaseId, adopt: &AdoptHead<'_>, request: &RequestHead<'_>) {
        let adopted = read_headers(&request.headers)
            .and_then(|headers| Ok((request.method.parse()?, request.target.parse()?, headers)));
        let (method, uri, headers): (_, Uri, _) = match adopted {
            Ok(read) => read,
            Err(error) => {
                // It was read by the worker that accepted it, so this is a bug.
                tracing::error!("head of an adopted request: {error}");
                let refused = ToSupervisor::Adopted { connection: id, taken: false };
                return self.link.put(id.to_wire(), &refused);
            }
        };
        let tenure = Arc::new(SharedTenure::adopted(self.link.clone(), id, adopt, &uri, &headers));
        let connection = Connection { tenure };
        self.connections.insert(&self.link, connection.clone());
        let adoption = Box::new(Adoption {
            cause: adopt.cause,
            method,
            uri,
            headers,
            client: client_address(request.client),
            channels: adopt.channels.0.iter().map(|name| (*name).to_owned()).collect(),
        });
        self.in_place.deliver(&connection, Event::Adopted(adoption));
    }

    fn exchange(&self, id: RequestId) -> Option<Arc<Exchange>> {
        lock(&self.link.exchanges).find(id.0).cloned()
    }

    fn begin_request(&self, request: RequestId, head: RequestHead<'_>, end: bool) {
        let exchange = Arc::new(Exchange::new(self.link.clone(), request, &head, !end));
        let client = client_address(head.client);
        match read_request(&head, &exchange) {
            Ok(read) => {
                lock(&self.link.exchanges).insert(request.0, exchange.clone());
                self.dispatch.answer(exchange, read, client);
            }
            Err(error) => {
                tracing::error!("head of a request: {error}");
                let response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
                // A response without headers can be sent.
                drop(respond::send_head(&exchange, response, false));
            }
        }
    }

    fn receive_body(&self, request: RequestId, data: &[u8], end: bool) -> Result<(), BadFrame> {
        if let Some(exchange) = self.exchange(request)
            && let Some(upload) = &exchange.upload
            && !upload.receive(data, end)
        {
            return Err(out_of_turn(Kind::HttpRequestBody, "there was no credit for it"));
        }
        Ok(())
    }

    fn cancel(&mut self, request: RequestId) {
        let cancelled = lock(&self.link.exchanges).remove(request.0);
        if let Some(connection) = cancelled.and_then(|exchange| exchange.cancel()) {
            let code = CloseCode::ABNORMAL;
            let close = Close { code, reason: String::new(), was_clean: false };
            let again = Again::default();
            let closed = Closed { seq: None, again, close };
            self.in_place.deliver(&connection, Event::Closed(Box::new(closed)));
        }
    }
}

async fn fill(incoming: &mut Incoming, socket: &Socket) -> Result<(), RunError> {
    match incoming.fill(socket).await {
        Ok(Filled::End) => Err(RunError::SupervisorGone),
        Ok(Filled::Bytes | Filled::Nothing) => Ok(()),
        Err(error) => Err(RunError::Link(error)),
    }
}

fn read_request(
    head: &RequestHead<'_>,
    exchange: &Arc<Exchange>,
) -> Result<Request<Body>, http::Error> {
    let headers = read_headers(&head.headers)?;
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let body = match &exchange.upload {
        Some(upload) => Body::new(UploadBody::new(upload.clone(), length)),
        None => Body::empty(),
    };
    let version = match head.version {
        10 => Version::HTTP_10,
        20 => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let request = Request::builder().method(head.method).uri(head.target).version(version);
    let mut request = request.body(body)?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn read_headers(headers: &Headers<'_>) -> Result<HeaderMap, http::Error> {
    let mut map = HeaderMap::with_capacity(headers.0.len());
    for (name, value) in &headers.0 {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        map.append(name, HeaderValue::from_bytes(value)?);
    }
    Ok(map)
}

/// A proxy may tell the address without a port.
fn client_address(text: &str) -> Option<SocketAddr> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
    text.parse().ok().or(address.ok())
}

fn out_of_turn(kind: Kind, why: &'static str) -> BadFrame {
    BadFrame::OutOfTurn { kind: kind.name(), why }
}

fn not_text(kind: Kind) -> BadFrame {
    BadFrame::Payload { kind: kind.name(), why: "text that is not UTF-8" }
}
