//! The supervisor's end of a link, within its I/O thread.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use shovel_core::fleet::{Death, DrainReason};
use shovel_edge::Turn;
use shovel_edge::turn::Flush;
use shovel_link::{Outgoing, Socket, Written};
use shovel_protocol::control::Welcome;
use shovel_protocol::{LeaseId, ToWorker, WorkerId, WorkerIndex, WsMessage};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::counts::{OfWorker, WorkerTally};
use super::quarantine::PutOff;
use super::sleep::Rest;
use super::{FromThread, Reports};

/// Bytes that may wait on a link before its clients are no longer read.
const WAITING_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that may wait before messages for the worker's own subscriptions are dropped.
pub const CHANNEL_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// What all threads know of a worker.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections and requests that it has now.
    pub load: AtomicU32,
    /// Requests that it was ever given.
    pub requests: AtomicU64,
    /// Requests that it has now: those whose answer has not come to its end.
    pub asked: AtomicU32,
    /// It can adopt connections. Set before it is offered.
    pub adopts: AtomicBool,
    /// On so many threads it has nothing to do.
    pub idle_threads: AtomicU32,
    /// What it has under way and may die of: events and adoptions of connections that may move, and
    /// requests without an answer.
    pub doing: AtomicU32,
    /// The one connection with which anything may be begun: a number that its thread made, or 0.
    pub trial: AtomicU64,
}

/// A link to one worker.
pub struct Link {
    pub worker: WorkerId,
    /// Its place.
    pub index: WorkerIndex,
    /// How many links the worker has: one for each thread.
    pub links: u32,
    pub rest: Cell<Rest>,
    pub counters: Arc<Counters>,
    /// What this thread has seen of the worker.
    pub tally: WorkerTally,
    pub socket: Socket,
    reaped: Notify,
    /// How its process ended.
    death: Cell<Death>,
    outgoing: RefCell<Outgoing>,
    turn: Turn,
    reports: Reports,
    dirty: Cell<bool>,
    full: Cell<bool>,
    ended: Cell<bool>,
    buried: Cell<bool>,
    /// What waits for the end of a trial.
    pub put_off: PutOff,
    /// Connections that wait until the link has room.
    held: RefCell<HashSet<LeaseId>>,
    /// Requests and connections of this thread that the worker has or is offered.
    holdings: Cell<usize>,
    draining: Cell<Option<DrainReason>>,
    /// The driver was told that nothing is left. Nothing new is given to the worker from then on,
    /// unless the pool ends: then it takes over what others leave.
    drained: Cell<bool>,
    /// It was told that it may leave.
    leaves: Cell<bool>,
    on_room: OnRoom,
    me: Weak<Link>,
}

/// Called with the connections that were held, when their link has room again.
pub type OnRoom = Box<dyn Fn(HashSet<LeaseId>)>;

impl Link {
    pub fn new(
        (worker, welcome): (WorkerId, &Welcome),
        counters: Arc<Counters>,
        socket: Socket,
        turn: Turn,
        reports: Reports,
        on_room: OnRoom,
    ) -> Rc<Self> {
        Rc::new_cyclic(|me| Link {
            worker,
            index: WorkerIndex(welcome.index),
            links: welcome.links,
            rest: Cell::default(),
            counters,
            tally: WorkerTally::default(),
            socket,
            reaped: Notify::new(),
            death: Cell::new(Death::Ours),
            outgoing: RefCell::default(),
            turn,
            reports,
            on_room,
            dirty: Cell::new(false),
            full: Cell::new(false),
            ended: Cell::new(false),
            buried: Cell::new(false),
            put_off: PutOff::default(),
            held: RefCell::default(),
            holdings: Cell::new(0),
            draining: Cell::new(None),
            drained: Cell::new(false),
            leaves: Cell::new(false),
            me: me.clone(),
        })
    }

    /// Queues a frame; it is written at the end of the turn. A link that has ended takes nothing.
    #[inline]
    pub fn send(&self, frame: &ToWorker<'_>) {
        if self.ended.get() {
            return;
        }
        self.outgoing.borrow_mut().put(frame.lane(), |batch| frame.put(batch));
        self.mark();
    }

    /// Queues a message of a client's: what [`Link::send`] does, in a shorter way.
    #[inline]
    pub fn send_message(&self, message: WsMessage<'_>) {
        if self.ended.get() {
            return;
        }
        let lane = message.connection.to_wire();
        self.outgoing.borrow_mut().put(lane, |batch| message.put(batch));
        self.mark();
    }

