//! One link to the supervisor: what waits to be written, and whom its frames are about.
//!
//! Locks are taken in this order and none is held across an await: exchange or upload or tenure or
//! switchboard, then table, then batch.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use shovel_link::{Outgoing, Socket, Written};
use shovel_protocol::control::Welcome;
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::id::LeaseId;
use shovel_protocol::{PublishToken, ToSupervisor, WsSend, to_supervisor};
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::exchange::Exchange;
use super::table::Table;
use crate::lock::lock;
use crate::{Connection, RunError};

/// Above this sends, publishes and bodies wait. Frames that answer the supervisor, commits and
/// subscriptions do not: the supervisor's windows bound how many there are.
const WAITING_BYTES: usize = 1024 * 1024;

/// The writing half of a link and its tables.
pub(crate) struct Link {
    /// Connections that the reader has not seen yet; see [`super::connections`].
    pub(crate) accepted: Mutex<Vec<Connection>>,
    pub(crate) exchanges: Mutex<Table<Arc<Exchange>>>,
    /// Connections that this worker has: accepted or adopted, and neither closed nor given back.
    open: AtomicUsize,
    /// Told when one of them has ended.
    ended: Notify,
    /// Connections that were given back and that the reader still knows.
    left: Mutex<Vec<LeaseId>>,
    /// The supervisor can have connections adopted.
    pub(crate) moves: bool,
    /// The supervisor tells what waits for a client, and can be told how to treat one that reads too
    /// slowly.
    pub(crate) tells_outbox: bool,
    pub(crate) max_message_bytes: usize,
    pub(crate) body_window_bytes: u32,
    batch: Mutex<Batch>,
    filled: Notify,
    /// Told when less waits than before.
    written: Notify,
    questions: AtomicU32,
}

#[derive(Default)]
struct Batch {
    outgoing: Outgoing,
    /// The last frame, if it is a send as a whole that is not on its way yet and commits nothing.
    last_send: Option<LastSend>,
    ended: bool,
}

struct LastSend {
    connection: LeaseId,
    /// Where it stands in the batch.
    start: usize,
}

impl Link {
    pub(crate) fn new(welcome: &Welcome, supervisor: Capabilities) -> Self {
        Link {
            accepted: Mutex::default(),
            open: AtomicUsize::new(0),
            ended: Notify::new(),
            left: Mutex::default(),
            moves: supervisor.contains(Capabilities::ADOPT),
            tells_outbox: supervisor.contains(Capabilities::OUTBOX),
            exchanges: Mutex::default(),
            max_message_bytes: usize::try_from(welcome.max_message_bytes).unwrap_or(usize::MAX),
            body_window_bytes: welcome.body_window_bytes,
            batch: Mutex::default(),
            filled: Notify::new(),
            written: Notify::new(),
            questions: AtomicU32::new(0),
        }
    }

    /// Puts a frame into the batch, behind all that was put there for the same id.
    pub(crate) fn put(&self, id: u64, frame: &ToSupervisor<'_>) {
        self.put_in(&mut lock(&self.batch), id, frame);
    }

    /// Puts a frame there if there is room.
    #[inline]
    pub(crate) fn try_put(&self, id: u64, frame: &ToSupervisor<'_>) -> Result<(), Full> {
        let mut batch = lock(&self.batch);
        if batch.outgoing.waiting_bytes() >= WAITING_BYTES {
            return Err(Full);
        }
        self.put_in(&mut batch, id, frame);
        Ok(())
    }

    /// Puts a message there if there is room and it still `is` so. `false` if it is not.
    #[inline]
    pub(crate) fn try_send_while(&self, is: &AtomicBool, send: WsSend<'_>) -> Result<bool, Full> {
        let mut batch = lock(&self.batch);
        if !is.load(Ordering::Acquire) {
            return Ok(false);
        }
        if batch.outgoing.waiting_bytes() >= WAITING_BYTES {
            return Err(Full);
        }
        let start = batch.put(&self.filled, send.connection.to_wire(), |out| send.put(out));
        batch.last_send = LastSend::new(send, start);
        Ok(true)
    }

    /// Puts whole frames of one id there, in a row.
    pub(crate) fn put_frames(&self, id: u64, write: impl FnOnce(&mut Vec<u8>)) {
        lock(&self.batch).put(&self.filled, id, write);
    }

