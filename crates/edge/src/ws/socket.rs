//! What a backend holds of a connection: the writing side and the state of the close.
//!
//! The reading side is a task ([`super::reader`]); both meet in [`Shared`], which belongs to one
//! thread.

mod looks;
mod published;
mod task;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;

use shovel_protocol::{Close, CloseCode, MessageKind};

use self::looks::Looks;
use super::{Deadlines, Settings, SlowConsumer, Why, encoder};
use crate::Turn;
use crate::ledger::Account;
use crate::outbox::{Outbox, Written};
use crate::transport::WriteHalf;
use crate::turn::WriteOut;

/// A connection to send on; clones are the same connection.
///
/// It exists before the 101 has gone out: what is sent until then follows the 101.
#[derive(Clone, Debug)]
pub struct Socket(Rc<Shared>);

/// A [`Socket`] that may be gone.
#[derive(Clone, Debug)]
pub(crate) struct WeakSocket(Weak<Shared>);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Queued,
    /// The connection closes or has closed; the message goes nowhere.
    Closed,
}

/// What is due; see [`Deadlines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Ping,
    /// A look whether the ping was answered.
    Pong,
    /// A look how far the close is.
    Close,
    Settle,
    /// A look whether the client takes what waits for it.
    Taken,
    /// A look whether the client goes on with its message.
    Message,
    /// A look whether the client has gone that is not read.
    Unread,
}

#[derive(Debug)]
struct Shared {
    turn: Turn,
    deadlines: Deadlines,
    limit_bytes: usize,
    /// Whether the client has left more unread than an outbox may hold. Apart from `state`, since
    /// every publish looks at it for every subscriber.
    over: Cell<bool>,
    slow_consumer: Cell<SlowConsumer>,
    /// Apart too: every write looks at it.
    emptied: Cell<Emptied>,
    dirty: Cell<bool>,
    /// What the thread was told to wait for this client.
    noted_bytes: Cell<usize>,
    account: Account,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    write: Option<WriteHalf>,
    outbox: Outbox,
    phase: Phase,
    /// Why it ends; the first reason counts.
    why: Option<Why>,
    /// The reader task.
    task: Option<Waker>,
    /// The kernel takes nothing more for now.
    full: bool,
    /// The client was heard of since the last look.
    heard: bool,
    /// Messages are to be left unread.
    paused: bool,
    /// As that, since its client has sent more messages than it may.
    throttled: bool,
    /// A message was left unread.
    withheld: bool,
    /// Nothing is read, since memory is short.
    starved: bool,
    /// Close with this once everything read is handled.
    finish: Option<(CloseCode, &'static str)>,
    /// The reader waits until everything read is handled; `Some(true)` once it has waited enough.
    settling: Option<bool>,
    /// The backend was told of pressure.
    told_over: bool,
    /// Bytes that the kernel has taken of us, ever.
    written_bytes: u64,
    /// Where the client stands in a message that has not ended: changes with each byte of it.
    message: Option<u64>,
    looks: Looks,
}

/// Whether somebody waits for nothing to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Emptied {
    /// Nobody does.
    #[default]
    Unasked,
    /// Somebody does.
    Awaited,
    /// Nothing waited once since somebody does, who was not told.
    Untold,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Open,
    /// A close frame is on its way, or has gone. `deaf`: the client broke the protocol, so that
    /// nothing it says can be understood. `answered`: its close frame has come.
    Closing {
        close: Close,
        deaf: bool,
        answered: bool,
    },
    Ended(Close),
}

impl Socket {
    /// A connection whose 101 has not gone out.
    pub fn new(turn: &Turn, deadlines: &Deadlines, settings: &Settings) -> Self {
        Socket(Rc::new(Shared {
            turn: turn.clone(),
            deadlines: deadlines.clone(),
            limit_bytes: settings.outbox_limit_bytes,
            over: Cell::new(false),
            slow_consumer: Cell::new(settings.slow_consumer),
            emptied: Cell::default(),
            dirty: Cell::new(false),
            noted_bytes: Cell::new(0),
            account: Account::new(turn.ledger()),
            state: RefCell::default(),
        }))
    }

