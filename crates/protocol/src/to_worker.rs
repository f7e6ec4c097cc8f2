//! The frames from supervisor to worker: the first table of `docs/wire.md`.

use crate::close::{Close, CloseCode};
use crate::control::{
    self, AdoptHead, CloseFields, ClosedFields, Headers, OutboxFields, Published, RequestHead,
    Welcome,
};
use crate::handshake::{Capabilities, Greeting};
use crate::head::{self, BadFrame, Frame, Kind, flags};
use crate::id::{LeaseId, PublishToken, RequestId};
use crate::{MessageKind, channel_payload};

/// A frame from supervisor to worker.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum ToWorker<'a> {
    /// First on each link.
    Hello(Greeting, Welcome),
    /// A request begins. `end`: it has no body.
    Request { request: RequestId, head: RequestHead<'a>, end: bool },
    /// Part of its body. `end`: the last, and no trailers follow.
    RequestBody { request: RequestId, data: &'a [u8], end: bool },
    /// The body has ended.
    RequestEnd { request: RequestId, trailers: Headers<'a> },
    /// The request is no longer wanted: its client has gone, or waited too long.
    Cancel { request: RequestId },
    /// A message from the client.
    Message(WsMessage<'a>),
    /// The real socket has closed; the connection's last event.
    Closed { connection: LeaseId, seq: u64, again: Again, close: Close },
    /// The answer to an upgrade that came too late: the connection never was.
    Gone { connection: LeaseId, close: Close },
    /// The outbox went over its limit, or below it again.
    Pressure { connection: LeaseId, over: bool },
    /// What waits for the client.
    Outbox { connection: LeaseId, outbox: OutboxFields },
    /// Give the connection up once its running handler has ended.
    Release { connection: LeaseId },
    /// Give the connection up at once: drop its running handler.
    Revoke { connection: LeaseId },
    /// Take a connection over. `request`: the head of the request that became it.
    Adopt { connection: LeaseId, adopt: AdoptHead<'a>, request: RequestBytes<'a> },
    /// A message on a channel that the worker itself subscribed to. The token is the worker's own
    /// if it was the publisher, else [`PublishToken::NONE`].
    ChannelMessage { token: PublishToken, channel: &'a str, kind: MessageKind, data: &'a [u8] },
    /// What became of the publish with this token.
    Published { token: PublishToken, published: Published },
    /// The worker was not subscribed to this channel: it has too many, or there are too many in all.
    ChannelRefused { channel: &'a str },
    /// So many more bytes of the response's body may be sent.
    Credit { request: RequestId, bytes: u32 },
    /// Answer with `pong` and the same nonce.
    Ping { nonce: u64 },
    /// Finish what is under way, answer `shutdown-complete`, exit.
    Shutdown,
}

/// A message from the client.
///
/// Most frames are that, so it can be read and put by itself, as [`WsSend`](crate::WsSend) can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub struct WsMessage<'a> {
    pub connection: LeaseId,
    /// Counts a connection's events from 1.
    pub seq: u64,
    pub again: Again,
    pub kind: MessageKind,
    pub data: &'a [u8],
}

/// Whether an event may have been begun by a worker that has lost its connection since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Again {
    /// It may have been begun.
    pub redelivered: bool,
    /// And what its handler let out before it ended has been seen.
    pub partial: bool,
}

impl Again {
    fn to_flags(self) -> u8 {
        let redelivered = flags::REDELIVERED * u8::from(self.redelivered);
        redelivered | (flags::PARTIAL * u8::from(self.partial))
    }

    fn of(frame: Frame<'_>) -> Self {
        Again { redelivered: frame.has(flags::REDELIVERED), partial: frame.has(flags::PARTIAL) }
    }
}

/// The [`RequestHead`] at the end of a `ws:adopt`, as [`control::request_head_bytes`] wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestBytes<'a>(pub &'a [u8]);

impl<'a> RequestBytes<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// [`BadFrame`] if it cannot be read.
    pub fn read(self) -> Result<RequestHead<'a>, BadFrame> {
        control::read(Kind::WsAdopt.name(), self.0).map(|(head, _)| head)
    }
}