    /// Bytes that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.outgoing.borrow().waiting_bytes()
    }

    /// Whether so much waits that clients of this link are to be left unread.
    pub fn is_over(&self) -> bool {
        self.full.get() && self.waiting_bytes() >= WAITING_LIMIT_BYTES
    }

    /// Has the connection told when the link has room again.
    pub fn hold(&self, connection: LeaseId) {
        self.held.borrow_mut().insert(connection);
    }

    /// Nothing will be read from it or written to it any more.
    pub fn end(&self) {
        self.ended.set(true);
        *self.outgoing.borrow_mut() = Outgoing::default();
    }

    /// Its worker is dead, and all that it said was read.
    pub fn bury(&self) {
        self.end();
        self.buried.set(true);
    }

    /// Whether [`Link::bury`] was called.
    pub fn is_buried(&self) -> bool {
        self.buried.get()
    }

    /// Whether one connection is to be alone with the worker.
    pub fn has_trial(&self) -> bool {
        self.counters.trial.load(Ordering::Acquire) != 0
    }

    /// The process was reaped: the link is to be read to its end.
    pub fn reap(&self, death: Death) {
        self.death.set(death);
        self.reaped.notify_one();
    }

    /// Waits until the process was reaped.
    ///
    /// # Cancel safety
    /// It is not missed.
    pub async fn reaped(&self) {
        self.reaped.notified().await;
    }

    /// Whether the process did not end by us. Known once it is reaped.
    pub fn is_at_fault(&self) -> bool {
        self.death.get() != Death::Ours
    }

    /// From now on tells the driver when it has nothing left.
    pub fn drain(&self, why: DrainReason) {
        self.draining.set(Some(why));
        self.tell_if_drained();
    }

    /// Requests and connections of this thread that the worker has or is offered; an upgrade that
    /// is offered counts as both.
    pub fn holdings(&self) -> usize {
        self.holdings.get()
    }

    /// Why it is to give everything up, if it is.
    pub fn draining(&self) -> Option<DrainReason> {
        self.draining.get()
    }

    /// Whether new requests may be given to the worker, as far as this link knows: the driver may
    /// not have heard yet what speaks against it.
    pub fn takes_work(&self) -> bool {
        let is_end = self.draining.get() == Some(DrainReason::Terminate);
        !self.ended.get() && !self.leaves.get() && (is_end || !self.drained.get())
    }

    /// Tells the worker that it may leave: nothing more is given to it.
    pub fn let_go(&self) {
        self.leaves.set(true);
        self.send(&ToWorker::Shutdown);
    }

    /// Whether the worker can adopt connections.
    pub fn adopts(&self) -> bool {
        self.counters.adopts.load(Ordering::Relaxed)
    }

    /// Counts a frame about something that the worker does not have. `true` the first time.
    pub fn count_stranger(&self) -> bool {
        let is_first = self.tally.of(OfWorker::StrayFrames) == 0;
        self.tally.add(OfWorker::StrayFrames, 1);
        is_first
    }

    fn tell_if_drained(&self) {
        let is_drained = self.draining.get().is_some() && self.holdings.get() == 0;
        if is_drained && !self.drained.replace(true) {
            self.reports.send(FromThread::Drained { worker: self.worker });
        }
    }

    /// Something is given to it after the driver was told that nothing is left.
    fn tell_if_occupied(&self) {
        if self.drained.replace(false) {
            self.reports.send(FromThread::Occupied { worker: self.worker });
        }
    }

    fn mark(&self) {
        if !self.dirty.replace(true)
            && let Some(me) = self.me.upgrade()
        {
            self.turn.mark(me);
        }
    }
}

impl Flush for Link {
    fn flush(self: Rc<Self>) {
        self.dirty.set(false);
        if self.full.get() || self.ended.get() {
            return;
        }
        let written = self.outgoing.borrow_mut().write_to(&self.socket);
        match written {
            Ok(Written::All) => {}
            Ok(Written::Full) => {
                self.full.set(true);
                spawn_local(wait_for_room(self));
            }
            // The reader will find the end too, and reads first what the worker still said.
            Err(_) => self.end(),
        }
    }
}

/// One task per full link: nobody else writes to it meanwhile.
async fn wait_for_room(link: Rc<Link>) {
    if link.socket.writable().await.is_err() {
        return link.end();
    }
    link.full.set(false);
    link.clone().flush();
    if !link.full.get() || link.waiting_bytes() < WAITING_LIMIT_BYTES / 2 {
        let held = std::mem::take(&mut *link.held.borrow_mut());
        (link.on_room)(held);
    }
}

/// A request or connection that a worker has or is offered. While one lives, the worker is not
/// drained.
pub struct Holding(Rc<Link>);

impl Holding {
    pub fn new(link: &Rc<Link>) -> Self {
        link.counters.load.fetch_add(1, Ordering::Relaxed);
        link.holdings.set(link.holdings.get() + 1);
        link.tell_if_occupied();
        Holding(link.clone())
    }

    pub fn link(&self) -> &Rc<Link> {
        &self.0
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.counters.load.fetch_sub(1, Ordering::Relaxed);
        self.0.holdings.set(self.0.holdings.get() - 1);
        self.0.tell_if_drained();
    }
}
