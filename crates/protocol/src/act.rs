//! What an app does to a connection: one [`Act`], and the one place where it becomes a frame and
//! is read from one.
//!
//! Acts of a fetch handler travel inside `ws:upgrade`, where only their [`Effect`] is written.

use crate::close::{self, CloseCode};
use crate::control::{self, CloseFields, Effect, SlowConsumerFields};
use crate::head::{self, BadFrame, Frame, Kind, flags};
use crate::id::{LeaseId, PublishToken};
use crate::when::When;
use crate::{MessageKind, channel_payload};

/// One thing that an app does to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act<'a> {
    /// Whose.
    pub connection: LeaseId,
    /// A publish is [`When::Staged`] or [`When::During`]: with [`When::Now`] its id is read as a
    /// token, which is `ToSupervisor::Publish`.
    pub when: When,
    /// What.
    pub effect: Effect<'a>,
    /// And its handler has finished, see `ToSupervisor::Commit`. Only a send can say that.
    pub last: bool,
}

/// An act that sends, on its short way.
///
/// Most frames are that, so it can be read and written by itself: as one variant of all frames it
/// would be moved through memory more than once, which takes longer than writing it. It becomes an
/// [`Act`] by `into`; [`Act::as_send`] is the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub struct WsSend<'a> {
    pub connection: LeaseId,
    pub when: When,
    pub kind: MessageKind,
    pub data: &'a [u8],
    /// As [`Act::last`].
    pub last: bool,
}

impl<'a> Act<'a> {
    /// An act that does not end its handler.
    pub fn new(connection: LeaseId, when: When, effect: Effect<'a>) -> Self {
        Act { connection, when, effect, last: false }
    }

    /// The act on its short way, if it sends.
    #[inline]
    pub fn as_send(&self) -> Option<WsSend<'a>> {
        let Effect::Send { binary, data } = self.effect else { return None };
        let Act { connection, when, last, .. } = *self;
        Some(WsSend { connection, when, kind: MessageKind::of(binary), data, last })
    }

    /// The kind of its frame.
    pub fn kind(&self) -> Kind {
        match self.effect {
            Effect::Send { .. } => Kind::WsSend,
            Effect::Subscribe { .. } => Kind::ChannelSubscribe,
            Effect::Unsubscribe { .. } => Kind::ChannelUnsubscribe,
            Effect::Publish { .. } => Kind::ChannelPublish,
            Effect::Close { .. } => Kind::WsClose,
            Effect::Attach { .. } => Kind::WsAttach,
            Effect::SlowConsumer { .. } => Kind::WsSlowConsumer,
        }
    }

    /// Reads a frame of one of the kinds that [`Act::kind`] gives, whose payload is whole.
    ///
    /// # Errors
    /// [`BadFrame`] as for any frame to the supervisor.
    pub(crate) fn read(kind: Kind, frame: Frame<'a>) -> Result<Self, BadFrame> {
        let (name, payload) = (kind.name(), frame.payload);
        let effect = match kind {
            Kind::WsSend => return WsSend::read(frame).map(Act::from),
            Kind::ChannelSubscribe => {
                Effect::Subscribe { channel: channel_payload::name(name, payload)? }
            }
            Kind::ChannelUnsubscribe => {
                Effect::Unsubscribe { channel: channel_payload::name(name, payload)? }
            }
            Kind::ChannelPublish => {
                let (channel, binary, data) = read_publish(frame)?;
                Effect::Publish { token: PublishToken::NONE.to_wire(), channel, binary, data }
            }
            Kind::WsClose => {
                let (CloseFields { code, reason }, _) = control::read(name, payload)?;
                check_close(name, code, reason)?;
                Effect::Close { code, reason }
            }
            Kind::WsAttach => {
                let (version, data) = payload.split_first_chunk().ok_or(head::short(name))?;
                control::check_attachment(name, data)?;
                Effect::Attach { version: u32::from_le_bytes(*version), data }
            }
            Kind::WsSlowConsumer => {
                let (SlowConsumerFields { policy }, _) = control::read(name, payload)?;
                Effect::SlowConsumer { policy }
            }
            _ => return Err(BadFrame::WrongSide { kind: name }),
        };
        Ok(Act::new(LeaseId::from_wire(frame.id), When::of(name, frame)?, effect))
    }

    /// Appends the frame to a batch; a payload over the limit of one frame goes as pieces.
    pub fn put(&self, batch: &mut Vec<u8>) {
        let (kind, id, flags) = (self.kind(), self.connection.to_wire(), self.when.to_flags());
        match &self.effect {
            Effect::Send { binary, data } => {
                let kind = MessageKind::of(*binary);
                let send = WsSend {
                    connection: self.connection,
                    when: self.when,
                    kind,
                    data,
                    last: self.last,
                };
                send.put(batch);
            }
            Effect::Subscribe { channel } | Effect::Unsubscribe { channel } => {
                head::put(batch, kind, flags, id, |out| {
                    out.extend_from_slice(channel.as_bytes());
                });
            }
            Effect::Publish { channel, binary, data, .. } => {
                debug_assert!(self.when != When::Now, "the id would be read as a token");
                put_publish(batch, (id, flags), channel, *binary, data);
            }
            Effect::Close { code, reason } => head::put(batch, kind, flags, id, |out| {
                control::put(out, &CloseFields { code: *code, reason });
            }),
            Effect::Attach { version, data } => head::put(batch, kind, flags, id, |out| {
                out.extend_from_slice(&version.to_le_bytes());
                out.extend_from_slice(data);
            }),
            Effect::SlowConsumer { policy } => head::put(batch, kind, flags, id, |out| {
                control::put(out, &SlowConsumerFields { policy: *policy });
            }),
        }
    }
}

