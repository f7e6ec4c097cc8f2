//! One link to the supervisor: what waits to be written, and whom its frames are about.
//!
//! Locks are taken in this order and none is held across an await: exchange or upload or tenure or
//! switchboard, then table, then batch.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use shovel_link::{Outgoing, Socket, Written};
use shovel_protocol::control::Welcome;
use shovel_protocol::id::ConnectionId;
use shovel_protocol::{PublishToken, ToSupervisor, to_supervisor};
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
    pub(crate) max_message_bytes: usize,
    pub(crate) body_window_bytes: u32,
    batch: Mutex<Batch>,
    filled: Notify,
    /// Told after each write.
    written: Notify,
    questions: AtomicU32,
}

#[derive(Default)]
struct Batch {
    outgoing: Outgoing,
    /// How often bytes have been written: places of before may be on their way already.
    writes: u64,
    ended: bool,
}

/// Where a frame stands in the batch.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    start: usize,
    writes: u64,
}

impl Link {
    pub(crate) fn new(welcome: &Welcome) -> Self {
        Link {
            accepted: Mutex::default(),
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

    /// Puts a frame there if there is room. Returns its place, unless it goes out in pieces.
    pub(crate) fn try_put(&self, id: u64, frame: &ToSupervisor<'_>) -> Result<Option<Place>, Full> {
        let mut batch = lock(&self.batch);
        if batch.outgoing.waiting_bytes() >= WAITING_BYTES {
            return Err(Full);
        }
        Ok(self.put_in(&mut batch, id, frame))
    }

    /// Says that a connection's handlers have finished up to `seq`. `last_send`: where its last
    /// send stands, if that may say so itself.
    pub(crate) fn commit(&self, connection: ConnectionId, seq: u64, last_send: Option<Place>) {
        let mut batch = lock(&self.batch);
        if let Some(place) = last_send
            && place.writes == batch.writes
            && to_supervisor::mark_last(batch.outgoing.tail(place.start), 0, connection)
        {
            return;
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

    /// Told after each write: look again whether there is room.
    pub(crate) fn room(&self) -> &Notify {
        &self.written
    }

    /// Waits until there is room.
    pub(crate) async fn wait_for_room(&self) {
        self.wait_until_at_most(WAITING_BYTES - 1).await;
    }

    /// Waits until everything is written.
    pub(crate) async fn flushed(&self) {
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

    fn put_in(&self, batch: &mut Batch, id: u64, frame: &ToSupervisor<'_>) -> Option<Place> {
        if batch.ended {
            return None;
        }
        if batch.outgoing.is_empty() {
            self.filled.notify_one();
        }
        let start = batch.outgoing.put(id, |out| frame.put(out))?;
        Some(Place { start, writes: batch.writes })
    }
}

/// No room on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The task that writes a link's batches: the only one, for two would interleave after a write
/// that took a part.
pub(crate) struct Flusher {
    pub(crate) link: Arc<Link>,
    pub(crate) socket: Arc<Socket>,
}

impl Flusher {
    /// Writes until the link fails.
    pub(crate) async fn run(self) -> RunError {
        loop {
            self.link.filled.notified().await;
            // Whoever put the first frame has more: without this every batch would be one frame.
            yield_now().await;
            if let Err(error) = self.flush().await {
                return match error.kind() {
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        RunError::SupervisorGone
                    }
                    _ => RunError::Link(error),
                };
            }
        }
    }

    async fn flush(&self) -> io::Result<()> {
        loop {
            let written = {
                let mut batch = lock(&self.link.batch);
                batch.writes += 1;
                batch.outgoing.write_to(&self.socket)?
            };
            self.link.written.notify_waiters();
            match written {
                Written::All => return Ok(()),
                Written::Full => self.socket.writable().await?,
            }
        }
    }
}