impl ToWorker<'_> {
    /// Appends the frame to a batch; a payload over the limit of one frame goes as pieces.
    pub fn put(&self, batch: &mut Vec<u8>) {
        use ToWorker::*;
        match self {
            Message(message) => message.put(batch),
            Hello(greeting, welcome) => head::put(batch, Kind::Hello, 0, 0, |out| {
                out.extend_from_slice(&greeting.to_bytes());
                control::put(out, welcome);
            }),
            Request { request, head, end } => {
                let flags = flags::END * u8::from(*end);
                head::put(batch, Kind::HttpRequest, flags, request.to_wire(), |out| {
                    control::put(out, head);
                });
            }
            RequestBody { request, data, end } => {
                let flags = flags::END * u8::from(*end);
                head::put_pieces(batch, Kind::HttpRequestBody, flags, request.to_wire(), data);
            }
            RequestEnd { request, trailers } => {
                head::put(batch, Kind::HttpRequestEnd, 0, request.to_wire(), |out| {
                    control::put(out, trailers);
                });
            }
            Cancel { request } => head::put(batch, Kind::HttpCancel, 0, request.to_wire(), |_| ()),
            Closed { connection, seq, again, close } => {
                head::put(batch, Kind::WsClosed, again.to_flags(), connection.to_wire(), |out| {
                    let (code, was_clean) = (close.code.0, close.was_clean);
                    control::put(
                        out,
                        &ClosedFields { seq: *seq, code, reason: &close.reason, was_clean },
                    );
                });
            }
            Gone { connection, close } => {
                head::put(batch, Kind::WsGone, 0, connection.to_wire(), |out| {
                    control::put(out, &CloseFields { code: close.code.0, reason: &close.reason });
                });
            }
            Pressure { connection, over } => {
                head::put(batch, Kind::WsPressure, 0, connection.to_wire(), |out| {
                    out.push(u8::from(*over));
                });
            }
            Outbox { connection, outbox } => {
                head::put(batch, Kind::WsOutbox, 0, connection.to_wire(), |out| {
                    control::put(out, outbox);
                });
            }
            Release { connection } => {
                head::put(batch, Kind::WsRelease, 0, connection.to_wire(), |_| ());
            }
            Revoke { connection } => {
                head::put(batch, Kind::WsRevoke, 0, connection.to_wire(), |_| ());
            }
            Adopt { connection, adopt, request } => {
                head::put(batch, Kind::WsAdopt, 0, connection.to_wire(), |out| {
                    control::put(out, adopt);
                    out.extend_from_slice(request.0);
                });
            }
            ChannelMessage { token, channel, kind, data } => {
                let flags = flags::BINARY * u8::from(kind.is_binary());
                head::put(batch, Kind::ChannelMessage, flags, token.to_wire(), |out| {
                    channel_payload::put(out, channel, data);
                });
            }
            Published { token, published } => {
                head::put(batch, Kind::ChannelPublished, 0, token.to_wire(), |out| {
                    control::put(out, published);
                });
            }
            ChannelRefused { channel } => {
                head::put(batch, Kind::ChannelRefused, 0, CHANNEL_LANE, |out| {
                    out.extend_from_slice(channel.as_bytes());
                });
            }
            Credit { request, bytes } => {
                head::put(batch, Kind::ResponseCredit, 0, request.to_wire(), |out| {
                    out.extend_from_slice(&bytes.to_le_bytes());
                });
            }
            Ping { nonce } => head::put(batch, Kind::Ping, 0, *nonce, |_| ()),
            Shutdown => head::put(batch, Kind::Shutdown, 0, 0, |_| ()),
        }
    }
}

/// Messages on channels keep their order among each other, whoever published them.
const CHANNEL_LANE: u64 = u64::MAX;

impl ToWorker<'_> {
    /// What keeps its order on the link: frames of one lane never overtake each other. The id of
    /// a frame, but for messages on channels, which share one.
    #[inline]
    pub fn lane(&self) -> u64 {
        use ToWorker::*;
        match self {
            Message(WsMessage { connection, .. })
            | Closed { connection, .. }
            | Gone { connection, .. }
            | Pressure { connection, .. }
            | Outbox { connection, .. }
            | Release { connection }
            | Revoke { connection }
            | Adopt { connection, .. } => connection.to_wire(),
            Request { request, .. }
            | RequestBody { request, .. }
            | RequestEnd { request, .. }
            | Cancel { request }
            | Credit { request, .. } => request.to_wire(),
            ChannelMessage { .. } | Published { .. } | ChannelRefused { .. } => CHANNEL_LANE,
            Hello(..) | Ping { .. } | Shutdown => 0,
        }
    }
}