    /// Sends a message. `data` of a text must be UTF-8.
    #[inline]
    pub fn send(&self, kind: MessageKind, data: &[u8]) -> Sent {
        let mut state = self.0.state.borrow_mut();
        if !state.is_open() {
            return Sent::Closed;
        }
        let buffers = self.0.turn.buffers();
        state.outbox.put(buffers, |out| encoder::put_message(out, kind, data));
        drop(state);
        self.mark();
        Sent::Queued
    }

    /// Bytes that the client's socket does not take now.
    pub fn untaken_bytes(&self) -> usize {
        // What came in this turn has not been tried.
        self.0.write();
        self.waiting_bytes()
    }

    /// Has the backend told, once, when nothing waits any more. Not if the socket ends before.
    pub fn await_empty(&self) {
        self.0.emptied.set(Emptied::Awaited);
    }

    /// Bytes that wait for the client.
    pub fn waiting_bytes(&self) -> usize {
        self.0.state.borrow().outbox.bytes()
    }

    /// Whether the outbox is over its limit: the client reads too slowly.
    pub fn is_over(&self) -> bool {
        self.0.over.get()
    }

    /// Whether messages can still be sent.
    pub fn is_open(&self) -> bool {
        self.0.state.borrow().is_open()
    }

    /// Whether the client's socket has closed.
    pub fn has_ended(&self) -> bool {
        matches!(self.0.state.borrow().phase, Phase::Ended(_))
    }

    /// Sends a close frame behind what has been sent. What the client sends from now on is
    /// dropped. It may take what waits as long as it goes on with that, within `close_timeout`, and
    /// has a second to answer. Does nothing if the connection closes already.
    ///
    /// `code` must be one that may be sent, `reason` at most 123 bytes.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.begin_close(code, reason, Why::App);
    }

    /// As [`Socket::close`], when it is not the app that wants it.
    pub fn close_because(&self, code: CloseCode, reason: &str, why: &'static str) {
        self.begin_close(code, reason, Why::Given(why));
    }

    /// Why it ends, once it does.
    pub fn why(&self) -> Option<Why> {
        self.0.state.borrow().why.clone()
    }

    /// Closes a connection whose client reads too slowly: what has not begun to go out is dropped,
    /// so that the close frame has a chance.
    pub fn close_slow(&self, code: CloseCode, reason: &str) {
        let mut state = self.0.state.borrow_mut();
        if state.is_open() {
            state.outbox.discard(self.0.turn.buffers());
            drop(state);
            self.begin_close(code, reason, Why::TooSlow);
        }
    }

    /// Closes once everything that has been read is handled. Nothing more is read meanwhile.
    pub fn finish(&self, code: CloseCode, reason: &'static str) {
        let mut state = self.0.state.borrow_mut();
        state.finish = Some((code, reason));
        self.look_at_close(&mut state);
        drop(state);
        self.nudge();
    }

    /// Whether it waits for handlers to end: then [`Socket::nudge`] it when they do.
    pub fn is_finishing(&self) -> bool {
        let state = self.0.state.borrow();
        state.finish.is_some() || state.settling.is_some()
    }

    /// Leaves messages unread (`true`) or goes on. Control frames ahead of the first message that
    /// is left are still handled.
    pub fn pause(&self, paused: bool) {
        let mut state = self.0.state.borrow_mut();
        state.paused = paused;
        if !paused && state.withheld {
            state.wake();
        }
    }

    /// Wakes the reader task to look again.
    pub fn nudge(&self) {
        self.0.state.borrow_mut().wake();
    }

    /// Gives the socket its stream. The 101, `head`, goes out before all that was sent by now.
    pub(crate) fn open(&self, write: WriteHalf, head: Vec<u8>) {
        let mut state = self.0.state.borrow_mut();
        state.write = Some(write);
        state.outbox.put_first(head);
        if state.is_open() {
            self.0.deadlines.set(Due::Ping, self.downgrade());
        }
        drop(state);
        self.mark();
    }

    fn begin_close(&self, code: CloseCode, reason: &str, why: Why) {
        let mut state = self.0.state.borrow_mut();
        if !state.is_open() {
            return;
        }
        let buffers = self.0.turn.buffers();
        state.outbox.put(buffers, |out| encoder::put_close(out, Some((code, reason))));
        let close = Close { code, reason: reason.to_owned(), was_clean: false };
        // RFC 6455 §7.1.7: who broke the protocol is not listened to any more.
        // Nor is one whose memory is wanted back.
        let deaf = matches!(why, Why::Violation(_) | Why::HeldTooMuch);
        state.phase = Phase::Closing { close, deaf, answered: false };
        state.why.get_or_insert(why);
        state.wake();
        self.look_at_close(&mut state);
        drop(state);
        self.mark();
    }

    fn mark(&self) {
        if !self.0.dirty.replace(true) {
            self.0.turn.mark(self.0.clone());
        }
    }

    fn downgrade(&self) -> WeakSocket {
        WeakSocket(Rc::downgrade(&self.0))
    }
}

