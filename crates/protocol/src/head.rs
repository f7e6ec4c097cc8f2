//! The header before every frame, and how a frame is cut out of bytes.

use crate::limits::FRAME_PAYLOAD_BYTES;

/// Bytes of a [`Header`] on the wire.
pub const HEADER_BYTES: usize = 16;

/// Where [`Header::flags`] stands.
pub const FLAGS_AT: usize = 5;

/// Bits of [`Header::flags`]. What a bit means on which kind stands at the kind.
pub mod flags {
    /// The payload goes on in the next frame of the same kind, flags and id.
    pub const MORE: u8 = 0x01;
    /// The message is binary; text otherwise.
    pub const BINARY: u8 = 0x02;
    /// No body follows: on heads, and on the last `http:body`.
    pub const END: u8 = 0x04;
    /// On `ws:send`: its handler has ended, which commits the next sequence number.
    pub const LAST: u8 = 0x08;
    /// From worker to supervisor: takes effect with the next commit. On `ws:upgrade`: the
    /// connection is portable, and what handlers do to it will be staged.
    pub const STAGED: u8 = 0x10;
    /// From worker to supervisor: takes effect at once, though its handler has not ended. Never
    /// together with STAGED.
    pub const DURING: u8 = 0x20;
    /// To a worker: an earlier owner may have begun this event.
    pub const REDELIVERED: u8 = 0x40;
    /// To a worker: some effects of an earlier try are out.
    pub const PARTIAL: u8 = 0x80;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// What a frame says. Below 64: to a worker. From 64 on: to the supervisor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $number,)* }

        impl Kind {
            /// `None` for a kind that this version does not know: such frames are skipped.
            pub const fn from_wire(number: u8) -> Option<Kind> {
                match number { $($number => Some(Kind::$name),)* _ => None }
            }

            /// The kind's name as the documents and logs have it.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$name => $text,)* }
            }

            /// Every kind that this version knows.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];
        }
    };
}

kinds! {
    /// First frame on each link.
    Hello = 1, "hello";
    /// Head of a request.
    HttpRequest = 2, "http:request";
    /// Part of a request's body.
    HttpRequestBody = 3, "http:body";
    /// End of a request's body, with trailers.
    HttpRequestEnd = 4, "http:end";
    /// The request is no longer wanted.
    HttpCancel = 5, "http:cancel";
    /// A message from the client.
    WsMessage = 6, "ws:message";
    /// The real socket has closed; the connection's last event.
    WsClosed = 7, "ws:close";
    /// The answer to a late `ws:upgrade`.
    WsGone = 8, "ws:gone";
    /// The outbox went over its limit or below it again.
    WsPressure = 9, "ws:pressure";
    /// Give the connection up, once its handler has ended.
    WsRelease = 10, "ws:release";
    /// Give the connection up at once.
    WsRevoke = 11, "ws:revoke";
    /// Take the connection over.
    WsAdopt = 12, "ws:adopt";
    /// A message on a channel that the worker itself subscribed to.
    ChannelMessage = 13, "channel:message";
    /// What became of a publish.
    ChannelPublished = 14, "channel:published";
    /// More of a response's body may be sent.
    ResponseCredit = 15, "credit";
    /// Answer with `pong`.
    Ping = 16, "ping";
    /// Finish and leave.
    Shutdown = 17, "shutdown";
    /// The worker was not subscribed to a channel.
    ChannelRefused = 18, "channel:refused";
    /// The answer to `ws:ask`.
    WsOutbox = 19, "ws:outbox";

    /// The worker takes work.
    Ready = 64, "ready";
    /// Head of a response.
    HttpResponse = 65, "http:response";
    /// Part of a response's body.
    HttpResponseBody = 66, "http:body";
    /// End of a response's body, with trailers.
    HttpResponseEnd = 67, "http:end";
    /// The response's body failed: the client must not take it for whole.
    HttpAbort = 68, "http:abort";
    /// Accept a request as the connection reserved with it.
    WsUpgrade = 69, "ws:upgrade";
    /// A message to the client.
    WsSend = 70, "ws:send";
    /// Close the client's socket.
    WsClose = 71, "ws:close";
    /// What the connection's next owner is to know.
    WsAttach = 72, "ws:attach";
    /// Handlers have finished up to a sequence number.
    WsCommit = 73, "ws:commit";
    /// The answer to `ws:release` and `ws:revoke`.
    WsReleased = 74, "ws:released";
    /// The answer to `ws:adopt`.
    WsAdopted = 75, "ws:adopted";
    /// From here on sends stop until the pressure has gone; the answer to `ws:pressure`.
    WsPressed = 76, "ws:pressed";
    /// Subscribe a connection, or the worker itself.
    ChannelSubscribe = 77, "channel:subscribe";
    /// The reverse.
    ChannelUnsubscribe = 78, "channel:unsubscribe";
    /// A message to everyone on a channel.
    ChannelPublish = 79, "channel:publish";
    /// More of a request's body may be sent.
    RequestCredit = 80, "credit";
    /// The answer to `ping`.
    Pong = 81, "pong";
    /// Nothing is left to do; the worker exits.
    ShutdownComplete = 82, "shutdown-complete";
    /// What becomes of what is published to a client that reads too slowly.
    WsSlowConsumer = 83, "ws:slow-consumer";
    /// What waits for a client?
    WsAsk = 84, "ws:ask";
}

