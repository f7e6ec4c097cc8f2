//! The payloads of control frames, and the one place that knows how they are written.
//!
//! They are written by bincode 2: little-endian, integers at their full width, fields in the order
//! in which they stand here. A later version only appends fields; what follows the fields that a
//! reader knows is ignored. `docs/decisions/0002-bincode.md` says why bincode, and why the lengths
//! of lists never allocate here.

use bincode::de::{BorrowDecode, BorrowDecoder, Decode};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};

use crate::head::BadFrame;
use crate::limits::{ATTACHMENT_BYTES, CONTROL_BYTES};
use crate::outbox::{OutboxQuestion, SlowConsumer};

/// What `hello` says after the greeting.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub struct Welcome {
    /// Never reused.
    pub worker: u32,
    /// From 0.
    pub index: u32,
    /// From 1.
    pub generation: u32,
    /// Which of the worker's links this is, from 0. The first also carries what is about the
    /// worker as a whole.
    pub link: u32,
    /// How many links the worker has.
    pub links: u32,
    /// Longest message either way, in bytes.
    pub max_message_bytes: u64,
    /// Credit that each body starts with, in bytes.
    pub body_window_bytes: u32,
    /// Whether errors may tell clients of the inside.
    pub dev: bool,
}

/// Head of a request.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub struct RequestHead<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// As the client sent it, usually path and query.
    pub target: &'a str,
    /// 10 for HTTP/1.0, 11 for HTTP/1.1, 20 for HTTP/2.
    pub version: u8,
    /// Hop-by-hop headers are left out.
    pub headers: Headers<'a>,
    /// The client's address as text; empty if it has none (a Unix socket).
    pub client: &'a str,
    /// Set if the request offers an upgrade to WebSocket.
    pub offer: Option<OfferedConnection>,
}

/// What an upgrade of this request would be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub struct OfferedConnection {
    /// A `LeaseId` as on the wire.
    pub connection: u64,
    /// A UUIDv7, its bytes in the usual order.
    pub uuid: [u8; 16],
}

/// Head of a response.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub struct ResponseHead<'a> {
    /// 200 to 999.
    pub status: u16,
    /// Names in lower case.
    pub headers: Headers<'a>,
}

/// The fixed part of `ws:upgrade`; [`Effect`]s follow until the payload ends.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub struct UpgradeHead<'a> {
    /// A `RequestId` as on the wire: the request that is accepted.
    pub request: u64,
    /// The subprotocol picked, if any.
    pub protocol: Option<&'a str>,
    /// More headers for the 101, such as cookies.
    pub headers: Headers<'a>,
}

/// What an app does to a connection, as it is written inside `ws:upgrade`; as frames see
/// [`crate::Act`].
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub enum Effect<'a> {
    /// As `ws:send`.
    Send {
        /// Text otherwise.
        binary: bool,
        /// UTF-8 if it is text.
        data: &'a [u8],
    },
    /// As `channel:subscribe`.
    Subscribe {
        /// The channel's name.
        channel: &'a str,
    },
    /// As `channel:unsubscribe`.
    Unsubscribe {
        /// The channel's name.
        channel: &'a str,
    },
    /// As `channel:publish`.
    Publish {
        /// A `PublishToken` as on the wire.
        token: u64,
        /// The channel's name.
        channel: &'a str,
        /// Text otherwise.
        binary: bool,
        /// UTF-8 if it is text.
        data: &'a [u8],
    },
    /// As `ws:close`. Effects after it do nothing.
    Close {
        /// One that may be sent.
        code: u16,
        /// At most 123 bytes.
        reason: &'a str,
    },
    /// As `ws:attach`.
    Attach {
        /// Chosen by the app.
        version: u32,
        /// At most 16 KiB.
        data: &'a [u8],
    },
    /// As `ws:slow-consumer`.
    SlowConsumer {
        /// `None`: as the pool is configured.
        policy: Option<SlowConsumer>,
    },
}

/// The fixed part of `ws:adopt`: a connection and what its new owner is to know of it. The
/// [`RequestHead`] of the request that became it follows, so nothing can be added here.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub struct AdoptHead<'a> {
    /// Why it has no owner.
    pub cause: AdoptCause,
    /// A UUIDv7, its bytes in the usual order.
    pub uuid: [u8; 16],
    /// The subprotocol that was picked, if any.
    pub protocol: Option<&'a str>,
    /// Number of the last event that a handler has finished.
    pub committed: u64,
    /// Whether its outbox is over its limit.
    pub pressed: bool,
    /// The version of the attachment.
    pub version: u32,
    /// The attachment.
    pub attachment: &'a [u8],
    /// The channels that it is subscribed to.
    pub channels: Names<'a>,
}

/// Why a connection needs another worker.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    bincode::Encode,
    bincode::BorrowDecode,
)]
pub enum AdoptCause {
    /// Its worker was replaced.
    Reload,
    /// Its worker died.
    Crash,
    /// It slept: no worker was needed until now.
    Wake,
    /// Another worker has less to do.
    Rebalance,
}

/// A code and its reason: payload of `ws:close` to the supervisor, and of `ws:gone`.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub struct CloseFields<'a> {
    /// See RFC 6455 §7.4.
    pub code: u16,
    /// At most 123 bytes.
    pub reason: &'a str,
}

