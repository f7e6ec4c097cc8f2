//! What an app does to a connection: at once, or staged until its running handler ends.

use shovel_core::tenure::{self, Attach, Deed, Destination, Flush};
use shovel_protocol::limits::FRAME_PAYLOAD_BYTES;
use shovel_protocol::{
    Act, CloseCode, Effect, MessageKind, PublishToken, SlowConsumer, ToSupervisor, When, WsSend,
};
use tokio::sync::Notify;

use super::{Attached, SharedTenure, Staged, State};
use crate::lock::lock;
use crate::supervised::link::Full;
use crate::{Message, PublishError, SendError};

/// Why a message was not taken now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The client reads too slowly.
    Pressed,
    /// Too much waits on the link.
    LinkFull,
    /// Waiting does not help.
    For(SendError),
}

impl SharedTenure {
    /// What to wait for after a send was refused.
    pub(crate) fn room(&self, why: &NotTaken) -> Result<&Notify, SendError> {
        match why {
            NotTaken::Pressed => Ok(&self.relieved),
            NotTaken::LinkFull => Ok(self.link.room()),
            NotTaken::For(error) => Err(error.clone()),
        }
    }

    // As docs/decisions/0019 has it.
    #[inline(always)]
    pub(crate) fn try_send(&self, message: &Message) -> Result<(), NotTaken> {
        let (kind, data) = (message.kind(), message.as_bytes());
        let limit_bytes = self.link.max_message_bytes;
        if data.len() > limit_bytes {
            return Err(NotTaken::For(SendError::TooLong { len: data.len(), limit_bytes }));
        }
        if self.is_plain() {
            let (connection, when) = (self.wire, When::Now);
            let send = WsSend { connection, when, kind, data, last: false };
            match self.link.try_send_while(&self.plain, send) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Full) => return Err(NotTaken::LinkFull),
            }
        }
        let effect = Effect::Send { binary: kind.is_binary(), data };
        self.act(&mut lock(&self.state), Deed::Send { bytes: data.len() }, &effect)
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        let effect = Effect::Close { code: code.0, reason };
        // Closing a closed connection does nothing.
        if self.act(&mut lock(&self.state), Deed::Close, &effect).is_ok() {
            self.relieved.notify_waiters();
        }
    }

    pub(crate) fn subscribe(&self, channel: &str) {
        // What is closed gets no messages, so it is right that nothing comes of it.
        let effect = Effect::Subscribe { channel };
        let _ = self.act(&mut lock(&self.state), Deed::Subscribe, &effect);
    }

    pub(crate) fn unsubscribe(&self, channel: &str) {
        // As above.
        let effect = Effect::Unsubscribe { channel };
        let _ = self.act(&mut lock(&self.state), Deed::Subscribe, &effect);
    }

    /// Chooses what becomes of what is published to its client while that reads too slowly. `None`: what
    /// the supervisor is configured with. One that cannot be told goes on with that.
    pub(crate) fn set_slow_consumer(&self, policy: Option<SlowConsumer>) {
        if self.link.tells_outbox {
            let effect = Effect::SlowConsumer { policy };
            // As above.
            let _ = self.act(&mut lock(&self.state), Deed::Subscribe, &effect);
        }
    }

    /// Replaces what the next worker is to know. `false` if the connection cannot move.
    pub(crate) fn attach(&self, attached: Attached) -> bool {
        match lock(&self.state).decided.attach(attached) {
            Attach::Now(attached) => {
                let act = Act::new(self.wire, When::Now, attached.effect());
                self.link.put(self.wire.to_wire(), &act.into());
            }
            Attach::Offered(acts, attached) => acts.offer(&attached.effect()),
            Attach::AtEnd | Attach::Nowhere => {}
            Attach::NotPortable => return false,
        }
        true
    }

    /// What was attached last.
    pub(crate) fn attached(&self) -> Option<Attached> {
        lock(&self.state).decided.attachment().cloned()
    }

    /// Publishes. `false` if the link has no room now.
    pub(crate) fn try_publish(
        &self,
        channel: &str,
        message: &Message,
    ) -> Result<bool, PublishError> {
        let (kind, data) = (message.kind(), message.as_bytes());
        let limit_bytes = self.link.max_message_bytes;
        if data.len() > limit_bytes {
            return Err(PublishError::TooLong { len: data.len(), limit_bytes });
        }
        let (token, binary) = (PublishToken::NONE.to_wire(), kind.is_binary());
        let effect = Effect::Publish { token, channel, binary, data };
        match self.act(&mut lock(&self.state), Deed::Publish { bytes: data.len() }, &effect) {
            Ok(()) => Ok(true),
            Err(NotTaken::LinkFull) => Ok(false),
            Err(NotTaken::For(SendError::TooMuch)) => Err(PublishError::TooMuch),
            // Whether its client is there and reads does not matter to a publish.
            Err(NotTaken::For(_) | NotTaken::Pressed) => Err(PublishError::Moved),
        }
    }

    /// Lets out what the running handler has done so far. `false` if the link has no room now.
    pub(crate) fn try_flush(&self) -> bool {
        let mut state = lock(&self.state);
        state.decided.flush().is_none_or(|flush| self.let_out(flush).is_ok())
    }

    fn let_out(&self, flush: Flush<'_, Staged>) -> Result<(), Full> {
        self.link.try_put_frames(self.wire.to_wire(), |out| self.write_out(flush, out))
    }

    fn write_out(&self, flush: Flush<'_, Staged>, out: &mut Vec<u8>) {
        flush.take(|staged, owed| {
            staged.let_out(out);
            self.put_pressed(out, owed);
        });
    }

    /// Does something where it belongs.
    fn act(&self, state: &mut State, deed: Deed, effect: &Effect<'_>) -> Result<(), NotTaken> {
        let act = |when| Act::new(self.wire, when, effect.clone());
        loop {
            match state.decided.act(deed)? {
                Destination::Now => {}
                Destination::Staged(staged) => {
                    staged.push(&act(When::Staged));
                    return Ok(());
                }
                Destination::Offered(acts) => {
                    acts.offer(effect);
                    return Ok(());
                }
                Destination::Full(flush) => {
                    match effect {
                        Effect::Send { .. } | Effect::Publish { .. } => self.let_out(flush)?,
                        // As below.
                        Effect::Close { .. }
                        | Effect::Subscribe { .. }
                        | Effect::Unsubscribe { .. }
                        | Effect::Attach { .. }
                        | Effect::SlowConsumer { .. } => {
                            let id = self.wire.to_wire();
                            self.link.put_frames(id, |out| self.write_out(flush, out));
                        }
                    }
                    continue;
                }
            }
            let id = self.wire.to_wire();
            match *effect {
                Effect::Send { .. } => self.link.try_put(id, &act(When::Now).into())?,
                Effect::Publish { channel, binary, data, .. } => {
                    let (token, kind) = (self.token(channel, data), MessageKind::of(binary));
                    let publish = ToSupervisor::Publish { token, channel, kind, data };
                    self.link.try_put(id, &publish)?;
                }
                // These need not wait for room.
                Effect::Close { .. } => {
                    self.note(state);
                    self.link.put(id, &act(When::Now).into());
                }
                Effect::Subscribe { .. }
                | Effect::Unsubscribe { .. }
                | Effect::Attach { .. }
                | Effect::SlowConsumer { .. } => {
                    self.link.put(id, &act(When::Now).into());
                }
            }
            return Ok(());
        }
    }

    fn token(&self, channel: &str, data: &[u8]) -> PublishToken {
        match channel.len() + data.len() < FRAME_PAYLOAD_BYTES - 2 {
            true => PublishToken::NONE,
            false => self.link.token_for_pieces(),
        }
    }
}

impl From<Full> for NotTaken {
    fn from(Full: Full) -> Self {
        NotTaken::LinkFull
    }
}

impl From<tenure::Refused> for NotTaken {
    fn from(refused: tenure::Refused) -> Self {
        match refused {
            tenure::Refused::Pressed => NotTaken::Pressed,
            tenure::Refused::TooMuch => NotTaken::For(SendError::TooMuch),
            tenure::Refused::Closed => NotTaken::For(SendError::Closed),
            tenure::Refused::Moved => NotTaken::For(SendError::Moved),
        }
    }
}