/// What stands before every payload: 16 bytes, little-endian: `len u32 · kind u8 · flags u8 ·
/// reserved u16 · id u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow, at most [`FRAME_PAYLOAD_BYTES`].
    pub len: u32,
    /// A [`Kind`], or a number from a later version.
    pub kind: u8,
    /// See [`flags`].
    pub flags: u8,
    /// A connection, request, token or nonce, as the kind says.
    pub id: u64,
}

impl Header {
    /// As it stands on the wire.
    #[inline]
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4] = self.kind;
        bytes[FLAGS_AT] = self.flags;
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    /// Reads a header. The reserved bytes are ignored, so that a later version may use them.
    #[inline]
    pub fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Header {
            len: word(0),
            kind: bytes[4],
            flags: bytes[FLAGS_AT],
            id: u64::from(word(8)) | u64::from(word(12)) << 32,
        }
    }
}

/// One frame, its payload still in the buffer that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// A [`Kind`], or a number from a later version.
    pub kind: u8,
    /// See [`flags`].
    pub flags: u8,
    /// As the kind says.
    pub id: u64,
    /// [`Header::len`] bytes.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Cuts the first frame off `bytes`: the frame and the number of bytes that it took, or `None`
    /// if it has not arrived whole. Allocates nothing.
    ///
    /// # Errors
    /// [`BadFrame::TooLong`] as soon as the header says so.
    #[inline]
    pub fn cut(bytes: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, BadFrame> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::from_bytes(header);
        let len = header.len as usize;
        if len > FRAME_PAYLOAD_BYTES {
            return Err(BadFrame::TooLong { kind: header.kind, len });
        }
        let Some(payload) = rest.get(..len) else { return Ok(None) };
        let frame = Frame { kind: header.kind, flags: header.flags, id: header.id, payload };
        Ok(Some((frame, HEADER_BYTES + len)))
    }

    /// Whether it is of this kind.
    #[inline]
    pub fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u8
    }

    /// Whether the flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Why a link must end: its other side does not keep to the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// A header announces more than a frame may hold.
    #[error(
        "frame of kind {kind} announces {len} bytes; at most {FRAME_PAYLOAD_BYTES} are allowed"
    )]
    TooLong {
        /// From the header.
        kind: u8,
        /// From the header.
        len: usize,
    },
    /// The payload is not what its kind asks for.
    #[error("{kind} frame with a payload that cannot be read: {why}")]
    Payload {
        /// The frame's name.
        kind: &'static str,
        /// In a few words.
        why: &'static str,
    },
    /// Flags that are not possible together, or not with this id.
    #[error("{kind} frame with flags that do not go together: {why}")]
    Flags {
        /// The frame's name.
        kind: &'static str,
        /// Which.
        why: &'static str,
    },
    /// Pieces that add up to more than a message may have.
    #[error("{kind} frame in pieces of more than {limit} bytes in all")]
    PiecesTooLong {
        /// The frame's name.
        kind: &'static str,
        /// In bytes.
        limit: usize,
    },
    /// More payloads that have begun and not ended than a well-meaning peer has, or more of their bytes.
    #[error(
        "{kind} frame beside too many that are not whole: over {payloads}, or {bytes} bytes in all"
    )]
    TooManyPieces {
        /// The frame's name.
        kind: &'static str,
        /// So many may be under way.
        payloads: usize,
        /// And so many bytes of them.
        bytes: usize,
    },
    /// A message that is longer than any may be.
    #[error("{kind} frame with a message of more than {limit} bytes")]
    MessageTooLong {
        /// The frame's name.
        kind: &'static str,
        /// In bytes.
        limit: usize,
    },
    /// A frame that only the other side may send.
    #[error("{kind} frame from the wrong side")]
    WrongSide {
        /// The frame's name.
        kind: &'static str,
    },
    /// A frame that may not come in this state.
    #[error("{kind} frame out of turn: {why}")]
    OutOfTurn {
        /// The frame's name.
        kind: &'static str,
        /// In a few words.
        why: &'static str,
    },
    /// The other end does not speak this protocol, or no version that we speak.
    #[error(transparent)]
    Handshake(#[from] crate::handshake::Refusal),
}

