//! What the supervisor and its workers agree on.
//!
//! Every byte on a link is described here: the frame header ([`head`]), the frames of each
//! direction ([`to_worker`], [`to_supervisor`]), what an app does to a connection ([`act`]), the
//! payloads of control frames ([`control`]), ids ([`id`]), close codes ([`close`]), limits
//! ([`limits`]), credit ([`credit`]).
//!
//! Bytes in, values out: this crate does no IO, reads no clock and knows no runtime.
//!
//! The walk: bytes -> [`head::Header`] -> [`pieces::Pieces`] (only for payloads cut into several
//! frames) -> [`ToWorker`] or [`ToSupervisor`], or what most frames are, [`WsMessage`] or [`WsSend`].
//! `docs/wire.md` says the same in prose, for those who write a worker in another language.

pub mod act;
mod channel_payload;
pub mod close;
pub mod control;
pub mod credit;
pub mod handshake;
pub mod head;
pub mod id;
pub mod limits;
mod outbox;
pub mod pieces;
pub mod to_supervisor;
pub mod to_worker;
mod when;

pub use act::{Act, WsSend};
pub use close::{Close, CloseCode};
pub use control::Effect;
pub use head::{BadFrame, Frame, Header, Kind};
pub use id::{ConnectionUuid, Generation, LeaseId, PublishToken, RequestId, WorkerId, WorkerIndex};
pub use outbox::{OutboxQuestion, SlowConsumer};
pub use to_supervisor::ToSupervisor;
pub use to_worker::{Again, ToWorker, WsMessage};
pub use when::When;

/// Text or binary: the two kinds of a WebSocket message (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl MessageKind {
    /// [`MessageKind::Binary`] if it is `binary`.
    #[inline]
    pub fn of(binary: bool) -> Self {
        if binary { MessageKind::Binary } else { MessageKind::Text }
    }

    /// `true` for [`MessageKind::Binary`].
    pub fn is_binary(self) -> bool {
        self == MessageKind::Binary
    }
}
