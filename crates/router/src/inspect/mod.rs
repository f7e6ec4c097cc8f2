//! What others may learn of an I/O thread, and publish on it, by asking.
//!
//! The thread answers between two turns. Each question costs it a time that is bounded by the
//! question itself (a page, a number of channels) or by the requests under way and the workers;
//! none walks all connections.

pub(crate) mod answer;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use shovel_protocol::control::Published;
use shovel_protocol::{ConnectionUuid, MessageKind, SlowConsumer, WorkerId, WorkerIndex};
use tokio::sync::oneshot;

use crate::counts::{LatencySums, OfWorker, ThreadSums, WorkerSums};
use crate::driver::ToThread;
use crate::driver::mailbox::Sender;

/// A question to an I/O thread. Who asked and does not wait any more gets no answer.
#[derive(Debug)]
pub enum Inspect {
    /// What it has and has counted.
    Numbers(oneshot::Sender<Numbers>),
    /// Its channels with the most subscribers.
    Channels {
        /// At most so many.
        limit: usize,
        /// Where to answer.
        answer: oneshot::Sender<ChannelList>,
    },
    /// Some of its connections.
    Connections {
        /// Which.
        range: Range,
        /// Where to answer.
        answer: oneshot::Sender<Page>,
    },
    /// Publish a message to the subscribers of all threads.
    Publish {
        /// To whom.
        channel: Box<str>,
        /// Text must be UTF-8.
        kind: MessageKind,
        /// The message.
        data: Bytes,
        /// Where to tell what became of it.
        answer: oneshot::Sender<Published>,
    },
}

/// The way to ask one I/O thread; clones ask the same.
#[derive(Clone, Debug)]
pub struct Inspector(pub(crate) Sender<ToThread>);

/// What a thread has and has counted, or several together.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Of each worker that has a link.
    pub workers: BTreeMap<WorkerId, WorkerNumbers>,
    /// Of each place, by its index: all workers that ever had it.
    pub places: BTreeMap<WorkerIndex, WorkerSums>,
    /// Of the thread.
    pub thread: ThreadSums,
    /// Of all requests that were answered.
    pub latencies: LatencySums,
    /// Sockets of clients, WebSockets among them.
    pub clients: u64,
    /// So many of them may be there.
    pub client_limit: u64,
    /// Clients that were ever accepted.
    pub accepted: u64,
    /// WebSockets that no worker has: they sleep, or wait for one.
    pub unowned: u64,
    /// Bytes of messages that are kept until a handler has finished with them.
    pub kept_bytes: u64,
    /// Bytes that are held because of clients.
    pub client_memory_bytes: u64,
    /// So many may be.
    pub client_memory_limit_bytes: u64,
    /// Requests that wait for a ready worker.
    pub requests_waiting: u64,
    /// Channels that have subscribers. One that has some on several threads counts on each.
    pub channels: u64,
    /// Subscriptions to them.
    pub subscriptions: u64,
    /// Bytes that wait for WebSocket clients.
    pub outbox_bytes: u64,
    /// Bytes that wait to be published to this thread's subscribers, from other threads.
    pub crossing_bytes: u64,
}

/// What a worker has now, and has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerNumbers {
    /// WebSockets that it owns.
    pub connections: u64,
    /// Requests under way.
    pub requests: u64,
    /// Bytes that wait to be written to it.
    pub waiting_bytes: u64,
    /// What it has done.
    pub sums: WorkerSums,
}

/// Channels of a thread, or of several.
#[derive(Clone, Debug, Default)]
pub struct ChannelList {
    /// Those with the most subscribers first, then by name.
    pub channels: Vec<ChannelView>,
    /// How many there are in all.
    pub total: u64,
}

/// A channel that has subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelView {
    /// Its name.
    pub name: String,
    /// Connections that are subscribed.
    pub connections: u64,
    /// Workers that are subscribed themselves.
    pub workers: u64,
}

/// Which connections to tell of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// From this place of the table on.
    pub place: u32,
    /// At most so many.
    pub limit: usize,
    /// Of this worker alone.
    pub worker: Option<WorkerId>,
}

/// Some connections, and where the next begin.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order of the table.
    pub connections: Vec<ConnectionView>,
    /// The place to go on from; `None` at the end. Connections that come or go between two pages
    /// may be missed.
    pub next: Option<u32>,
}