impl<'a> WsSend<'a> {
    /// Appends the frame to a batch; a payload over the limit of one frame goes as pieces.
    #[inline]
    pub fn put(&self, batch: &mut Vec<u8>) {
        let binary = flags::BINARY * u8::from(self.kind.is_binary());
        let flags = binary | (flags::LAST * u8::from(self.last)) | self.when.to_flags();
        head::put_data(batch, Kind::WsSend, flags, self.connection.to_wire(), [], self.data);
    }

    /// Reads a frame of this kind whose payload is whole.
    ///
    /// # Errors
    /// [`BadFrame`] if a text is not UTF-8 or flags do not go together.
    #[inline]
    pub fn read(frame: Frame<'a>) -> Result<Self, BadFrame> {
        let (name, data) = (Kind::WsSend.name(), frame.payload);
        Ok(WsSend {
            connection: LeaseId::from_wire(frame.id),
            when: When::of(name, frame)?,
            kind: message_kind(name, frame.has(flags::BINARY), data)?,
            data,
            last: frame.has(flags::LAST),
        })
    }
}

impl<'a> From<WsSend<'a>> for Act<'a> {
    #[inline]
    fn from(send: WsSend<'a>) -> Self {
        let WsSend { connection, when, kind, data, last } = send;
        Act { connection, when, effect: Effect::Send { binary: kind.is_binary(), data }, last }
    }
}

/// Appends a `channel:publish`, whose id is a token or, with flags, a connection.
pub(crate) fn put_publish(
    batch: &mut Vec<u8>,
    (id, flags): (u64, u8),
    channel: &str,
    binary: bool,
    data: &[u8],
) {
    let flags = flags | (flags::BINARY * u8::from(binary));
    head::put(batch, Kind::ChannelPublish, flags, id, |out| {
        channel_payload::put(out, channel, data);
    });
}

/// Reads the payload of a `channel:publish`: channel, whether it is binary, data.
pub(crate) fn read_publish<'a>(frame: Frame<'a>) -> Result<(&'a str, bool, &'a [u8]), BadFrame> {
    let name = Kind::ChannelPublish.name();
    let (channel, data) = channel_payload::read(name, frame.payload)?;
    let kind = message_kind(name, frame.has(flags::BINARY), data)?;
    Ok((channel, kind.is_binary(), data))
}

/// Refuses an effect that no frame of its own could say.
pub(crate) fn check_effect(name: &'static str, effect: Effect<'_>) -> Result<(), BadFrame> {
    match effect {
        Effect::Send { binary, data } => message_kind(name, binary, data).map(|_| ()),
        Effect::Publish { channel, binary, data, .. } => {
            channel_payload::name(name, channel.as_bytes())?;
            message_kind(name, binary, data).map(|_| ())
        }
        Effect::Subscribe { channel } | Effect::Unsubscribe { channel } => {
            channel_payload::name(name, channel.as_bytes()).map(|_| ())
        }
        Effect::Close { code, reason } => check_close(name, code, reason),
        Effect::Attach { data, .. } => control::check_attachment(name, data),
        Effect::SlowConsumer { .. } => Ok(()),
    }
}

fn message_kind(name: &'static str, binary: bool, data: &[u8]) -> Result<MessageKind, BadFrame> {
    if binary {
        return Ok(MessageKind::Binary);
    }
    match simdutf8::basic::from_utf8(data) {
        Ok(_) => Ok(MessageKind::Text),
        Err(_) => Err(BadFrame::Payload { kind: name, why: "text that is not UTF-8" }),
    }
}

fn check_close(name: &'static str, code: u16, reason: &str) -> Result<(), BadFrame> {
    let why = "a code that may not be sent, or a reason that is too long";
    close::check(CloseCode(code), reason).map_err(|_| BadFrame::Payload { kind: name, why })
}