impl<'a> ToWorker<'a> {
    /// Reads a frame whose payload is whole. `None` for a kind that this version does not know: it
    /// is skipped.
    ///
    /// The request inside `ws:adopt` is checked here too, so that reading it later cannot fail.
    ///
    /// # Errors
    /// [`BadFrame`] if the payload cannot be read or the frame is one that only a worker sends.
    pub fn read(frame: Frame<'a>) -> Result<Option<ToWorker<'a>>, BadFrame> {
        let Some(kind) = Kind::from_wire(frame.kind) else { return Ok(None) };
        let (payload, name) = (frame.payload, kind.name());
        let request = RequestId::from_wire(frame.id);
        let connection = LeaseId::from_wire(frame.id);
        let token = PublishToken::from_wire(frame.id);
        let end = frame.has(flags::END);
        Ok(Some(match kind {
            Kind::WsMessage => ToWorker::Message(WsMessage::read(frame)?),
            Kind::Hello => {
                let (greeting, rest) = Greeting::read(payload)?;
                ToWorker::Hello(greeting, control::read(name, rest)?.0)
            }
            Kind::HttpRequest => {
                ToWorker::Request { request, head: control::read(name, payload)?.0, end }
            }
            Kind::HttpRequestBody => ToWorker::RequestBody { request, data: payload, end },
            Kind::HttpRequestEnd => {
                ToWorker::RequestEnd { request, trailers: control::read(name, payload)?.0 }
            }
            Kind::HttpCancel => ToWorker::Cancel { request },
            Kind::WsClosed => {
                let (fields, _) = control::read::<ClosedFields<'_>>(name, payload)?;
                let close = Close {
                    code: CloseCode(fields.code),
                    reason: fields.reason.to_owned(),
                    was_clean: fields.was_clean,
                };
                let again = Again::of(frame);
                ToWorker::Closed { connection, seq: fields.seq, again, close }
            }
            Kind::WsGone => {
                let (fields, _) = control::read::<CloseFields<'_>>(name, payload)?;
                let (code, reason) = (CloseCode(fields.code), fields.reason.to_owned());
                ToWorker::Gone { connection, close: Close { code, reason, was_clean: false } }
            }
            Kind::WsPressure => {
                ToWorker::Pressure { connection, over: head::read_bool(name, payload)? }
            }
            Kind::WsOutbox => {
                ToWorker::Outbox { connection, outbox: control::read(name, payload)?.0 }
            }
            Kind::ChannelMessage => {
                let (channel, data) = channel_payload::read(name, payload)?;
                ToWorker::ChannelMessage { token, channel, kind: message_kind(&frame), data }
            }
            Kind::ChannelPublished => {
                ToWorker::Published { token, published: control::read(name, payload)?.0 }
            }
            Kind::ChannelRefused => {
                ToWorker::ChannelRefused { channel: channel_payload::name(name, payload)? }
            }
            Kind::ResponseCredit => {
                ToWorker::Credit { request, bytes: head::read_u32(name, payload)? }
            }
            Kind::Ping => ToWorker::Ping { nonce: frame.id },
            Kind::Shutdown => ToWorker::Shutdown,
            Kind::WsRelease => ToWorker::Release { connection },
            Kind::WsRevoke => ToWorker::Revoke { connection },
            Kind::WsAdopt => {
                let (adopt, rest) = control::read::<AdoptHead<'_>>(name, payload)?;
                control::check_attachment(name, adopt.attachment)?;
                adopt.channels.0.iter().try_for_each(|channel| {
                    channel_payload::name(name, channel.as_bytes()).map(|_| ())
                })?;
                let request = RequestBytes(rest);
                request.read()?;
                ToWorker::Adopt { connection, adopt, request }
            }
            _ => return Err(BadFrame::WrongSide { kind: name }),
        }))
    }

    /// The first frame of a link.
    pub fn hello(capabilities: Capabilities, welcome: Welcome) -> ToWorker<'static> {
        ToWorker::Hello(Greeting::ours(capabilities), welcome)
    }
}

impl<'a> WsMessage<'a> {
    /// Appends the frame to a batch; a payload over the limit of one frame goes as pieces.
    #[inline]
    pub fn put(&self, batch: &mut Vec<u8>) {
        let flags = self.again.to_flags() | (flags::BINARY * u8::from(self.kind.is_binary()));
        let (id, seq) = (self.connection.to_wire(), self.seq.to_le_bytes());
        head::put_data(batch, Kind::WsMessage, flags, id, seq, self.data);
    }

    /// Reads a frame of this kind whose payload is whole.
    ///
    /// # Errors
    /// [`BadFrame`] if the payload is too short for a number.
    #[inline]
    pub fn read(frame: Frame<'a>) -> Result<Self, BadFrame> {
        let (seq, data) = head::split_u64(Kind::WsMessage.name(), frame.payload)?;
        let connection = LeaseId::from_wire(frame.id);
        let (again, kind) = (Again::of(frame), message_kind(&frame));
        Ok(WsMessage { connection, seq, again, kind, data })
    }
}

fn message_kind(frame: &Frame<'_>) -> MessageKind {
    if frame.has(flags::BINARY) { MessageKind::Binary } else { MessageKind::Text }
}
