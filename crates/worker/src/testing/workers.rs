//! Workers, and what is on its way to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use shovel_link::{Outgoing, Socket, Written};
use shovel_protocol::control::Welcome;
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::{ToWorker, WorkerId};
use tokio::sync::Notify;

use super::exchange::WINDOW_BYTES;

/// The supervisor's default of `--max-message-size`.
pub(super) const MAX_MESSAGE_BYTES: u64 = 16 * 1024 * 1024;

/// All workers that there were.
#[derive(Default)]
pub(super) struct Workers(BTreeMap<WorkerId, Worker>);

#[derive(Default)]
struct Worker {
    outgoing: Outgoing,
    /// Told when there is something to write.
    filled: Arc<Notify>,
    life: Life,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Life {
    #[default]
    Starting,
    Ready,
    /// It was told to shut down.
    Stopping,
    Ended,
}

impl Workers {
    /// One more is to start. Returns its name.
    pub(super) fn join(&mut self, generation: u32) -> WorkerId {
        let id = WorkerId(self.0.len() as u32 + 1);
        let welcome = Welcome {
            worker: id.0,
            index: 0,
            generation,
            link: 0,
            links: 1,
            max_message_bytes: MAX_MESSAGE_BYTES,
            body_window_bytes: WINDOW_BYTES,
            dev: false,
        };
        self.0.insert(id, Worker::default());
        self.tell(id, &ToWorker::hello(Capabilities::ADOPT.and(Capabilities::OUTBOX), welcome));
        id
    }

    pub(super) fn life(&self, id: WorkerId) -> Life {
        self.0.get(&id).map_or(Life::Ended, |worker| worker.life)
    }

    /// Changes its life. Returns what it was before.
    pub(super) fn set_life(&mut self, id: WorkerId, life: Life) -> Life {
        let worker = self.0.get_mut(&id);
        worker.map_or(Life::Ended, |worker| std::mem::replace(&mut worker.life, life))
    }

    /// Whether nothing more is to be expected of anybody.
    pub(super) fn have_all_ended(&self) -> bool {
        self.0.values().all(|worker| worker.life == Life::Ended)
    }

    /// Ends all; returns who they are.
    pub(super) fn end_all(&mut self) -> Vec<WorkerId> {
        self.0.values_mut().for_each(|worker| worker.life = Life::Ended);
        self.0.keys().copied().collect()
    }

    pub(super) fn tell(&mut self, id: WorkerId, frame: &ToWorker<'_>) {
        if let Some(worker) = self.0.get_mut(&id) {
            worker.outgoing.put(frame.lane(), |batch| frame.put(batch));
            worker.filled.notify_one();
        }
    }

    /// What tells that there is something to write to a worker.
    pub(super) fn filled(&self, id: WorkerId) -> Arc<Notify> {
        self.0.get(&id).map(|worker| worker.filled.clone()).unwrap_or_default()
    }

    /// Writes what there is for a worker.
    pub(super) fn write_to(&mut self, id: WorkerId, socket: &Socket) -> std::io::Result<Written> {
        let worker = self.0.get_mut(&id);
        worker.map_or(Ok(Written::All), |worker| worker.outgoing.write_to(socket))
    }
}
