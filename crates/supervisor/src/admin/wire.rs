//! What a subcommand and the pool say to each other over the admin socket.
//!
//! One question for each connection: a line of JSON, which the message to publish follows if it is
//! about one. The answer is a line of JSON, and the end. Both sides skip what they do not know, so
//! that a pool may be asked by a newer or an older `shovel-pool`.

use serde::{Deserialize, Serialize};

/// Longest line of a question, and of what stands in for it on the way.
pub const QUESTION_BYTES: u64 = 16 * 1024;

/// Why a pool that ends does not do what it is asked for.
pub const ENDING: &str = "the pool is ending";

/// Most connections that one answer tells of.
pub const PAGE: usize = 1_000;

/// Most channels that a status tells of.
pub const CHANNELS: usize = 100;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Question {
    /// Answered by [`Status`].
    Status,
    /// Answered by [`Connections`].
    Connections {
        /// Where a page before this one ended.
        #[serde(default)]
        from: Option<Cursor>,
        /// How many, up to [`PAGE`].
        limit: usize,
        /// Of the worker with this id alone.
        #[serde(default)]
        worker: Option<u32>,
    },
    /// Answered by [`Reloaded`] when the reload is over.
    Reload,
    /// Answered by [`Scaled`].
    Scale {
        /// How many workers are wanted.
        workers: u32,
    },
    /// Answered by [`Published`]. The message follows the line.
    Publish {
        /// To whom.
        channel: String,
        /// Whether it is no text.
        binary: bool,
        /// How long the message is.
        bytes: u64,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// What was asked for.
    Ok(T),
    /// Why not, in one line.
    Error(String),
}

/// Where a listing of connections goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The I/O thread.
    pub thread: usize,
    /// The place in its table.
    pub place: u32,
}

/// What the pool is and does. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub program: String,
    pub uptime: f64,
    /// The generation that serves.
    pub generation: u32,
    /// Whether it is ending.
    pub terminating: bool,
    pub listen: Vec<String>,
    pub admin_socket: Option<String>,
    pub admin_listen: Option<String>,
    pub io_threads: usize,
    /// Resident memory of the supervisor.
    pub rss_bytes: u64,
    /// What of it is allocated, unless the allocator does not tell.
    pub allocated_bytes: Option<u64>,
    pub reload: Reload,
    /// How many workers a generation is to have.
    pub workers_wanted: u32,
    /// Places without a worker, because none is needed there for now.
    pub workers_asleep: usize,
    pub workers: Vec<Worker>,
    /// Places that are empty until their pause is over.
    pub restarting: Vec<Restarting>,
    /// WebSockets.
    pub connections: u64,
    /// Channels that have subscribers.
    pub channels: Channels,
    pub totals: Totals,
}

/// The reload under way, and the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reload {
    pub state: ReloadState,
    pub last: Option<LastReload>,
    /// Since the pool began.
    pub finished: u64,
    pub abandoned: u64,
    pub refused: u64,
}

/// How far a reload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadState {
    /// None is under way.
    Idle,
    /// The new generation starts.
    Starting,
    /// The new generation serves, the old one is leaving.
    Draining,
    /// The new generation was abandoned and is leaving.
    Abandoned,
}

/// How the last reload ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastReload {
    /// The generation that it was to bring; none if it was refused.
    pub generation: Option<u32>,
    pub outcome: ReloadOutcome,
    /// Why it came to nothing.
    pub why: Option<String>,
    /// How long it took, if it was finished.
    pub took: Option<f64>,
    /// How long ago it ended.
    pub ago: f64,
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadOutcome {
    Finished,
    /// The new generation did not come up.
    Abandoned,
    /// The settings were wrong.
    Refused,
}

/// A worker process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    pub id: u32,
    pub index: u32,
    pub generation: u32,
    pub pid: Option<u32>,
    pub state: WorkerState,
    /// Since it was started.
    pub age: f64,
    /// Since it came into its state.
    pub in_state: f64,
    /// WebSockets that it owns.
    pub connections: u64,
    /// Requests that it has now.
    pub requests_under_way: u64,
    /// Requests that it was ever given.
    pub requests: u64,
    /// Messages from clients that it was ever given.
    pub messages_received: u64,
    /// Messages that it ever sent to a client or published.
    pub messages_sent: u64,
    /// Bytes that wait to be written to it.
    pub waiting_bytes: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// How many restarts its place had seen when it was started.
    pub restarts: u32,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerState {
    Starting,
    Ready,
    Draining,
    Stopping,
}

/// A place whose worker failed and whose next one has not been started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restarting {
    pub index: u32,
    /// In so many seconds.
    pub within: f64,
}

/// Channels that have subscribers, those with the most first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels {
    pub total: u64,
    /// At most [`CHANNELS`] of them.
    pub largest: Vec<Channel>,
}

/// A channel that has subscribers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    pub name: String,
    /// Connections that are subscribed.
    pub connections: u64,
    /// Workers that are subscribed themselves.
    pub workers: u64,
}

/// Counted since the pool began, but for what waits now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Sockets of clients that are open now.
    pub clients: u64,
    pub clients_accepted: u64,
    pub connections_opened: u64,
    pub requests: u64,
    pub requests_under_way: u64,
    pub requests_waiting: u64,
    /// Requests that were answered with 5xx.
    pub server_errors: u64,
    pub messages_received: u64,
    pub messages_sent: u64,
    pub published: u64,
    pub delivered: u64,
    pub slow_consumers: u64,
    pub worker_restarts: u64,
    /// Bytes that wait for WebSocket clients now.
    pub outbox_bytes: u64,
}

/// Some of the connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    pub connections: Vec<Connection>,
    /// Where the next page begins; none at the end.
    pub next: Option<Cursor>,
}

/// A client's WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    pub uuid: String,
    /// Its owner; none while it sleeps or waits for one.
    pub worker: Option<u32>,
    /// Address of the client; none on a Unix socket.
    pub peer: Option<String>,
    pub url: String,
    pub age: f64,
    /// How many channels it is subscribed to.
    pub subscriptions: usize,
    /// The first of them.
    pub channels: Vec<String>,
    /// Bytes that wait for the client.
    pub outbox_bytes: usize,
    /// What becomes of what is published to it when it reads too slowly, as `--slow-consumer` has it;
    /// none if the app has not chosen.
    #[serde(default)]
    pub slow_consumer: Option<String>,
    /// Messages that the worker has and has not finished.
    pub uncommitted: u64,
    /// Whether the client is not read for now.
    pub paused: bool,
}

/// A reload has finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The generation that serves now.
    pub generation: u32,
    pub took: f64,
}

/// Another number of workers is wanted from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    pub before: u32,
    pub workers: u32,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Queued for so many connections.
    pub delivered: u64,
    /// Not queued, since the client is too slow.
    pub dropped: u64,
    /// Closed, since the client is too slow.
    pub closed: u64,
}
