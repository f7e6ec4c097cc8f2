//! The supervisor's end of a link, within its I/O thread.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use shovel_core::fleet::Death;
use shovel_edge::turn::WriteOut;
use shovel_edge::{Pot, Turn};
use shovel_link::{Outgoing, Socket, Written};
use shovel_protocol::control::Welcome;
use shovel_protocol::head::Kind;
use shovel_protocol::{LeaseId, RequestId, ToWorker, WorkerId, WorkerIndex, WsMessage};
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};

use super::cell::SharedCell;
use super::faults::Faults;
use super::paused::Paused;
use crate::counts::{OfWorker, WorkerTally};

/// Bytes that may wait on a link before its clients are no longer read, nor requests given to it.
const WAITING_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that may wait before messages for the worker's own subscriptions are dropped.
pub const CHANNEL_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// Answers to the worker's own frames that may come to wait while it takes none. It decides how many
/// there are, so it must read them.
const ANSWERS_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// Room beyond the two limits above and the longest message, for answers to the worker's own frames,
/// closes, and all that has no bound of its own. When that is used up too, the link ends.
const OTHERS_LIMIT_BYTES: usize = 12 * 1024 * 1024;

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
    /// What it was blamed for.
    pub faults: Faults,
    /// The longest message that it was told it may send.
    pub max_message_bytes: usize,
    pub socket: Socket,
    reaped: Notify,
    /// How its process ended.
    death: Cell<Death>,
    outgoing: RefCell<Outgoing>,
    /// What waits, as of the last turn.
    waiting: Pot,
    /// What this worker has staged on all its connections.
    pub staged: Rc<Pot>,
    /// When more waits, without what was forgiven, the worker does not read, and the link ends.
    end_bytes: usize,
    /// Messages of clients that came beyond the limit: they had begun. No fault of the worker's.
    forgiven_bytes: Cell<usize>,
    overflowed: Notify,
    /// Answers to the worker's own frames that came since it took all, or most, of what waited.
    answer_bytes: Cell<usize>,
    /// Requests that nobody waits for, and of which something may wait here.
    cancelled: RefCell<HashSet<u64>>,
    asked: Outstanding,
    turn: Turn,
    dirty: Cell<bool>,
    full: Cell<bool>,
    ended: Cell<bool>,
    /// All its clients are paused, since it has no room, and some still are.
    pauses: Cell<bool>,
    /// A task lets them go on.
    lets_go_on: Cell<bool>,
    /// Connections whose clients are paused until the link has room.
    paused: RefCell<Paused>,
    roomy: Notify,
    on_room: OnRoom,
    me: Weak<Link>,
}

/// What a worker was asked that it may answer, once each.
#[derive(Default)]
struct Outstanding {
    /// The nonce of the last ping, and that of the last one that was answered.
    ping: Cell<u64>,
    ponged: Cell<u64>,
    /// It was told to leave.
    to_leave: Cell<bool>,
}

/// Called with some of those connections when their link has room again.
pub type OnRoom = Box<dyn Fn(Vec<LeaseId>)>;

impl Link {
    pub fn new(
        (worker, welcome): (WorkerId, &Welcome),
        cell: Arc<SharedCell>,
        socket: Socket,
        turn: Turn,
        on_room: OnRoom,
    ) -> Rc<Self> {
        let message_bytes = usize::try_from(welcome.max_message_bytes).unwrap_or(usize::MAX);
        let end_bytes = (WAITING_LIMIT_BYTES + CHANNEL_LIMIT_BYTES + OTHERS_LIMIT_BYTES)
            .saturating_add(message_bytes);
        Rc::new_cyclic(|me| Link {
            worker,
            index: WorkerIndex(welcome.index),
            links: welcome.links,
            cell,
            tally: WorkerTally::default(),
            faults: Faults::default(),
            max_message_bytes: message_bytes,
            socket,
            reaped: Notify::new(),
            death: Cell::new(Death::Ours),
            outgoing: RefCell::default(),
            waiting: turn.ledger().pot(),
            staged: Rc::new(turn.ledger().pot()),
            end_bytes,
            forgiven_bytes: Cell::new(0),
            overflowed: Notify::new(),
            answer_bytes: Cell::new(0),
            cancelled: RefCell::default(),
            asked: Outstanding::default(),
            turn,
            on_room,
            dirty: Cell::new(false),
            full: Cell::new(false),
            ended: Cell::new(false),
            pauses: Cell::new(false),
            lets_go_on: Cell::new(false),
            paused: RefCell::default(),
            roomy: Notify::new(),
            me: me.clone(),
        })
    }

