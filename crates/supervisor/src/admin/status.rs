//! What operators read of the pool, put together from what the driver and the I/O threads say.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shovel_core::fleet::{ReloadState, WorkerState, WorkerView};
use shovel_protocol::WorkerId;
use shovel_router::counts::{OfThread, OfWorker};
use shovel_router::inspect::{ChannelList, ConnectionView, Numbers, Range};

use super::Admin;
use super::desk::{Desk, NoAnswer, View};
use super::wire::{self, CHANNELS, Connection, Connections, Cursor, PAGE, Status};
use crate::worker::memory::{allocated_bytes, resident_bytes};

/// The pool at one moment.
pub struct Snapshot {
    pub view: View,
    pub numbers: Numbers,
}

impl Snapshot {
    /// Asks for it.
    ///
    /// # Errors
    /// If the pool is ending or hangs.
    pub async fn take(desk: &Desk) -> Result<Self, NoAnswer> {
        let (view, numbers) = tokio::try_join!(desk.view(), desk.numbers())?;
        Ok(Snapshot { view, numbers })
    }
}

/// The status.
///
/// # Errors
/// As [`Snapshot::take`].
pub(super) async fn status(admin: &Admin) -> Result<Status, NoAnswer> {
    let Admin { desk, facts } = admin;
    let (snapshot, channels) = tokio::try_join!(Snapshot::take(desk), desk.channels(CHANNELS))?;
    let Snapshot { view, numbers } = &snapshot;
    let pid = std::process::id();
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid,
        program: facts.program.clone(),
        uptime: seconds_between(view.started, view.now),
        generation: view.generation.0,
        terminating: view.is_ending,
        listen: facts.listen.clone(),
        admin_socket: facts.admin_socket.clone(),
        admin_listen: facts.admin_listen.map(|address| format!("http://{address}")),
        io_threads: desk.threads(),
        rss_bytes: resident_bytes(pid) as u64,
        allocated_bytes: allocated_bytes().map(|bytes| bytes as u64),
        reload: reload(view),
        workers_wanted: view.wanted,
        workers_asleep: view.asleep,
        workers: view.workers.iter().map(|worker| self::worker(worker, &snapshot)).collect(),
        restarting: view
            .pauses
            .iter()
            .map(|(index, at)| wire::Restarting {
                index: index.0,
                within: seconds_between(view.now, *at),
            })
            .collect(),
        connections: numbers.connections(),
        channels: self::channels(channels),
        totals: totals(&snapshot),
    })
}

/// A page of the connections, of one thread after the other.
///
/// # Errors
/// As [`Snapshot::take`].
pub(super) async fn connections(
    desk: &Desk,
    mut from: Cursor,
    limit: usize,
    worker: Option<u32>,
) -> Result<Connections, NoAnswer> {
    let (limit, worker) = (limit.min(PAGE), worker.map(WorkerId));
    let mut page = Connections::default();
    // One question to a thread, so that an answer never waits for a long search.
    let range = Range { place: from.place, limit, worker };
    let Some(found) = desk.connections(from.thread, range).await? else { return Ok(page) };
    page.connections = found.connections.into_iter().map(connection).collect();
    match found.next {
        Some(place) => from.place = place,
        None => from = Cursor { thread: from.thread + 1, place: 0 },
    }
    page.next = (from.thread < desk.threads()).then_some(from);
    Ok(page)
}

fn reload(view: &View) -> wire::Reload {
    let history = &view.history;
    wire::Reload {
        state: match view.reload {
            ReloadState::Idle => wire::ReloadState::Idle,
            ReloadState::Starting { .. } => wire::ReloadState::Starting,
            ReloadState::Draining { .. } => wire::ReloadState::Draining,
            ReloadState::Abandoned { .. } => wire::ReloadState::Abandoned,
        },
        last: history.last_reload.as_ref().map(|ended| wire::LastReload {
            generation: ended.generation.map(|generation| generation.0),
            outcome: match (&ended.outcome, ended.generation) {
                (Ok(_), _) => wire::ReloadOutcome::Finished,
                (Err(_), Some(_)) => wire::ReloadOutcome::Abandoned,
                (Err(_), None) => wire::ReloadOutcome::Refused,
            },
            why: ended.outcome.as_ref().err().cloned(),
            took: ended.outcome.as_ref().ok().map(Duration::as_secs_f64),
            ago: seconds_between(ended.at, view.now),
        }),
        finished: history.reloads_finished,
        abandoned: history.reloads_abandoned,
        refused: history.reloads_refused,
    }
}

