//! The supervisor's end of a link, within its I/O thread.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use shovel_core::fleet::Death;
use shovel_edge::Turn;
use shovel_edge::turn::WriteOut;
use shovel_link::{Outgoing, Socket, Written};
use shovel_protocol::control::Welcome;
use shovel_protocol::{LeaseId, ToWorker, WorkerId, WorkerIndex, WsMessage};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::cell::SharedCell;
use crate::counts::{OfWorker, WorkerTally};

/// Bytes that may wait on a link before its clients are no longer read.
const WAITING_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that may wait before messages for the worker's own subscriptions are dropped.
pub const CHANNEL_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// A link to one worker.
pub struct Link {
    pub worker: WorkerId,
    /// Its place.
    pub index: WorkerIndex,
    /// How many links the worker has: one for each thread.
    pub links: u32,
    pub cell: Arc<SharedCell>,
    /// What this thread has seen of the worker.
    pub tally: WorkerTally,
    pub socket: Socket,
    reaped: Notify,
    /// How its process ended.
    death: Cell<Death>,
    outgoing: RefCell<Outgoing>,
    turn: Turn,
    dirty: Cell<bool>,
    full: Cell<bool>,
    ended: Cell<bool>,
    /// Connections whose clients are paused until the link has room.
    unread: RefCell<HashSet<LeaseId>>,
    on_room: OnRoom,
    me: Weak<Link>,
}

/// Called with those connections when their link has room again.
pub type OnRoom = Box<dyn Fn(HashSet<LeaseId>)>;

impl Link {
    pub fn new(
        (worker, welcome): (WorkerId, &Welcome),
        cell: Arc<SharedCell>,
        socket: Socket,
        turn: Turn,
        on_room: OnRoom,
    ) -> Rc<Self> {
        Rc::new_cyclic(|me| Link {
            worker,
            index: WorkerIndex(welcome.index),
            links: welcome.links,
            cell,
            tally: WorkerTally::default(),
            socket,
            reaped: Notify::new(),
            death: Cell::new(Death::Ours),
            outgoing: RefCell::default(),
            turn,
            on_room,
            dirty: Cell::new(false),
            full: Cell::new(false),
            ended: Cell::new(false),
            unread: RefCell::default(),
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

    /// Queues a message of a client's: what [`Link::send`] does, in a shorter way. It has one
    /// caller, which the compiler then makes it a part of.
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

    /// Whether so much waits that clients of this link are to be paused.
    pub fn is_over(&self) -> bool {
        self.full.get() && self.waiting_bytes() >= WAITING_LIMIT_BYTES
    }

    /// Has a paused connection told when the link has room again.
    pub fn note_paused(&self, connection: LeaseId) {
        self.unread.borrow_mut().insert(connection);
    }

    /// Nothing will be read from it or written to it any more.
    pub fn end(&self) {
        self.ended.set(true);
        *self.outgoing.borrow_mut() = Outgoing::default();
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

    /// How the process ended. Known once it is reaped.
    pub fn death(&self) -> Death {
        self.death.get()
    }

    /// Counts a frame about something that the worker does not have. `true` the first time.
    pub fn count_stranger(&self) -> bool {
        let is_first = self.tally.of(OfWorker::StrayFrames) == 0;
        self.tally.add(OfWorker::StrayFrames, 1);
        is_first
    }

    fn mark(&self) {
        if !self.dirty.replace(true)
            && let Some(me) = self.me.upgrade()
        {
            self.turn.mark(me);
        }
    }
}

impl WriteOut for Link {
    fn write_out(self: Rc<Self>) {
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
    link.clone().write_out();
    if !link.full.get() || link.waiting_bytes() < WAITING_LIMIT_BYTES / 2 {
        let unread = std::mem::take(&mut *link.unread.borrow_mut());
        (link.on_room)(unread);
    }
}
