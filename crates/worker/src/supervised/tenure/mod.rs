//! A connection while this worker owns it: `core::tenure` decides, and here are its link, its lock
//! and those who wait for it.
//!
//! A fetch handler acts on a connection that the supervisor does not know yet: until the response
//! is returned, all that it does is collected, and travels inside `ws:upgrade`. What a handler does
//! to a portable connection is staged until it ends ([`staged`]).
//!
//! Rooms: [`acts`] what an app does to a connection, [`events`] what happens to it, [`outbox`] what it
//! asks about it.

mod acts;
mod events;
mod outbox;
mod staged;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;

use http::{HeaderMap, Uri};
use shovel_core::tenure::{Accepted, OFFERED_ACTS, OnPressure, Staging};
use shovel_protocol::control::{AdoptHead, Headers, UpgradeHead};
use shovel_protocol::limits::CONTROL_BYTES;
use shovel_protocol::{ConnectionUuid, Effect, LeaseId, RequestId, ToSupervisor};
use tokio::sync::Notify;
use uuid::Uuid;

pub(crate) use self::acts::NotTaken;
pub(crate) use self::events::{Adoption, Closed, Event, Next};

use self::outbox::Questions;
use self::staged::Staged;
use super::link::Link;
use crate::Connection;
use crate::axum::Delivery;
use crate::lock::lock;

/// A tenure, with its link, its lock and those who wait for it.
pub(crate) struct SharedTenure {
    pub(crate) id: ConnectionUuid,
    pub(crate) wire: LeaseId,
    pub(crate) url: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) protocol: Option<Box<str>>,
    pub(crate) link: Arc<Link>,
    state: Mutex<State>,
    /// See [`SharedTenure::is_plain`].
    plain: AtomicBool,
    /// Told when the pressure has gone, or the connection, and when it is accepted.
    pub(crate) relieved: Notify,
    /// How events reach the task of a Router's connection.
    pub(crate) delivery: OnceLock<Delivery>,
}

/// What is decided of it, and whom to wake when it changes.
struct State {
    decided: Decided,
    /// The task of the running handler, if it has one.
    task: Option<Waker>,
    questions: Questions,
}

impl State {
    fn new(decided: Decided) -> Self {
        State { decided, task: None, questions: Questions::default() }
    }
}

type Decided = shovel_core::tenure::Tenure<Event, Staged, Attached>;

/// An attachment as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) version: u32,
    pub(crate) data: Box<[u8]>,
}

impl Attached {
    fn effect(&self) -> Effect<'_> {
        Effect::Attach { version: self.version, data: &self.data }
    }
}

impl SharedTenure {
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.state).decided.is_open()
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
        self.plain.store(state.decided.is_plain(), Ordering::Release);
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Whether one frame can say all that the fetch handler did.
    pub(crate) fn fits(&self) -> bool {
        // Beside it stand headers, of which `wire_headers` allows half of this.
        let most_bytes = self.link.max_message_bytes.saturating_add(CONTROL_BYTES / 4);
        let fits = |acts: &Staged| acts.acts() <= OFFERED_ACTS && acts.bytes() <= most_bytes;
        lock(&self.state).decided.offers().is_none_or(fits)
    }

    /// Accepts the request as this connection. `false` if it has been withdrawn meanwhile.
    pub(crate) fn accept(self: &Arc<Self>, request: RequestId, headers: Headers<'_>) -> bool {
        let mut state = lock(&self.state);
        let Some(Accepted { acts, portable }) = state.decided.accept() else { return false };
        // Known to the reader first: messages may come right behind.
        lock(&self.link.accepted).push(Connection { tenure: self.clone() });
        self.link.count_in();
        let request = request.to_wire();
        let upgrade = UpgradeHead { request, protocol: self.protocol.as_deref(), headers };
        let (connection, effects) = (self.wire, acts.effects());
        let upgrade = ToSupervisor::Upgrade { connection, upgrade, portable, effects };
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
        let decided = Decided::adopted(adopt.committed, adopt.pressed, attached);
        SharedTenure {
            id: ConnectionUuid(Uuid::from_bytes(adopt.uuid)),
            wire,
            url: path_and_query(uri),
            headers: headers.clone(),
            protocol: adopt.protocol.map(Into::into),
            link,
            state: Mutex::new(State::new(decided)),
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
        SharedTenure {
            id,
            wire,
            url: path_and_query(uri),
            headers: headers.clone(),
            protocol: protocol.map(Into::into),
            link,
            state: Mutex::new(State::new(Decided::offered())),
            plain: AtomicBool::new(false),
            relieved: Notify::new(),
            delivery: OnceLock::new(),
        }
    }

    /// Makes it portable: what handlers do is staged until they end. Call it before it is accepted.
    /// Without a supervisor that could move it, it changes nothing.
    pub(crate) fn make_portable(&self) {
        if self.link.moves {
            lock(&self.state).decided.make_portable();
        }
    }

    /// It is to end with this worker after all. Too late once it is accepted.
    pub(crate) fn pin(&self) {
        lock(&self.state).decided.pin();
    }

    /// Waits until it is decided, and says whether the connection was accepted.
    pub(crate) async fn accepted(&self) -> bool {
        self.until(|decided| !decided.is_offered()).await;
        lock(&self.state).decided.was_accepted()
    }

    /// Waits until the client's socket has closed, or the connection has been given up.
    pub(crate) async fn closed(&self) {
        self.until(Decided::is_over).await;
    }

    /// Waits until another worker has the connection, or will. Never ends if it closes first.
    pub(crate) async fn moved(&self) {
        self.until(Decided::has_moved).await;
    }

    async fn until(&self, reached: impl Fn(&Decided) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.relieved.notified());
            changed.as_mut().enable();
            if reached(&lock(&self.state).decided) {
                return;
            }
            changed.await;
        }
    }

    /// Withdraws the offer unless it has been accepted. `true` if it was still open to that.
    pub(crate) fn withdraw(&self) -> bool {
        let was_offered = lock(&self.state).decided.withdraw();
        if was_offered {
            self.relieved.notify_waiters();
        }
        was_offered
    }

    /// The client's socket has closed: whoever waits to send need not wait any longer.
    pub(crate) fn socket_closed(&self) {
        let mut state = lock(&self.state);
        state.decided.client_gone();
        self.note(&state);
        drop(state);
        self.relieved.notify_waiters();
    }

    /// The client reads too slowly, or well again.
    pub(crate) fn press(&self, over: bool) {
        let mut state = lock(&self.state);
        let pressure = state.decided.press(over);
        self.note(&state);
        match pressure {
            OnPressure::Relieve => {
                drop(state);
                self.relieved.notify_waiters();
            }
            OnPressure::Answer => {
                let pressed = ToSupervisor::Pressed { connection: self.wire };
                self.link.put(self.wire.to_wire(), &pressed);
            }
            OnPressure::Owe => {}
        }
    }

    /// Writes that the pressure is known, as often as that is owed.
    fn put_pressed(&self, out: &mut Vec<u8>, owed: u32) {
        (0..owed).for_each(|_| ToSupervisor::Pressed { connection: self.wire }.put(out));
    }
}

fn path_and_query(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map(Uri::from).unwrap_or_default()
}