fn worker(worker: &WorkerView, snapshot: &Snapshot) -> wire::Worker {
    let now = snapshot.view.now;
    let numbers = snapshot.numbers.workers.get(&worker.id).copied().unwrap_or_default();
    let sent = [OfWorker::MessagesSent, OfWorker::Published];
    wire::Worker {
        id: worker.id.0,
        index: worker.index.0,
        generation: worker.generation.0,
        pid: worker.pid,
        state: match worker.state {
            WorkerState::Starting => wire::WorkerState::Starting,
            WorkerState::Ready => wire::WorkerState::Ready,
            WorkerState::Draining => wire::WorkerState::Draining,
            WorkerState::Stopping => wire::WorkerState::Stopping,
        },
        age: seconds_between(worker.started, now),
        in_state: seconds_between(worker.since, now),
        connections: numbers.connections,
        requests_under_way: numbers.requests,
        requests: numbers.sums.of(OfWorker::Requests),
        messages_received: numbers.sums.of(OfWorker::MessagesReceived),
        messages_sent: sent.map(|what| numbers.sums.of(what)).iter().sum(),
        waiting_bytes: numbers.waiting_bytes,
        rss_bytes: worker.pid.map_or(0, resident_bytes) as u64,
        restarts: worker.restarts,
    }
}

fn channels(list: ChannelList) -> wire::Channels {
    let largest = list.channels.into_iter().map(|channel| wire::Channel {
        name: channel.name,
        connections: channel.connections,
        workers: channel.workers,
    });
    wire::Channels { total: list.total, largest: largest.collect() }
}

fn totals(snapshot: &Snapshot) -> wire::Totals {
    let Snapshot { view, numbers } = snapshot;
    let all = numbers.all();
    wire::Totals {
        clients: numbers.clients,
        clients_accepted: numbers.accepted,
        connections_opened: all.of(OfWorker::Upgrades),
        requests: all.of(OfWorker::Requests),
        requests_under_way: numbers.requests(),
        requests_waiting: numbers.requests_waiting,
        server_errors: numbers.thread.of(OfThread::ServerErrors),
        messages_received: all.of(OfWorker::MessagesReceived),
        messages_sent: all.of(OfWorker::MessagesSent),
        published: all.of(OfWorker::Published),
        delivered: numbers.thread.of(OfThread::Delivered),
        slow_consumers: all.of(OfWorker::SlowConsumers),
        worker_restarts: view.history.restarts.values().sum(),
        outbox_bytes: numbers.outbox_bytes,
    }
}

fn connection(view: ConnectionView) -> Connection {
    Connection {
        uuid: view.uuid.to_string(),
        worker: view.worker.map(|worker| worker.0),
        peer: view.peer.map(|address| address.to_string()),
        url: view.url,
        age: age(view.uuid.0),
        subscriptions: view.subscriptions,
        channels: view.channels,
        outbox_bytes: view.outbox_bytes,
        slow_consumer: view.slow_consumer.map(|policy| policy.to_string()),
        uncommitted: view.uncommitted,
        paused: view.is_paused,
    }
}

/// A UUIDv7 tells when it was made.
fn age(uuid: uuid::Uuid) -> f64 {
    let (seconds, nanoseconds) = uuid.get_timestamp().map_or((0, 0), |made| made.to_unix());
    let made = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    SystemTime::now().duration_since(made).unwrap_or_default().as_secs_f64()
}

fn seconds_between(earlier: Instant, later: Instant) -> f64 {
    // Milliseconds are enough, and easier to read.
    later.saturating_duration_since(earlier).as_millis() as f64 / 1000.0
}