/// Payload of `ws:slow-consumer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub(crate) struct SlowConsumerFields {
    /// See [`Effect::SlowConsumer`].
    pub(crate) policy: Option<SlowConsumer>,
}

/// Payload of `ws:ask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub struct AskFields {
    /// Chosen by the worker: comes back with the answer.
    pub token: u64,
    /// What it wants to know.
    pub question: OutboxQuestion,
}

/// Payload of `ws:outbox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub struct OutboxFields {
    /// Of the question.
    pub token: u64,
    /// What waits; `None` if the client's socket has closed.
    pub bytes: Option<u64>,
}

/// Payload of `ws:close` to the worker: a connection's last event.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::BorrowDecode)]
pub struct ClosedFields<'a> {
    /// Committed like that of a message.
    pub seq: u64,
    /// See RFC 6455 §7.4.
    pub code: u16,
    /// At most 123 bytes.
    pub reason: &'a str,
    /// Whether both close frames were exchanged.
    pub was_clean: bool,
}

/// What became of a publish, counted over the connections that were subscribed, and the workers
/// that were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, bincode::Encode, bincode::BorrowDecode)]
pub struct Published {
    /// Queued for this many subscribers.
    pub delivered: u64,
    /// Not queued, because the subscriber is too slow.
    pub dropped: u64,
    /// Closed, because the subscriber is too slow.
    pub closed: u64,
}

impl std::ops::AddAssign for Published {
    fn add_assign(&mut self, other: Published) {
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.closed += other.closed;
    }
}

/// A list of headers, or of trailers. Written as a `u64` count, then name and value of each.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Headers<'a>(pub Vec<(&'a str, &'a [u8])>);

impl Encode for Headers<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.0.len() as u64).encode(encoder)?;
        self.0.iter().try_for_each(|(name, value)| {
            name.encode(encoder)?;
            value.encode(encoder)
        })
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Headers<'de> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        // Not a `Vec` by bincode: that one allocates what the count says.
        let count = u64::decode(decoder)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = <&str>::borrow_decode(decoder)?;
            let value = <&[u8]>::borrow_decode(decoder)?;
            headers.push((name, value));
        }
        Ok(Headers(headers))
    }
}

/// A list of names. Written as a `u64` count, then each.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Names<'a>(pub Vec<&'a str>);

impl Encode for Names<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.0.len() as u64).encode(encoder)?;
        self.0.iter().try_for_each(|name| name.encode(encoder))
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Names<'de> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        // As with headers, so that a count allocates nothing.
        let count = u64::decode(decoder)?;
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(<&str>::borrow_decode(decoder)?);
        }
        Ok(Names(names))
    }
}

/// Appends a control payload.
pub(crate) fn put<T: Encode>(out: &mut Vec<u8>, value: &T) {
    let config = bincode::config::standard().with_fixed_int_encoding();
    // Writing to memory does not fail, and none of the types above has a failing encoder.
    let written = bincode::encode_into_std_write(value, out, config);
    debug_assert!(written.is_ok(), "control payload not written: {written:?}");
}

/// Reads a control payload and returns it with what follows.
pub(crate) fn read<'a, T: BorrowDecode<'a, ()>>(
    kind: &'static str,
    bytes: &'a [u8],
) -> Result<(T, &'a [u8]), BadFrame> {
    let config =
        bincode::config::standard().with_fixed_int_encoding().with_limit::<CONTROL_BYTES>();
    match bincode::borrow_decode_from_slice(bytes, config) {
        Ok((value, taken)) => Ok((value, &bytes[taken..])),
        Err(_) => Err(BadFrame::Payload { kind, why: "not the fields that this frame has" }),
    }
}

/// Refuses an attachment that is longer than one may be.
pub(crate) fn check_attachment(kind: &'static str, data: &[u8]) -> Result<(), BadFrame> {
    match data.len() <= ATTACHMENT_BYTES {
        true => Ok(()),
        false => Err(BadFrame::Payload { kind, why: "an attachment that is too long" }),
    }
}

/// Writes the head of a request by itself, as it will stand in a later `ws:adopt`.
pub fn request_head_bytes(head: &RequestHead<'_>) -> Box<[u8]> {
    let mut bytes = Vec::new();
    put(&mut bytes, head);
    bytes.into_boxed_slice()
}

/// Reads the next effect of a `ws:upgrade`. Borrows its data, so no limit is needed.
pub(crate) fn read_effect<'a>(
    kind: &'static str,
    bytes: &'a [u8],
) -> Result<(Effect<'a>, &'a [u8]), BadFrame> {
    let config = bincode::config::standard().with_fixed_int_encoding();
    match bincode::borrow_decode_from_slice(bytes, config) {
        Ok((value, taken)) => Ok((value, &bytes[taken..])),
        Err(_) => Err(BadFrame::Payload { kind, why: "not an effect" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_headers_allocates_nothing_by_itself() {
        let mut bytes = Vec::new();
        put(&mut bytes, &u64::MAX);
        assert!(read::<Headers<'_>>("test", &bytes).is_err());
    }

    #[test]
    fn fields_of_a_later_version_are_left_over() {
        let mut bytes = Vec::new();
        put(&mut bytes, &CloseFields { code: 1000, reason: "bye" });
        bytes.extend_from_slice(b"later");
        let (close, rest) = read::<CloseFields<'_>>("test", &bytes).unwrap();
        assert_eq!((close.code, close.reason, rest), (1000, "bye", &b"later"[..]));
    }
}