    /// Queues a frame; it is written at the end of the turn. A link that has ended takes nothing.
    #[inline]
    pub fn send(&self, frame: &ToWorker<'_>) {
        if self.ended.get() {
            return;
        }
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.put(frame.lane(), |batch| frame.put(batch));
        let waiting = outgoing.waiting_bytes();
        drop(outgoing);
        self.mark();
        if waiting > self.end_bytes {
            self.end_if_unread();
        }
    }

    /// Queues the answer to a frame that the worker may send as often as it likes.
    pub fn answer(&self, frame: &ToWorker<'_>) {
        let before = self.waiting_bytes();
        self.send(frame);
        let more = self.waiting_bytes().saturating_sub(before);
        self.answer_bytes.set(self.answer_bytes.get() + more);
        if self.answer_bytes.get() > ANSWERS_LIMIT_BYTES {
            self.end_if_unread();
        }
    }

    /// Asks whether the worker is alive.
    pub fn ping(&self) {
        let nonce = self.asked.ping.get() + 1;
        self.asked.ping.set(nonce);
        self.send(&ToWorker::Ping { nonce });
    }

    /// Whether this answers a ping that was not answered.
    pub fn take_pong(&self, nonce: u64) -> bool {
        let is_asked = self.asked.ponged.get() < nonce && nonce <= self.asked.ping.get();
        if is_asked {
            self.asked.ponged.set(nonce);
        }
        is_asked
    }

    /// Tells the worker to leave.
    pub fn shut_down(&self) {
        self.asked.to_leave.set(true);
        self.send(&ToWorker::Shutdown);
    }

    /// Whether the worker was told to leave, and has not said yet that it does.
    pub fn take_leave(&self) -> bool {
        self.asked.to_leave.take()
    }

    /// Nobody waits for the answer to a request any more: what waits of it is not written.
    pub fn cancel(&self, request: RequestId) {
        // Nothing may have been tried to write in this turn: what waits then is not under way either.
        if self.waiting_bytes() == 0 {
            return self.send(&ToWorker::Cancel { request });
        }
        self.cancelled.borrow_mut().insert(request.to_wire());
        self.mark();
    }

    /// Queues a message of a client's: what [`Link::send`] does, but for the check
    /// whether the worker reads, which its caller does. It has one caller, which the compiler then makes it a part of.
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
    #[inline]
    pub fn is_over(&self) -> bool {
        self.waiting_bytes() >= WAITING_LIMIT_BYTES && self.is_stuck()
    }

    /// Much may have come in this turn alone, and none of it been tried to write.
    #[cold]
    fn is_stuck(&self) -> bool {
        self.write();
        self.waiting_bytes() >= WAITING_LIMIT_BYTES
    }

    #[cold]
    fn end_if_unread(&self) {
        self.write();
        let most = self.end_bytes.saturating_add(self.forgiven_bytes.get());
        let answers = self.answer_bytes.get();
        if self.waiting_bytes() > most || answers > ANSWERS_LIMIT_BYTES {
            self.end();
            self.overflowed.notify_one();
        }
    }

    /// Waits until more has come to wait than may.
    ///
    /// # Cancel safety
    /// It is not missed.
    pub async fn overflowed(&self) {
        self.overflowed.notified().await;
    }

    /// Waits until there is room for more of what clients send.
    ///
    /// # Cancel safety
    /// Safe: only waits.
    pub async fn room(&self) {
        while self.is_over() {
            self.roomy.notified().await;
        }
    }

    /// Whether all its clients are to be paused now: nobody has done so since it had room.
    pub fn begin_pauses(&self) -> bool {
        !self.pauses.replace(true)
    }

    /// Has a connection told when the link has room again, which is paused behind a message of so many
    /// bytes.
    pub fn note_over(&self, connection: LeaseId, bytes: usize) {
        self.forgiven_bytes.set(self.forgiven_bytes.get().saturating_add(bytes));
        self.note_paused(connection, true);
    }

