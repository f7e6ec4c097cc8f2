//! What a supervisor knows of its workers: requests, connections, channels. No IO.
//!
//! Rooms: [`frames`] what workers say, [`requests`], [`clients`] each with its connection,
//! [`effects`] what handlers do to connections and channels, [`moving`] how a connection comes from
//! one worker to another.

mod clients;
mod effects;
mod frames;
mod moving;
mod requests;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use shovel_link::{Socket, Written};
use shovel_protocol::{RequestId, ToWorker, WorkerId};
use tokio::sync::Notify;

use self::clients::Client;
use self::worker::{Leaving, Life, Worker};
use super::exchange::Exchange;
use crate::Message;

pub(super) use self::moving::Question;

/// The supervisor's default of `--max-message-size`.
pub(super) const MAX_MESSAGE_BYTES: u64 = 16 * 1024 * 1024;

/// All that the workers have been told and have told.
///
/// What a test does not look at is kept until its end; bodies of responses are bounded by their
/// window.
#[derive(Default)]
pub(super) struct State {
    workers: BTreeMap<WorkerId, Worker>,
    /// The worker that is given what is new.
    serving: Option<WorkerId>,
    /// Another is about to be, though there is none now.
    is_replacing: bool,
    exchanges: HashMap<RequestId, Exchange>,
    clients: BTreeMap<u32, Client>,
    published: HashMap<Box<str>, VecDeque<Message>>,
    /// Connections that wait until a worker has no other suspect.
    waiting_suspects: BTreeSet<u32>,
    /// What workers were asked, for somebody to see that they answer.
    questions: Vec<Question>,
}

impl State {
    /// A worker starts. Returns its name, and what tells that there is something to write to it.
    pub(super) fn join(&mut self, generation: u32) -> (WorkerId, Arc<Notify>) {
        let id = WorkerId(self.workers.len() as u32 + 1);
        let mut worker = Worker::default();
        worker.say_hello(id.0, generation);
        let filled = worker.filled.clone();
        self.workers.insert(id, worker);
        (id, filled)
    }

    /// Whether a worker takes work, once that is known.
    pub(super) fn started(&self, id: WorkerId) -> Option<bool> {
        let life = self.workers.get(&id)?.life;
        (life != Life::Starting).then_some(life == Life::Ready)
    }

    /// The worker that is given what is new.
    pub(super) fn serving(&self) -> Option<WorkerId> {
        self.serving
    }

    fn serving_worker(&self) -> Option<&Worker> {
        self.workers.get(&self.serving?)
    }

    pub(super) fn shut_down(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.leaving != Some(Leaving::Stopping)
        {
            worker.leaving = Some(Leaving::Stopping);
            worker.tell(&ToWorker::Shutdown);
        }
    }

    /// Nothing comes of a worker any more.
    pub(super) fn end(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.life != Life::Ended)
        else {
            return;
        };
        worker.life = Life::Ended;
        worker.subscriptions.clear();
        let is_replaced = self.is_replacing || self.serving.is_some_and(|serving| serving != id);
        for exchange in self.exchanges.values_mut().filter(|exchange| exchange.worker == id) {
            exchange.lose(is_replaced);
        }
        if is_replaced {
            self.orphan_all(id);
        }
    }

    /// Nothing comes of any worker any more.
    pub(super) fn end_all(&mut self) {
        self.is_replacing = false;
        self.workers.values_mut().for_each(|worker| worker.life = Life::Ended);
        self.exchanges.values_mut().for_each(|exchange| exchange.lose(false));
    }

    pub(super) fn has_ended(&self, id: WorkerId) -> Option<()> {
        self.workers.get(&id).is_none_or(|worker| worker.life == Life::Ended).then_some(())
    }

    /// Whether nothing more is to be expected of anybody.
    pub(super) fn have_all_ended(&self) -> bool {
        !self.is_replacing && self.workers.values().all(|worker| worker.life == Life::Ended)
    }

    /// Writes what there is for a worker.
    pub(super) fn write_to(&mut self, id: WorkerId, socket: &Socket) -> std::io::Result<Written> {
        let worker = self.workers.get_mut(&id);
        worker.map_or(Ok(Written::All), |worker| worker.outgoing.write_to(socket))
    }

    /// Sees to what may follow from what has just changed. Returns what workers were asked.
    pub(super) fn look_after(&mut self) -> Vec<Question> {
        self.retry_suspects();
        let left: Vec<_> = self
            .workers
            .iter()
            .filter(|(id, worker)| {
                worker.leaving == Some(Leaving::Draining) && !self.has_work(**id)
            })
            .map(|(id, _)| *id)
            .collect();
        left.into_iter().for_each(|id| self.shut_down(id));
        std::mem::take(&mut self.questions)
    }

    fn has_work(&self, id: WorkerId) -> bool {
        let is_asked = |exchange: &Exchange| exchange.worker == id && !exchange.is_answered;
        self.exchanges.values().any(is_asked)
            || self.clients.values().any(|client| client.owner() == Some(id))
    }

    fn tell(&mut self, id: WorkerId, frame: &ToWorker<'_>) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.tell(frame);
        }
    }
}
