//! What an app does to a connection: at once, or held until its running handler ends.

use shovel_protocol::control::Effect;
use shovel_protocol::limits::FRAME_PAYLOAD_BYTES;
use shovel_protocol::to_supervisor::put_effect;
use shovel_protocol::{Act, CloseCode, PublishToken, ToSupervisor, When, WsSend};
use tokio::sync::Notify;

use super::{Attached, Phase, State, Tenure};
use crate::lock::lock;
use crate::supervised::link::Full;
use crate::{Message, PublishError, SendError};

/// Most that a fetch handler may do to its connection before it is accepted.
const EFFECTS_BYTES: usize = 16 * 1024 * 1024;

/// Why a message was not taken now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The client reads too slowly.
    Pressed,
    /// Too much waits on the link.
    LinkFull,
    /// Waiting does not help.
    For(SendError),
}

impl Tenure {
    /// What to wait for after a send was refused.
    pub(crate) fn room(&self, refused: &Refused) -> Result<&Notify, SendError> {
        match refused {
            Refused::Pressed => Ok(&self.relieved),
            Refused::LinkFull => Ok(self.link.room()),
            Refused::For(error) => Err(error.clone()),
        }
    }

    // As docs/decisions/0019 has it.
    #[inline(always)]
    pub(crate) fn try_send(&self, message: &Message) -> Result<(), Refused> {
        let (kind, data) = (message.kind(), message.as_bytes());
        let limit_bytes = self.link.max_message_bytes;
        if data.len() > limit_bytes {
            return Err(Refused::For(SendError::TooLong { len: data.len(), limit_bytes }));
        }
        let connection = self.wire;
        let send = |when| WsSend { connection, when, kind, data, last: false };
        if self.is_plain() {
            match self.link.try_send_while(&self.plain, send(When::Now)) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Full) => return Err(Refused::LinkFull),
            }
        }
        let mut state = lock(&self.state);
        if !state.takes_sends() {
            let moved = matches!(state.phase, Phase::Moved);
            return Err(Refused::For(if moved { SendError::Moved } else { SendError::Closed }));
        }
        if let Phase::Offered(effects) = &mut state.phase {
            if effects.len() + data.len() > EFFECTS_BYTES {
                return Err(Refused::For(SendError::TooMuch));
            }
            put_effect(effects, &Effect::Send { binary: kind.is_binary(), data });
            return Ok(());
        }
        if state.must_wait() {
            return Err(Refused::Pressed);
        }
        let frame = |when| ToSupervisor::Act(send(when).into());
        self.hold_or_put(&mut state, data.len(), frame).map_err(|Full| Refused::LinkFull)
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        let mut state = lock(&self.state);
        if !state.takes_sends() {
            return;
        }
        state.app_closed = true;
        self.note(&state);
        self.act(&mut state, Effect::Close { code: code.0, reason });
        drop(state);
        self.relieved.notify_waiters();
    }

    pub(crate) fn subscribe(&self, channel: &str) {
        let mut state = lock(&self.state);
        if state.takes_sends() {
            self.act(&mut state, Effect::Subscribe { channel });
        }
    }

    pub(crate) fn unsubscribe(&self, channel: &str) {
        let mut state = lock(&self.state);
        if state.takes_sends() {
            self.act(&mut state, Effect::Unsubscribe { channel });
        }
    }

    /// Replaces what the next worker is to know. `false` if the connection cannot move.
    pub(crate) fn attach(&self, attached: Attached) -> bool {
        let mut state = lock(&self.state);
        let handling = state.handling;
        let State { phase, portable: Some(portable), .. } = &mut *state else { return false };
        match phase {
            Phase::Offered(effects) => {
                put_effect(effects, &attached.effect());
            }
            // With the commit: an older value must not come back by it.
            Phase::Open | Phase::Closed if handling => portable.is_new = true,
            Phase::Open => {
                self.link.put(self.wire.to_wire(), &attached.frame(self.wire, When::Now));
            }
            Phase::Closed | Phase::Moved => {}
        }
        portable.attached = Some(attached);
        true
    }

    /// What was attached last.
    pub(crate) fn attached(&self) -> Option<Attached> {
        lock(&self.state).portable.as_ref().and_then(|portable| portable.attached.clone())
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
        let publish = Effect::Publish { token, channel, binary, data };
        let mut state = lock(&self.state);
        match &mut state.phase {
            Phase::Offered(effects) => {
                if effects.len() + data.len() > EFFECTS_BYTES {
                    return Err(PublishError::TooMuch);
                }
                put_effect(effects, &publish);
                return Ok(true);
            }
            Phase::Moved => return Err(PublishError::Moved),
            Phase::Open | Phase::Closed => {}
        }
        let frame = |when| match when {
            When::Now => {
                let token = self.token(channel, data);
                ToSupervisor::Publish { token, channel, kind, data }
            }
            When::Staged | When::During => Act::new(self.wire, when, publish.clone()).into(),
        };
        Ok(self.hold_or_put(&mut state, data.len(), frame).is_ok())
    }

    /// Lets out what the running handler has done so far. `false` if the link has no room now.
    pub(crate) fn try_flush(&self) -> bool {
        let mut state = lock(&self.state);
        match state.held() {
            Some(held) if !held.is_empty() => {
                let id = self.wire.to_wire();
                let is_out = self.link.try_put_frames(id, |out| held.let_out(out)).is_ok();
                if is_out {
                    self.answer_pressure(&mut state);
                }
                is_out
            }
            _ => true,
        }
    }

    fn token(&self, channel: &str, data: &[u8]) -> PublishToken {
        match channel.len() + data.len() < FRAME_PAYLOAD_BYTES - 2 {
            true => PublishToken::NONE,
            false => self.link.token_for_pieces(),
        }
    }

    /// Holds a frame, or puts it on the link if there is room.
    fn hold_or_put<'a>(
        &self,
        state: &mut State,
        bytes: usize,
        frame: impl Fn(When) -> ToSupervisor<'a>,
    ) -> Result<(), Full> {
        let id = self.wire.to_wire();
        let Some(held) = state.held() else { return self.link.try_put(id, &frame(When::Now)) };
        if held.is_over_with(bytes) {
            self.link.try_put_frames(id, |out| held.let_out(out))?;
        }
        held.push(&frame(When::Staged));
        Ok(())
    }

    /// Does something that need not wait for room.
    fn act(&self, state: &mut State, effect: Effect<'_>) {
        if let Some(held) = state.held() {
            return held.push(&Act::new(self.wire, When::Staged, effect).into());
        }
        match &mut state.phase {
            Phase::Offered(effects) => put_effect(effects, &effect),
            Phase::Open => {
                let act = Act::new(self.wire, When::Now, effect);
                self.link.put(self.wire.to_wire(), &act.into());
            }
            Phase::Closed | Phase::Moved => {}
        }
    }
}
