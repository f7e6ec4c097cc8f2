//! A connection while this worker owns it: what may be sent, and the events that wait.
//!
//! A fetch handler acts on a connection that the supervisor does not know yet: until the response
//! is returned, all that it does is collected, and travels inside `ws:upgrade`. What a handler does
//! to a connection that may move to another worker is held until it ends ([`held`]).
//!
//! Rooms: [`acts`] what an app does to a connection, [`events`] what happens to it.

mod acts;
mod events;
mod held;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;

use http::{HeaderMap, Uri};
use shovel_protocol::control::{AdoptHead, Headers, UpgradeHead};
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::{Act, ConnectionUuid, Effect, LeaseId, RequestId, ToSupervisor, When};
use tokio::sync::Notify;
use uuid::Uuid;

pub(crate) use self::acts::Refused;
pub(crate) use self::events::{Adoption, After, Closed, Event};

use self::held::Held;
use super::link::Link;
use crate::Connection;
use crate::axum::Delivery;
use crate::lock::lock;

/// A connection, from its upgrade or adoption to its close event, or until it moves on.
pub(crate) struct Tenure {
    pub(crate) id: ConnectionUuid,
    pub(crate) wire: LeaseId,
    pub(crate) url: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) protocol: Option<Box<str>>,
    pub(crate) link: Arc<Link>,
    pub(crate) state: Mutex<State>,
    /// See [`Tenure::is_plain`].
    plain: AtomicBool,
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
    /// An event is being handled, or a row of messages; others wait in the mailbox, which the
    /// supervisor's window for the connection bounds.
    handling: bool,
    mailbox: VecDeque<Event>,
    /// Of a connection that may move to another worker.
    portable: Option<Box<Portable>>,
}

enum Phase {
    /// Not accepted yet: what the fetch handler did.
    Offered(Vec<u8>),
    Open,
    /// The client's socket has closed, or the connection was never accepted.
    Closed,
    /// Another worker has it, or will.
    Moved,
}

/// What it takes for another worker to go on.
#[derive(Default)]
struct Portable {
    /// What the running handler has done; not used while none runs.
    held: Held,
    attached: Option<Attached>,
    /// The supervisor does not know the attachment yet.
    is_new: bool,
    leaving: Leaving,
    /// Its adopt handler runs, which does not wait for a slow client: until it ends nobody has the
    /// connection.
    adopting: bool,
    /// The supervisor is told that the pressure is known once what is held is on its way: behind
    /// that, a send counts as one in spite of it.
    owes_pressed: u32,
    /// The task of the running handler, if it has one.
    task: Option<Waker>,
}

/// Whether the supervisor wants the connection back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Leaving {
    #[default]
    No,
    /// Once the running handler has ended.
    Released,
    /// At once.
    Revoked,
}

/// An attachment as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) version: u32,
    pub(crate) data: Box<[u8]>,
}

impl Default for Phase {
    fn default() -> Self {
        Phase::Offered(Vec::new())
    }
}

impl Attached {
    fn effect(&self) -> Effect<'_> {
        Effect::Attach { version: self.version, data: &self.data }
    }

    fn frame(&self, connection: LeaseId, when: When) -> ToSupervisor<'_> {
        Act::new(connection, when, self.effect()).into()
    }
}