    /// Puts whole frames of one id there if there is room; else `write` is not called.
    pub(crate) fn try_put_frames(
        &self,
        id: u64,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Full> {
        let mut batch = lock(&self.batch);
        if batch.outgoing.waiting_bytes() >= WAITING_BYTES {
            return Err(Full);
        }
        batch.put(&self.filled, id, write);
        Ok(())
    }

    /// A connection was given back.
    pub(crate) fn left(&self, connection: LeaseId) {
        lock(&self.left).push(connection);
        self.count_out();
    }

    /// This worker has one more connection.
    pub(crate) fn count_in(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// It has one less.
    pub(crate) fn count_out(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.ended.notify_waiters();
    }

    /// Waits until this worker has no connection on this link.
    pub(crate) async fn emptied(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// The connections that were given back since this was asked last.
    pub(crate) fn take_left(&self) -> Vec<LeaseId> {
        std::mem::take(&mut lock(&self.left))
    }

    /// Says that a connection's handlers have finished up to `seq`. `is_next`: that is the number
    /// after the one of the last commit, which a send can say too if nothing came behind it.
    #[inline]
    pub(crate) fn commit(&self, connection: LeaseId, seq: u64, is_next: bool) {
        let mut batch = lock(&self.batch);
        let last = batch.last_send.take();
        if let Some(last) = last.filter(|last| is_next && last.connection == connection) {
            return to_supervisor::mark_last(batch.outgoing.tail(last.start));
        }
        let commit = ToSupervisor::Commit { connection, seq };
        self.put_in(&mut batch, connection.to_wire(), &commit);
    }

    /// A token for a publish by nobody in particular that goes out in pieces, which are told from
    /// those of others by it.
    pub(crate) fn token_for_pieces(&self) -> PublishToken {
        let question = self.questions.fetch_add(1, Ordering::Relaxed) | 1 << 31;
        PublishToken { publisher: 0, question }
    }

    /// Whether nothing waits to be written.
    fn is_written(&self) -> bool {
        lock(&self.batch).outgoing.is_empty()
    }

    /// Told when less waits than before: look again whether there is room.
    pub(crate) fn room(&self) -> &Notify {
        &self.written
    }

    /// Waits until there is room.
    pub(crate) async fn wait_for_room(&self) {
        self.wait_until_at_most(WAITING_BYTES - 1).await;
    }

    /// Waits until everything is written.
    pub(crate) async fn written(&self) {
        self.wait_until_at_most(0).await;
    }

    /// The link is gone and its reader dropped: nothing is put any more, and whoever waits goes on.
    pub(crate) fn end(&self) {
        *lock(&self.batch) = Batch { ended: true, ..Batch::default() };
        let accepted = std::mem::take(&mut *lock(&self.accepted));
        accepted.iter().for_each(|connection| connection.tenure.socket_closed());
        let exchanges = lock(&self.exchanges).take_all();
        exchanges.iter().for_each(|exchange| drop(exchange.cancel()));
        self.written.notify_waiters();
    }

    /// Writes what there is, as far as the socket takes it now.
    ///
    /// Reader and writer both do: how far a batch is written stands in it, under its lock. A batch
    /// that is not empty has woken the writer, so what the socket does not take is the writer's,
    /// which alone waits for it.
    pub(super) fn write(&self, socket: &Socket) -> io::Result<Written> {
        let mut batch = lock(&self.batch);
        let before = batch.outgoing.waiting_bytes();
        if before == 0 {
            return Ok(Written::All);
        }
        batch.last_send = None;
        let written = batch.outgoing.write_to(socket)?;
        let is_less = batch.outgoing.waiting_bytes() < before;
        drop(batch);
        if is_less {
            self.written.notify_waiters();
        }
        Ok(written)
    }

    async fn wait_until_at_most(&self, bytes: usize) {
        loop {
            if lock(&self.batch).outgoing.waiting_bytes() <= bytes {
                return;
            }
            let mut written = std::pin::pin!(self.written.notified());
            written.as_mut().enable();
            if lock(&self.batch).outgoing.waiting_bytes() > bytes {
                written.await;
            }
        }
    }

    #[inline]
    fn put_in(&self, batch: &mut Batch, id: u64, frame: &ToSupervisor<'_>) {
        let start = batch.put(&self.filled, id, |out| frame.put(out));
        batch.last_send = match frame {
            ToSupervisor::Act(act) => act.as_send().and_then(|send| LastSend::new(send, start)),
            _ => None,
        };
    }
}

impl LastSend {
    #[inline]
    fn new(send: WsSend<'_>, start: Option<usize>) -> Option<LastSend> {
        let connection = send.connection;
        start.filter(|_| !send.last).map(|start| LastSend { connection, start })
    }
}

impl Batch {
    /// Puts whole frames of one id behind all that there is; returns where they begin, unless they
    /// go out in pieces.
    fn put(&mut self, filled: &Notify, id: u64, write: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        if self.ended {
            return None;
        }
        if self.outgoing.is_empty() {
            filled.notify_one();
        }
        self.last_send = None;
        self.outgoing.put(id, write)
    }
}

/// No room on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The task that writes what the link's reader does not: what others have put, and what the socket
/// did not take at once.
pub(crate) struct Writer {
    pub(crate) link: Arc<Link>,
    pub(crate) socket: Arc<Socket>,
}

impl Writer {
    /// Writes until the link fails.
    pub(crate) async fn run(self) -> RunError {
        loop {
            self.link.filled.notified().await;
            if self.link.is_written() {
                continue;
            }
            // Whoever put the first frame has more: without this every batch would be one frame.
            yield_now().await;
            if let Err(error) = self.write().await {
                return failed(error);
            }
        }
    }

    async fn write(&self) -> io::Result<()> {
        loop {
            match self.link.write(&self.socket)? {
                Written::All => return Ok(()),
                Written::Full => self.socket.writable().await?,
            }
        }
    }
}

/// What a write that failed means.
pub(super) fn failed(error: io::Error) -> RunError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => RunError::SupervisorGone,
        _ => RunError::Link(error),
    }
}

#[cfg(test)]
mod tests;