impl WeakSocket {
    pub(crate) fn upgrade(&self) -> Option<Socket> {
        self.0.upgrade().map(Socket)
    }
}

impl WriteOut for Shared {
    fn write_out(self: Rc<Self>) {
        self.dirty.set(false);
        self.write();
    }
}

impl Shared {
    fn write(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(write) = &state.write else { return };
        if state.full {
            // Nothing can be written, but what was queued meanwhile may be too much.
            return self.note_fill(state, false);
        }
        let before = state.outbox.bytes();
        let result = state.outbox.write_to(write, self.turn.buffers());
        state.written_bytes += (before - state.outbox.bytes()) as u64;
        match result {
            Ok(Written::All) => {
                state.on_all_written();
                if self.emptied.get() == Emptied::Awaited {
                    self.emptied.set(Emptied::Untold);
                    state.wake();
                }
            }
            Ok(Written::Full) => {
                state.full = true;
                state.wake();
                if !std::mem::replace(&mut state.looks.at_taken, true) {
                    self.deadlines.set(Due::Taken, WeakSocket(Rc::downgrade(self)));
                }
            }
            Err(error) => state.end(Why::Failed(error.kind())),
        }
        let has_moved = state.outbox.bytes() < before;
        self.note_fill(state, has_moved);
    }

    /// Over from the limit on, below again from half of it, so that it does not flicker.
    // As docs/decisions/0019 has it.
    #[inline(always)]
    fn note_fill(&self, state: &mut State, has_moved: bool) {
        let bytes = state.outbox.bytes();
        self.note_waiting(bytes);
        self.account.note_outgoing(state.outbox.held_bytes(), has_moved, || state.task.clone());
        let over =
            if self.over.get() { bytes > self.limit_bytes / 2 } else { bytes >= self.limit_bytes };
        self.over.set(over);
        if over != state.told_over {
            state.wake();
        }
    }

    fn note_waiting(&self, bytes: usize) {
        let before = self.noted_bytes.replace(bytes);
        if bytes != before {
            self.turn.note_waiting(before, bytes);
        }
    }
}

impl State {
    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the client's bytes are left in the kernel.
    fn is_unread(&self) -> bool {
        self.withheld || self.starved || self.finish.is_some() || self.settling.is_some()
    }

    fn wake(&mut self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    fn on_all_written(&mut self) {
        match &self.phase {
            Phase::Closing { answered: true, .. } => self.end(Why::Gone),
            // Dropping the half says that nothing more comes, which a client that broke the
            // protocol understands when it does not answer our close frame.
            Phase::Closing { deaf, .. } => {
                if *deaf {
                    self.write = None;
                }
                // The client may have ended before.
                self.wake();
            }
            Phase::Open | Phase::Ended(_) => {}
        }
    }

    /// `why` counts unless it was closing already.
    fn end(&mut self, why: Why) {
        self.why.get_or_insert(why);
        let close = match std::mem::take(&mut self.phase) {
            Phase::Open => {
                Close { code: CloseCode::ABNORMAL, reason: String::new(), was_clean: false }
            }
            Phase::Closing { close, .. } | Phase::Ended(close) => close,
        };
        self.phase = Phase::Ended(close);
        self.wake();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut outbox = std::mem::take(&mut self.state.get_mut().outbox);
        outbox.discard(self.turn.buffers());
        self.note_waiting(0);
    }
}