/// Appends a frame to a batch, its payload written by `write`. A payload that turns out longer
/// than [`FRAME_PAYLOAD_BYTES`] is cut into pieces in place.
pub fn put(batch: &mut Vec<u8>, kind: Kind, flags: u8, id: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let start = batch.len();
    batch.extend_from_slice(&[0; HEADER_BYTES]);
    write(batch);
    let len = batch.len() - start - HEADER_BYTES;
    if len > FRAME_PAYLOAD_BYTES {
        let payload = batch.split_off(start + HEADER_BYTES);
        batch.truncate(start);
        put_pieces(batch, kind, flags, id, &payload);
        return;
    }
    let header = Header { len: len as u32, kind: kind as u8, flags, id };
    batch[start..start + HEADER_BYTES].copy_from_slice(&header.to_bytes());
}

/// Appends a frame whose payload is `fields` and then `data`; one that is too long for a frame as
/// pieces.
// As docs/decisions/0019 has it; so are others on this way.
#[inline(always)]
pub fn put_data<const N: usize>(
    batch: &mut Vec<u8>,
    kind: Kind,
    flags: u8,
    id: u64,
    fields: [u8; N],
    data: &[u8],
) {
    let len = N + data.len();
    if len > FRAME_PAYLOAD_BYTES {
        return put_long(batch, kind, flags, id, &fields, data);
    }
    batch.extend_from_slice(&Header { len: len as u32, kind: kind as u8, flags, id }.to_bytes());
    batch.extend_from_slice(&fields);
    batch.extend_from_slice(data);
}

/// Apart, so that what is done for most is short.
#[cold]
fn put_long(batch: &mut Vec<u8>, kind: Kind, flags: u8, id: u64, fields: &[u8], data: &[u8]) {
    put_pieces(batch, kind, flags, id, &[fields, data].concat());
}

/// Appends a payload of any length as one frame or as several pieces.
pub fn put_pieces(batch: &mut Vec<u8>, kind: Kind, flags: u8, id: u64, payload: &[u8]) {
    let mut rest = payload;
    while let Some((piece, after)) = rest.split_at_checked(FRAME_PAYLOAD_BYTES)
        && !after.is_empty()
    {
        put_whole(batch, kind, flags | flags::MORE, id, piece);
        rest = after;
    }
    put_whole(batch, kind, flags, id, rest);
}

fn put_whole(batch: &mut Vec<u8>, kind: Kind, flags: u8, id: u64, payload: &[u8]) {
    let header = Header { len: payload.len() as u32, kind: kind as u8, flags, id };
    batch.extend_from_slice(&header.to_bytes());
    batch.extend_from_slice(payload);
}

pub(crate) fn short(kind: &'static str) -> BadFrame {
    BadFrame::Payload { kind, why: "too short" }
}

#[inline]
pub(crate) fn split_u64<'a>(
    kind: &'static str,
    payload: &'a [u8],
) -> Result<(u64, &'a [u8]), BadFrame> {
    let (number, rest) = payload.split_first_chunk::<8>().ok_or(short(kind))?;
    Ok((u64::from_le_bytes(*number), rest))
}

pub(crate) fn read_bool(kind: &'static str, payload: &[u8]) -> Result<bool, BadFrame> {
    match payload {
        [] => Err(short(kind)),
        [0, ..] => Ok(false),
        [1, ..] => Ok(true),
        _ => Err(BadFrame::Payload { kind, why: "a bool that is neither 0 nor 1" }),
    }
}

pub(crate) fn read_u32(kind: &'static str, payload: &[u8]) -> Result<u32, BadFrame> {
    let number = payload.first_chunk::<4>().ok_or(short(kind))?;
    Ok(u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_only_when_it_is_whole() {
        let mut batch = Vec::new();
        put(&mut batch, Kind::WsSend, flags::BINARY, 77, |out| out.extend_from_slice(b"hello"));
        for end in 0..batch.len() {
            assert_eq!(Frame::cut(&batch[..end]), Ok(None));
        }
        let (frame, taken) = Frame::cut(&batch).unwrap().unwrap();
        assert_eq!(taken, batch.len());
        let expected = Frame { kind: 70, flags: flags::BINARY, id: 77, payload: b"hello" };
        assert_eq!(frame, expected);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_from_the_header_alone() {
        let header = Header { len: FRAME_PAYLOAD_BYTES as u32 + 1, kind: 6, flags: 0, id: 0 };
        assert!(matches!(Frame::cut(&header.to_bytes()), Err(BadFrame::TooLong { .. })));
    }

    #[test]
    fn a_long_payload_goes_out_in_pieces() {
        let payload = vec![7; FRAME_PAYLOAD_BYTES * 2 + 1];
        let mut batch = Vec::new();
        put(&mut batch, Kind::WsSend, 0, 1, |out| out.extend_from_slice(&payload));
        let (mut at, mut lens, mut seen) = (0, Vec::new(), Vec::new());
        while let Some((frame, taken)) = Frame::cut(&batch[at..]).unwrap() {
            lens.push((frame.payload.len(), frame.has(flags::MORE)));
            seen.extend_from_slice(frame.payload);
            at += taken;
        }
        assert_eq!(lens, [(FRAME_PAYLOAD_BYTES, true), (FRAME_PAYLOAD_BYTES, true), (1, false)]);
        assert_eq!(seen, payload);
    }
}