/// A connection as an operator sees it.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// As apps and logs name it; tells when it began.
    pub uuid: ConnectionUuid,
    /// Its owner; `None` while it waits for one.
    pub worker: Option<WorkerId>,
    /// `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Path and query of the upgrade.
    pub url: String,
    /// What it is subscribed to, the first of them.
    pub channels: Vec<String>,
    /// What it is subscribed to, all of it.
    pub subscriptions: usize,
    /// Bytes that wait for its client.
    pub outbox_bytes: usize,
    /// What becomes of what is published to it when it reads too slowly, if its app has chosen that.
    pub slow_consumer: Option<SlowConsumer>,
    /// Messages that its owner has and has not finished.
    pub uncommitted: u64,
    /// Whether its client is not read for now.
    pub is_paused: bool,
}

impl Inspector {
    /// What it has and has counted; `None` if it has ended.
    pub async fn numbers(&self) -> Option<Numbers> {
        self.ask(Inspect::Numbers).await
    }

    /// Its channels with the most subscribers, at most `limit`; `None` if it has ended.
    pub async fn channels(&self, limit: usize) -> Option<ChannelList> {
        self.ask(|answer| Inspect::Channels { limit, answer }).await
    }

    /// Some of its connections; `None` if it has ended.
    pub async fn connections(&self, range: Range) -> Option<Page> {
        self.ask(|answer| Inspect::Connections { range, answer }).await
    }

    /// Publishes to the subscribers of all threads; `None` if it has ended. Ask one thread alone.
    /// `data` of a text must be UTF-8.
    pub async fn publish(
        &self,
        channel: &str,
        kind: MessageKind,
        data: Bytes,
    ) -> Option<Published> {
        let channel = channel.into();
        self.ask(|answer| Inspect::Publish { channel, kind, data, answer }).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Inspect) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let is_asked = self.0.send(ToThread::Inspect(question(answer)));
        if is_asked { answered.await.ok() } else { None }
    }
}

impl std::ops::AddAssign for Numbers {
    fn add_assign(&mut self, other: Self) {
        for (worker, more) in other.workers {
            let mine = self.workers.entry(worker).or_default();
            mine.connections += more.connections;
            mine.requests += more.requests;
            mine.waiting_bytes += more.waiting_bytes;
            mine.sums += more.sums;
        }
        for (place, more) in other.places {
            *self.places.entry(place).or_default() += more;
        }
        self.thread += other.thread;
        self.latencies += other.latencies;
        self.clients += other.clients;
        self.client_limit = self.client_limit.saturating_add(other.client_limit);
        self.accepted += other.accepted;
        self.unowned += other.unowned;
        self.kept_bytes += other.kept_bytes;
        self.client_memory_bytes += other.client_memory_bytes;
        let limit = &mut self.client_memory_limit_bytes;
        *limit = limit.saturating_add(other.client_memory_limit_bytes);
        self.requests_waiting += other.requests_waiting;
        self.channels += other.channels;
        self.subscriptions += other.subscriptions;
        self.outbox_bytes += other.outbox_bytes;
        self.crossing_bytes += other.crossing_bytes;
    }
}

impl Numbers {
    /// What all workers together have done.
    pub fn all(&self) -> WorkerSums {
        let mut all = WorkerSums::default();
        self.places.values().for_each(|sums| all += *sums);
        all
    }

    /// WebSockets, those that no worker has among them.
    pub fn connections(&self) -> u64 {
        let owned: u64 = self.workers.values().map(|worker| worker.connections).sum();
        owned + self.unowned
    }

    /// Requests that workers have.
    pub fn requests(&self) -> u64 {
        self.workers.values().map(|worker| worker.requests).sum()
    }

    /// Connections that were ever closed because their client read too slowly.
    pub fn slow_consumers(&self) -> u64 {
        self.all().of(OfWorker::SlowConsumers)
    }
}

impl ChannelList {
    /// Adds another thread's: subscribers of one channel are counted together.
    pub fn merge(&mut self, other: ChannelList) {
        let all_told = self.is_whole() && other.is_whole();
        let most = self.total.max(other.total);
        for view in other.channels {
            match self.channels.iter_mut().find(|mine| mine.name == view.name) {
                Some(mine) => {
                    mine.connections += view.connections;
                    // A worker subscribes on each thread or on none.
                    mine.workers = mine.workers.max(view.workers);
                }
                None => self.channels.push(view),
            }
        }
        self.channels.sort_by(|a, b| {
            let size = |view: &ChannelView| view.connections + view.workers;
            size(b).cmp(&size(a)).then_with(|| a.name.cmp(&b.name))
        });
        let told = self.channels.len() as u64;
        // Else it is not known how many of them are the same.
        self.total = if all_told { told } else { most.max(told) };
    }

    fn is_whole(&self) -> bool {
        self.channels.len() as u64 == self.total
    }
}
