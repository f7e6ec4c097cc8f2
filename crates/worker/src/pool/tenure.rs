//! A connection while this worker owns it: what may be sent, and the events that wait.
//!
//! A fetch handler acts on a connection that the supervisor does not know yet: until the response
//! is returned, all that it does is collected, and travels inside `ws:upgrade`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};

use http::{HeaderMap, Uri};
use shovel_protocol::control::{Effect, Headers, UpgradeHead};
use shovel_protocol::limits::FRAME_PAYLOAD_BYTES;
use shovel_protocol::to_supervisor::{Effects, put_effect};
use shovel_protocol::{
    Close, CloseCode, ConnectionId, ConnectionUuid, PublishToken, RequestId, ToSupervisor,
};
use tokio::sync::Notify;

use super::link::{Full, Link};
use crate::axum::Delivery;
use crate::lock::lock;
use crate::{Connection, Message, PublishError, SendError};

/// Most that a fetch handler may do to its connection before it is accepted.
const EFFECTS_BYTES: usize = 16 * 1024 * 1024;

/// A connection, from its upgrade to its close event.
pub(crate) struct Tenure {
    pub(crate) id: ConnectionUuid,
    pub(crate) wire: ConnectionId,
    pub(crate) url: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) protocol: Option<Box<str>>,
    pub(crate) link: Arc<Link>,
    pub(crate) state: Mutex<State>,
    /// Told when the pressure has gone, or the connection, and when it is accepted.
    pub(crate) relieved: Notify,
    /// How events reach the task of a Router's connection.
    pub(crate) delivery: OnceLock<Delivery>,
}

#[derive(Default)]
pub(crate) struct State {
    phase: Phase,
    was_accepted: bool,
    /// The app has closed it: nothing more is sent, and messages are dropped.
    app_closed: bool,
    /// The client reads too slowly.
    pressed: bool,
    committed: u64,
    /// An event is being handled; others wait in the mailbox, which the supervisor's window for
    /// the connection bounds.
    handling: bool,
    mailbox: VecDeque<Event>,
}

enum Phase {
    /// Not accepted yet: what the fetch handler did.
    Offered(Vec<u8>),
    Open,
    /// The client's socket has closed, or the connection was never accepted.
    Closed,
}

/// What happens to a connection, in order.
pub(crate) enum Event {
    Message {
        seq: u64,
        message: Message,
    },
    /// The last. Without a number it is this worker's own, and is not committed.
    Closed {
        seq: Option<u64>,
        close: Close,
    },
}

/// An event whose turn it is.
pub(crate) struct Begun {
    pub(crate) event: Event,
    /// `false` for a message after the app's own close: it is dropped, but committed.
    pub(crate) is_wanted: bool,
}

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

impl Default for Phase {
    fn default() -> Self {
        Phase::Offered(Vec::new())
    }
}