    /// Has a paused connection told when the link has room again. `is_handled`: the worker has
    /// something of it.
    pub fn note_paused(&self, connection: LeaseId, is_handled: bool) {
        self.paused.borrow_mut().put(connection, is_handled);
    }

    /// Nothing will be read from it or written to it any more.
    pub fn end(&self) {
        self.ended.set(true);
        *self.outgoing.borrow_mut() = Outgoing::default();
        self.waiting.note(0);
        self.cancelled.borrow_mut().clear();
        self.roomy.notify_waiters();
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
    pub fn count_stray(&self) -> bool {
        let is_first = self.tally.of(OfWorker::StrayFrames) == 0;
        self.tally.add(OfWorker::StrayFrames, 1);
        is_first
    }

    /// Writes what the socket takes, unless it is known to take nothing.
    fn write(&self) {
        if self.full.get() || self.ended.get() {
            return;
        }
        let written = self.outgoing.borrow_mut().write_to(&self.socket);
        match (written, self.me.upgrade()) {
            (Ok(Written::Full), Some(me)) => {
                self.full.set(true);
                spawn_local(wait_for_room(me));
            }
            (Ok(_), _) => self.answer_bytes.set(0),
            // The reader will find the end too, and reads first what the worker still said.
            (Err(_), _) => self.end(),
        }
    }

    /// Drops what waits of requests that nobody waits for. Of those that the worker knows it is told.
    /// Once in a turn: it walks all that waits.
    fn drop_cancelled(&self) {
        let mut cancelled = std::mem::take(&mut *self.cancelled.borrow_mut());
        if cancelled.is_empty() {
            return;
        }
        let mut unheard = HashSet::new();
        self.outgoing.borrow_mut().retain(|header| {
            let is_unwanted = is_of_request(header.kind) && cancelled.contains(&header.id);
            if is_unwanted && header.kind == Kind::HttpRequest as u8 {
                unheard.insert(header.id);
            }
            !is_unwanted
        });
        cancelled.retain(|id| !unheard.contains(id));
        let known = cancelled.into_iter().map(RequestId::from_wire);
        known.for_each(|request| self.send(&ToWorker::Cancel { request }));
        self.look_for_room();
    }

    /// Lets those go on who wait for room, if there is some.
    fn look_for_room(&self) {
        if self.waiting_bytes() < WAITING_LIMIT_BYTES / 2 {
            self.forgiven_bytes.set(0);
            self.answer_bytes.set(0);
            self.roomy.notify_waiters();
            if self.let_few_go_on()
                && let Some(me) = self.me.upgrade()
                && !self.lets_go_on.replace(true)
            {
                spawn_local(let_go_on(me));
            }
        }
    }

    /// All that wait for room may try, but of the clients that are paused only a few. Whether there are
    /// more of these.
    fn let_few_go_on(&self) -> bool {
        let (few, are_more) = self.paused.borrow_mut().take_few();
        if !are_more {
            self.pauses.set(false);
        }
        (self.on_room)(few);
        are_more
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
        self.drop_cancelled();
        self.write();
        self.waiting.note(self.waiting_bytes());
    }
}

/// One task per full link: nobody else writes to it meanwhile.
async fn wait_for_room(link: Rc<Link>) {
    if link.socket.writable().await.is_err() {
        return link.end();
    }
    link.full.set(false);
    link.clone().write_out();
    link.look_for_room();
}

/// Has the clients that are paused read again, a few after the other, until there is no room again. If
/// all were at once, the first would take it, and all be paused anew: who has luck would go on.
async fn let_go_on(link: Rc<Link>) {
    loop {
        // Those before are read now.
        yield_now().await;
        if link.is_over() || !link.let_few_go_on() {
            break;
        }
    }
    link.lets_go_on.set(false);
}

/// Whether frames of this kind carry the id of a request.
fn is_of_request(kind: u8) -> bool {
    [Kind::HttpRequest, Kind::HttpRequestBody, Kind::HttpRequestEnd, Kind::ResponseCredit]
        .iter()
        .any(|its| *its as u8 == kind)
}