impl Tenure {
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.state).takes_sends()
    }

    /// Whether all that is done to it goes out at once: it is open, will not move, and its client
    /// reads well. Most are that, and what matters of [`State`] is then known without its lock.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain.load(Ordering::Acquire)
    }

    /// Before a frame is put that says why the connection is plain no longer, and behind the one that
    /// says that it was accepted: who sends looks again under the batch's lock, so no send comes
    /// behind the former or before the latter.
    fn note(&self, state: &State) {
        self.plain.store(state.is_plain(), Ordering::Release);
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Accepts the request as this connection. `false` if it has been given up meanwhile.
    pub(crate) fn accept(self: &Arc<Self>, request: RequestId, headers: Headers<'_>) -> bool {
        let mut state = lock(&self.state);
        let Phase::Offered(effects) = &mut state.phase else { return false };
        let effects = std::mem::take(effects);
        state.phase = Phase::Open;
        state.was_accepted = true;
        let keep = state.portable.is_some();
        // Known to the reader first: messages may come right behind.
        lock(&self.link.accepted).push(Connection { tenure: self.clone() });
        self.link.count_in();
        let request = request.to_wire();
        let upgrade = UpgradeHead { request, protocol: self.protocol.as_deref(), headers };
        let effects = Effects::new(&effects);
        let upgrade = ToSupervisor::Upgrade { connection: self.wire, upgrade, keep, effects };
        self.link.put(self.wire.to_wire(), &upgrade);
        self.note(&state);
        drop(state);
        self.relieved.notify_waiters();
        true
    }

    /// A connection that another worker had.
    pub(crate) fn adopted(
        link: Arc<Link>,
        wire: LeaseId,
        adopt: &AdoptHead<'_>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Self {
        let attached = Attached { version: adopt.version, data: adopt.attachment.into() };
        let portable = Portable { attached: Some(attached), adopting: true, ..Portable::default() };
        let state = State {
            phase: Phase::Open,
            was_accepted: true,
            pressed: adopt.pressed,
            committed: adopt.committed,
            portable: Some(Box::new(portable)),
            ..State::default()
        };
        Tenure {
            id: ConnectionUuid(Uuid::from_bytes(adopt.uuid)),
            wire,
            url: path_and_query(uri),
            headers: headers.clone(),
            protocol: adopt.protocol.map(Into::into),
            link,
            state: Mutex::new(state),
            plain: AtomicBool::new(false),
            relieved: Notify::new(),
            delivery: OnceLock::new(),
        }
    }

    /// A connection that a request offers.
    pub(crate) fn offered(
        link: Arc<Link>,
        (wire, id): (LeaseId, ConnectionUuid),
        uri: &Uri,
        headers: &HeaderMap,
        protocol: Option<&str>,
    ) -> Self {
        Tenure {
            id,
            wire,
            url: path_and_query(uri),
            headers: headers.clone(),
            protocol: protocol.map(Into::into),
            link,
            state: Mutex::default(),
            plain: AtomicBool::new(false),
            relieved: Notify::new(),
            delivery: OnceLock::new(),
        }
    }

    /// From now on what handlers do is held until they end, so that the connection may move. To be
    /// called before it is accepted; without a supervisor that could move it, it changes nothing.
    pub(crate) fn make_portable(&self) {
        let mut state = lock(&self.state);
        if self.link.moves && matches!(state.phase, Phase::Offered(_)) {
            state.portable.get_or_insert_default();
        }
    }

    /// It is to end with this worker after all. Too late once it is accepted.
    pub(crate) fn pin(&self) {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::Offered(_)) {
            state.portable = None;
        }
    }

    /// Waits until it is decided, and says whether the connection was accepted.
    pub(crate) async fn accepted(&self) -> bool {
        self.until(|state| !matches!(state.phase, Phase::Offered(_))).await;
        lock(&self.state).was_accepted
    }

    /// Waits until the client's socket has closed, or the connection has been given up.
    pub(crate) async fn closed(&self) {
        self.until(|state| matches!(state.phase, Phase::Closed | Phase::Moved)).await;
    }

    /// Waits until another worker has the connection, or will. Never ends if it closes first.
    pub(crate) async fn moved(&self) {
        self.until(|state| matches!(state.phase, Phase::Moved)).await;
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
        let mut state = lock(&self.state);
        if !matches!(state.phase, Phase::Moved) {
            state.phase = Phase::Closed;
        }
        self.note(&state);
        drop(state);
        self.relieved.notify_waiters();
    }

    /// The client reads too slowly, or well again.
    pub(crate) fn press(&self, over: bool) {
        let mut state = lock(&self.state);
        state.pressed = over;
        self.note(&state);
        let holds = state.held().is_some_and(|held| !held.is_empty());
        if let Some(portable) = &mut state.portable {
            portable.owes_pressed += u32::from(over && holds);
        }
        if !over {
            drop(state);
            self.relieved.notify_waiters();
        } else if !holds {
            self.put_pressed();
        }
    }

    /// Once what was held is on its way.
    fn answer_pressure(&self, state: &mut State) {
        if let Some(portable) = &mut state.portable {
            (0..std::mem::take(&mut portable.owes_pressed)).for_each(|_| self.put_pressed());
        }
    }

    fn put_pressed(&self) {
        let pressed = ToSupervisor::Pressed { connection: self.wire };
        self.link.put(self.wire.to_wire(), &pressed);
    }
}

fn path_and_query(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map(Uri::from).unwrap_or_default()
}

impl State {
    fn takes_sends(&self) -> bool {
        !self.app_closed && !matches!(self.phase, Phase::Closed | Phase::Moved)
    }

    fn is_plain(&self) -> bool {
        let is_open = matches!(self.phase, Phase::Open) && !self.app_closed;
        is_open && !self.pressed && self.portable.is_none()
    }

    /// Whether sends are to wait for a client that reads too slowly.
    fn must_wait(&self) -> bool {
        self.pressed && !self.portable.as_ref().is_some_and(|portable| portable.adopting)
    }

    /// Where effects are held, while a handler runs on a connection that may move.
    fn held(&mut self) -> Option<&mut Held> {
        match &mut self.portable {
            Some(portable) if self.handling => Some(&mut portable.held),
            _ => None,
        }
    }
}