impl Tenure {
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.state).takes_sends()
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// What to wait for after a send was refused.
    pub(crate) fn room(&self, refused: &Refused) -> Result<&Notify, SendError> {
        match refused {
            Refused::Pressed => Ok(&self.relieved),
            Refused::LinkFull => Ok(self.link.room()),
            Refused::For(error) => Err(error.clone()),
        }
    }

    pub(crate) fn try_send(&self, message: &Message) -> Result<(), Refused> {
        let (kind, data) = (message.kind(), message.as_bytes());
        let limit_bytes = self.link.max_message_bytes;
        if data.len() > limit_bytes {
            return Err(Refused::For(SendError::TooLong { len: data.len(), limit_bytes }));
        }
        let mut state = lock(&self.state);
        if !state.takes_sends() {
            return Err(Refused::For(SendError::Closed));
        }
        if let Phase::Offered(effects) = &mut state.phase {
            if effects.len() + data.len() > EFFECTS_BYTES {
                return Err(Refused::For(SendError::TooMuch));
            }
            put_effect(effects, &Effect::Send { binary: kind.is_binary(), data });
            return Ok(());
        }
        if state.pressed {
            return Err(Refused::Pressed);
        }
        let send = ToSupervisor::Send { connection: self.wire, kind, data, last: false };
        let put = self.link.try_put(self.wire.to_wire(), &send);
        put.map_err(|Full| Refused::LinkFull)
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        let mut state = lock(&self.state);
        if !state.takes_sends() {
            return;
        }
        state.app_closed = true;
        let effect = Effect::Close { code: code.0, reason };
        self.act(&mut state, effect, ToSupervisor::Close { connection: self.wire, code, reason });
        drop(state);
        self.relieved.notify_waiters();
    }

    pub(crate) fn subscribe(&self, channel: &str) {
        let mut state = lock(&self.state);
        if state.takes_sends() {
            let subscribe = ToSupervisor::Subscribe { connection: Some(self.wire), channel };
            self.act(&mut state, Effect::Subscribe { channel }, subscribe);
        }
    }

    pub(crate) fn unsubscribe(&self, channel: &str) {
        let mut state = lock(&self.state);
        if state.takes_sends() {
            let unsubscribe = ToSupervisor::Unsubscribe { connection: Some(self.wire), channel };
            self.act(&mut state, Effect::Unsubscribe { channel }, unsubscribe);
        }
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
        let mut state = lock(&self.state);
        if let Phase::Offered(effects) = &mut state.phase {
            if effects.len() + data.len() > EFFECTS_BYTES {
                return Err(PublishError::TooMuch);
            }
            let (token, binary) = (PublishToken::NONE.to_wire(), kind.is_binary());
            put_effect(effects, &Effect::Publish { token, channel, binary, data });
            return Ok(true);
        }
        let token = match channel.len() + data.len() < FRAME_PAYLOAD_BYTES - 2 {
            true => PublishToken::NONE,
            false => self.link.token_for_pieces(),
        };
        // Behind what was sent before: hence the connection's id, not the token.
        let publish = ToSupervisor::Publish { token, channel, kind, data };
        Ok(self.link.try_put(self.wire.to_wire(), &publish).is_ok())
    }

    /// Accepts the request as this connection. `false` if it has been given up meanwhile.
    pub(crate) fn accept(self: &Arc<Self>, request: RequestId, headers: Headers<'_>) -> bool {
        let mut state = lock(&self.state);
        let Phase::Offered(effects) = &mut state.phase else { return false };
        let effects = std::mem::take(effects);
        state.phase = Phase::Open;
        state.was_accepted = true;
        // Known to the reader first: messages may come right behind.
        lock(&self.link.accepted).push(Connection { tenure: self.clone() });
        let request = request.to_wire();
        let upgrade = UpgradeHead { request, protocol: self.protocol.as_deref(), headers };
        let effects = Effects::new(&effects);
        let upgrade = ToSupervisor::Upgrade { connection: self.wire, upgrade, effects };
        self.link.put(self.wire.to_wire(), &upgrade);
        drop(state);
        self.relieved.notify_waiters();
        true
    }

    /// Waits until it is decided, and says whether the connection was accepted.
    pub(crate) async fn accepted(&self) -> bool {
        self.until(|state| !matches!(state.phase, Phase::Offered(_))).await;
        lock(&self.state).was_accepted
    }

    /// Waits until the client's socket has closed, or the connection has been given up.
    pub(crate) async fn closed(&self) {
        self.until(|state| matches!(state.phase, Phase::Closed)).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.relieved.notified());
            changed.as_mut().enable();
            if reached(&lock(&self.state)) {
                return;
            }
            changed.await;
        }
    }

    /// Gives the connection up unless it has been accepted. `true` if it was still open to that.
    pub(crate) fn give_up(&self) -> bool {
        let mut state = lock(&self.state);
        let was_offered = matches!(state.phase, Phase::Offered(_));
        if was_offered {
            state.phase = Phase::Closed;
            drop(state);
            self.relieved.notify_waiters();
        }
        was_offered
    }

    /// The client's socket has closed: whoever waits to send need not wait any longer.
    pub(crate) fn socket_closed(&self) {
        lock(&self.state).phase = Phase::Closed;
        self.relieved.notify_waiters();
    }

    /// The client reads too slowly, or well again.
    pub(crate) fn press(&self, over: bool) {
        let mut state = lock(&self.state);
        state.pressed = over;
        if over {
            let pressed = ToSupervisor::Pressed { connection: self.wire };
            self.link.put(self.wire.to_wire(), &pressed);
        } else {
            drop(state);
            self.relieved.notify_waiters();
        }
    }

    /// Begins an event if none is being handled. Else it waits until those before it have ended.
    #[inline]
    pub(crate) fn begin(&self, event: Event) -> Option<Begun> {
        let mut state = lock(&self.state);
        if state.handling {
            state.mailbox.push_back(event);
            return None;
        }
        state.handling = true;
        Some(state.begun(event))
    }

    /// An event's handler has ended: commits it if it has a number, and begins the next.
    #[inline]
    pub(crate) fn end(&self, seq: Option<u64>) -> Option<Begun> {
        let mut state = lock(&self.state);
        if let Some(seq) = seq {
            let is_next = seq == state.committed + 1;
            state.committed = seq;
            self.link.commit(self.wire, seq, is_next);
        }
        match state.mailbox.pop_front() {
            Some(event) => Some(state.begun(event)),
            None => {
                state.handling = false;
                None
            }
        }
    }

    fn act(&self, state: &mut State, effect: Effect<'_>, frame: ToSupervisor<'_>) {
        match &mut state.phase {
            Phase::Offered(effects) => put_effect(effects, &effect),
            Phase::Open => self.link.put(self.wire.to_wire(), &frame),
            Phase::Closed => {}
        }
    }
}

impl State {
    fn begun(&self, event: Event) -> Begun {
        let is_wanted = match event {
            Event::Message { .. } => !self.app_closed,
            Event::Closed { .. } => true,
        };
        Begun { event, is_wanted }
    }

    fn takes_sends(&self) -> bool {
        !self.app_closed && !matches!(self.phase, Phase::Closed)
    }
}
