//! The frames from worker to supervisor: the second table of `docs/wire.md`.

use crate::act::{self, Act, WsSend};
use crate::control::{self, AskFields, Effect, Headers, ResponseHead, UpgradeHead};
use crate::handshake::{Capabilities, Greeting};
use crate::head::{self, BadFrame, Frame, Kind, flags};
use crate::id::{LeaseId, PublishToken, RequestId};
use crate::limits::ACTS;
use crate::when::When;
use crate::{MessageKind, channel_payload};

/// A frame from worker to supervisor.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum ToSupervisor<'a> {
    /// The worker takes work. On the first link, once.
    Ready(Greeting),
    /// Head of a response. `end`: it has no body.
    Response { request: RequestId, head: ResponseHead<'a>, end: bool },
    /// Part of its body. `end`: the last, and no trailers follow.
    ResponseBody { request: RequestId, data: &'a [u8], end: bool },
    /// The body has ended.
    ResponseEnd { request: RequestId, trailers: Headers<'a> },
    /// The body failed: the client must not take it for whole.
    Abort { request: RequestId },
    /// Accept a request as the connection reserved with it: the commit of the fetch handler.
    /// `portable`: it may outlive its worker, so what handlers do to it will be staged.
    Upgrade { connection: LeaseId, upgrade: UpgradeHead<'a>, portable: bool, effects: Effects<'a> },
    /// What an app does to a connection.
    Act(Act<'a>),
    /// Handlers have finished all events up to this number.
    Commit { connection: LeaseId, seq: u64 },
    /// The connection is given up. `handled`: the last event that was finished, `started`: the last
    /// that was begun. Commits what is staged.
    Released { connection: LeaseId, handled: u64, started: u64 },
    /// The connection is taken over, or refused. Commits what is staged if it is taken over.
    Adopted { connection: LeaseId, taken: bool },
    /// What is sent after this frame was sent in knowledge of the pressure.
    Pressed { connection: LeaseId },
    /// A question about what waits for the client.
    Ask { connection: LeaseId, ask: AskFields },
    /// Subscribes the worker itself.
    Subscribe { channel: &'a str },
    /// The reverse.
    Unsubscribe { channel: &'a str },
    /// A message to everyone on a channel, of an object of the worker.
    Publish { token: PublishToken, channel: &'a str, kind: MessageKind, data: &'a [u8] },
    /// So many more bytes of the request's body may be sent.
    Credit { request: RequestId, bytes: u32 },
    /// The answer to `ping`.
    Pong { nonce: u64 },
    /// Nothing is left to do; the worker exits.
    ShutdownComplete,
}

/// The effects of a `ws:upgrade`, read one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Effects<'a>(&'a [u8]);

impl<'a> Effects<'a> {
    /// Wraps what [`put_effect`] has written.
    pub fn new(bytes: &'a [u8]) -> Self {
        Effects(bytes)
    }
}

impl<'a> Iterator for Effects<'a> {
    type Item = Result<Effect<'a>, BadFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = control::read_effect(Kind::WsUpgrade.name(), self.0);
        self.0 = read.as_ref().map_or(&[][..], |(_, rest)| rest);
        Some(read.map(|(effect, _)| effect))
    }
}

/// Appends an effect to those of a `ws:upgrade`.
pub fn put_effect(effects: &mut Vec<u8>, effect: &Effect<'_>) {
    control::put(effects, effect);
}

/// Sets the flag LAST on a `ws:send` that has been put as one whole frame: cheaper than a commit of
/// its own. `frame` begins with it.
pub fn mark_last(frame: &mut [u8]) {
    if let Some(flags) = frame.get_mut(head::FLAGS_AT) {
        *flags |= flags::LAST;
    }
}

impl ToSupervisor<'_> {
    /// Appends the frame to a batch; a payload over the limit of one frame goes as pieces.
    pub fn put(&self, batch: &mut Vec<u8>) {
        use ToSupervisor::*;
        match self {
            Act(act) => act.put(batch),
            Commit { connection, seq } => {
                head::put(batch, Kind::WsCommit, 0, connection.to_wire(), |out| {
                    out.extend_from_slice(&seq.to_le_bytes());
                });
            }
            Publish { token, channel, kind, data } => {
                act::put_publish(batch, (token.to_wire(), 0), channel, kind.is_binary(), data);
            }
            Ready(greeting) => head::put(batch, Kind::Ready, 0, 0, |out| {
                out.extend_from_slice(&greeting.to_bytes());
            }),
            Response { request, head, end } => {
                let flags = flags::END * u8::from(*end);
                head::put(batch, Kind::HttpResponse, flags, request.to_wire(), |out| {
                    control::put(out, head);
                });
            }
            ResponseBody { request, data, end } => {
                let flags = flags::END * u8::from(*end);
                head::put_pieces(batch, Kind::HttpResponseBody, flags, request.to_wire(), data);
            }
            ResponseEnd { request, trailers } => {
                head::put(batch, Kind::HttpResponseEnd, 0, request.to_wire(), |out| {
                    control::put(out, trailers);
                });
            }
            Abort { request } => head::put(batch, Kind::HttpAbort, 0, request.to_wire(), |_| ()),
            Upgrade { connection, upgrade, portable, effects } => {
                let flags = flags::STAGED * u8::from(*portable);
                head::put(batch, Kind::WsUpgrade, flags, connection.to_wire(), |out| {
                    control::put(out, upgrade);
                    out.extend_from_slice(effects.0);
                });
            }
            Ask { connection, ask } => {
                head::put(batch, Kind::WsAsk, 0, connection.to_wire(), |out| {
                    control::put(out, ask)
                });
            }
            Pressed { connection } => {
                head::put(batch, Kind::WsPressed, 0, connection.to_wire(), |_| ());
            }
            Released { connection, handled, started } => {
                head::put(batch, Kind::WsReleased, 0, connection.to_wire(), |out| {
                    out.extend_from_slice(&handled.to_le_bytes());
                    out.extend_from_slice(&started.to_le_bytes());
                });
            }
            Adopted { connection, taken } => {
                head::put(batch, Kind::WsAdopted, 0, connection.to_wire(), |out| {
                    out.push(u8::from(*taken));
                });
            }
            Subscribe { channel } => put_own(batch, Kind::ChannelSubscribe, channel),
            Unsubscribe { channel } => put_own(batch, Kind::ChannelUnsubscribe, channel),
            Credit { request, bytes } => {
                head::put(batch, Kind::RequestCredit, 0, request.to_wire(), |out| {
                    out.extend_from_slice(&bytes.to_le_bytes());
                });
            }
            Pong { nonce } => head::put(batch, Kind::Pong, 0, *nonce, |_| ()),
            ShutdownComplete => head::put(batch, Kind::ShutdownComplete, 0, 0, |_| ()),
        }
    }
}

/// The worker itself is no connection: its id is all ones, which no lease reaches.
const WORKER_ITSELF: u64 = u64::MAX;

fn put_own(batch: &mut Vec<u8>, kind: Kind, channel: &str) {
    head::put(batch, kind, 0, WORKER_ITSELF, |out| out.extend_from_slice(channel.as_bytes()));
}

impl<'a> ToSupervisor<'a> {
    /// Reads a frame whose payload is whole. `None` for a kind that this version does not know: it
    /// is skipped.
    ///
    /// Effects inside `ws:upgrade` are checked here too, so that reading them later cannot fail.
    ///
    /// # Errors
    /// [`BadFrame`] if the payload cannot be read, a text is not UTF-8, a close may not be sent, an
    /// attachment is too long, flags do not go together, or the frame is one that only a supervisor
    /// sends.
    pub fn read(frame: Frame<'a>) -> Result<Option<ToSupervisor<'a>>, BadFrame> {
        let Some(kind) = Kind::from_wire(frame.kind) else { return Ok(None) };
        let (payload, name) = (frame.payload, kind.name());
        let request = RequestId::from_wire(frame.id);
        let connection = LeaseId::from_wire(frame.id);
        let end = frame.has(flags::END);
        Ok(Some(match kind {
            Kind::WsSend | Kind::WsClose | Kind::WsAttach | Kind::WsSlowConsumer => {
                ToSupervisor::Act(Act::read(kind, frame)?)
            }
            Kind::WsCommit => {
                ToSupervisor::Commit { connection, seq: head::split_u64(name, payload)?.0 }
            }
            Kind::ChannelPublish => match When::of(name, frame)? {
                When::Now => {
                    let (channel, binary, data) = act::read_publish(frame)?;
                    let (token, kind) =
                        (PublishToken::from_wire(frame.id), MessageKind::of(binary));
                    ToSupervisor::Publish { token, channel, kind, data }
                }
                When::Staged | When::During => ToSupervisor::Act(Act::read(kind, frame)?),
            },
            Kind::Ready => ToSupervisor::Ready(Greeting::read(payload)?.0),
            Kind::HttpResponse => {
                ToSupervisor::Response { request, head: control::read(name, payload)?.0, end }
            }
            Kind::HttpResponseBody => ToSupervisor::ResponseBody { request, data: payload, end },
            Kind::HttpResponseEnd => {
                ToSupervisor::ResponseEnd { request, trailers: control::read(name, payload)?.0 }
            }
            Kind::HttpAbort => ToSupervisor::Abort { request },
            Kind::WsUpgrade => {
                let (upgrade, rest) = control::read(name, payload)?;
                let effects = Effects(rest);
                let mut count = 0;
                effects.into_iter().try_for_each(|effect| {
                    count += 1;
                    if count > ACTS {
                        return Err(BadFrame::Payload { kind: name, why: "too many effects" });
                    }
                    act::check_effect(name, effect?)
                })?;
                let portable = frame.has(flags::STAGED);
                ToSupervisor::Upgrade { connection, upgrade, portable, effects }
            }
            Kind::WsReleased => {
                let (handled, rest) = head::split_u64(name, payload)?;
                let (started, _) = head::split_u64(name, rest)?;
                ToSupervisor::Released { connection, handled, started }
            }
            Kind::WsAdopted => {
                ToSupervisor::Adopted { connection, taken: head::read_bool(name, payload)? }
            }
            Kind::WsPressed => ToSupervisor::Pressed { connection },
            Kind::WsAsk => ToSupervisor::Ask { connection, ask: control::read(name, payload)?.0 },
            Kind::ChannelSubscribe if frame.id == WORKER_ITSELF => {
                ToSupervisor::Subscribe { channel: read_own(name, frame)? }
            }
            Kind::ChannelUnsubscribe if frame.id == WORKER_ITSELF => {
                ToSupervisor::Unsubscribe { channel: read_own(name, frame)? }
            }
            Kind::ChannelSubscribe | Kind::ChannelUnsubscribe => {
                ToSupervisor::Act(Act::read(kind, frame)?)
            }
            Kind::RequestCredit => {
                ToSupervisor::Credit { request, bytes: head::read_u32(name, payload)? }
            }
            Kind::Pong => ToSupervisor::Pong { nonce: frame.id },
            Kind::ShutdownComplete => ToSupervisor::ShutdownComplete,
            _ => return Err(BadFrame::WrongSide { kind: name }),
        }))
    }

    /// What a worker says once it takes work.
    pub fn ready(capabilities: Capabilities) -> ToSupervisor<'static> {
        ToSupervisor::Ready(Greeting::ours(capabilities))
    }
}

impl<'a> From<Act<'a>> for ToSupervisor<'a> {
    fn from(act: Act<'a>) -> Self {
        ToSupervisor::Act(act)
    }
}

impl<'a> From<WsSend<'a>> for ToSupervisor<'a> {
    fn from(send: WsSend<'a>) -> Self {
        ToSupervisor::Act(send.into())
    }
}

/// The channel of the worker's own subscription. It belongs to no handler, so it takes place at once.
fn read_own<'a>(name: &'static str, frame: Frame<'a>) -> Result<&'a str, BadFrame> {
    let channel = channel_payload::name(name, frame.payload)?;
    match When::of(name, frame)? {
        When::Now => Ok(channel),
        When::Staged | When::During => {
            Err(BadFrame::Flags { kind: name, why: "STAGED or DURING, and no connection" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Leased;

    const CONNECTION: LeaseId = LeaseId(Leased { slot: 3, lease: 4 });

    #[test]
    fn a_send_can_carry_the_commit() {
        let mut batch = Vec::new();
        let send = |last| {
            let effect = Effect::Send { binary: false, data: b"hi" };
            ToSupervisor::Act(Act { last, ..Act::new(CONNECTION, When::Staged, effect) })
        };
        send(false).put(&mut batch);
        mark_last(&mut batch);
        let (frame, _) = Frame::cut(&batch).unwrap().unwrap();
        assert_eq!(ToSupervisor::read(frame), Ok(Some(send(true))));
    }

    #[test]
    fn an_upgrade_with_more_effects_than_may_be_is_a_bad_frame() {
        let with = |count| {
            let mut effects = Vec::new();
            let effect = Effect::SlowConsumer { policy: None };
            (0..count).for_each(|_| put_effect(&mut effects, &effect));
            let upgrade = UpgradeHead { request: 1, protocol: None, headers: Headers::default() };
            let mut payload = Vec::new();
            control::put(&mut payload, &upgrade);
            payload.extend_from_slice(&effects);
            let frame = Frame { kind: Kind::WsUpgrade as u8, flags: 0, id: 0, payload: &payload };
            ToSupervisor::read(frame).map(|_| ())
        };
        assert_eq!(with(ACTS), Ok(()));
        let why = "too many effects";
        assert_eq!(with(ACTS + 1), Err(BadFrame::Payload { kind: "ws:upgrade", why }));
    }

    #[test]
    fn text_that_is_not_utf8_is_a_bad_frame() {
        let frame = Frame { kind: Kind::WsSend as u8, flags: 0, id: 0, payload: b"\xff" };
        assert!(ToSupervisor::read(frame).is_err());
    }
}
