//! Between the admin thread and the rest of the pool: what it asks the driver, and what it asks
//! I/O threads.
//!
//! The driver takes questions in one by one, as it takes in events, and never waits for whoever
//! asked. What is published goes to an I/O thread without it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shovel_core::fleet::{ReloadState, WorkerView};
use shovel_protocol::control::Published;
use shovel_protocol::{Generation, MessageKind, WorkerIndex};
use shovel_router::inspect::{ChannelList, Inspector, Numbers, Page, Range};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::wire::ENDING;

/// How long the driver or an I/O thread may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions that may wait for the driver; then those who ask wait.
const QUESTIONS: usize = 16;

/// What the driver is asked.
#[derive(Debug)]
pub enum DriverQuestion {
    /// How the pool is.
    View(oneshot::Sender<View>),
    /// Reload, and say when it is over: how long it took, or why it came to nothing.
    Reload(oneshot::Sender<Result<Done, String>>),
    /// Change the number of workers; answered by the number before, or why nothing changes.
    Scale { workers: u32, answer: oneshot::Sender<Result<u32, String>> },
}

/// A reload that has finished.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub generation: Generation,
    pub took: Duration,
}

/// The pool as the driver sees it.
#[derive(Clone, Debug)]
pub struct View {
    /// When this was so.
    pub now: Instant,
    pub started: Instant,
    pub generation: Generation,
    pub is_ending: bool,
    pub wanted: u32,
    /// Places without a worker, because none is needed there for now.
    pub asleep: usize,
    pub reload: ReloadState,
    pub workers: Vec<WorkerView>,
    pub pauses: Vec<(WorkerIndex, Instant)>,
    pub history: History,
}

/// What has happened to the pool since it began.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub last_reload: Option<EndedReload>,
    pub reloads_finished: u64,
    pub reloads_abandoned: u64,
    /// Those whose settings were wrong, so that they did not begin.
    pub reloads_refused: u64,
    /// Workers that were replaced for a limit that they had reached.
    pub recycles: u64,
    /// Restarts, by place.
    pub restarts: BTreeMap<WorkerIndex, u64>,
}

/// A reload that has ended.
#[derive(Clone, Debug)]
pub struct EndedReload {
    /// `None` if it was refused.
    pub generation: Option<Generation>,
    /// How long it took, or why it came to nothing.
    pub outcome: Result<Duration, String>,
    pub at: Instant,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("{ENDING}")]
    Ending,
    #[error("the pool does not answer")]
    TimedOut,
}

/// The way to ask; clones ask the same pool.
#[derive(Clone, Debug)]
pub struct Desk {
    driver: mpsc::Sender<DriverQuestion>,
    threads: Vec<Inspector>,
}

impl Desk {
    /// A desk, and where the driver takes its questions from.
    pub fn new(threads: Vec<Inspector>) -> (Self, mpsc::Receiver<DriverQuestion>) {
        let (driver, asked) = mpsc::channel(QUESTIONS);
        (Desk { driver, threads }, asked)
    }

    /// How many I/O threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// How the pool is.
    ///
    /// # Errors
    /// If it is ending or hangs.
    pub async fn view(&self) -> Result<View, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        in_time(async {
            self.driver.send(DriverQuestion::View(answer)).await.ok()?;
            answered.await.ok()
        })
        .await
    }

    /// Reloads; returns when that is over, however long it takes.
    ///
    /// # Errors
    /// Why the old generation goes on, in one line.
    pub async fn reload(&self) -> Result<Done, String> {
        let (answer, answered) = oneshot::channel();
        let asked = self.driver.send(DriverQuestion::Reload(answer)).await;
        let ended = || NoAnswer::Ending.to_string();
        asked.map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Changes the number of workers; returns the number before.
    ///
    /// # Errors
    /// Why nothing changes, in one line.
    pub async fn scale(&self, workers: u32) -> Result<u32, String> {
        let (answer, answered) = oneshot::channel();
        let scaled = in_time(async {
            self.driver.send(DriverQuestion::Scale { workers, answer }).await.ok()?;
            answered.await.ok()
        });
        scaled.await.map_err(|error| error.to_string())?
    }

    /// What all I/O threads have and have counted.
    ///
    /// # Errors
    /// If one has ended or hangs.
    pub async fn numbers(&self) -> Result<Numbers, NoAnswer> {
        let asked = self.of_all(|thread| async move { thread.numbers().await }).await?;
        let mut all = Numbers::default();
        asked.into_iter().for_each(|numbers| all += numbers);
        Ok(all)
    }

    /// The channels of all I/O threads with the most subscribers.
    ///
    /// # Errors
    /// As [`Desk::numbers`].
    pub async fn channels(&self, limit: usize) -> Result<ChannelList, NoAnswer> {
        let asked = self.of_all(move |thread| async move { thread.channels(limit).await }).await?;
        let mut all = ChannelList::default();
        asked.into_iter().for_each(|list| all.merge(list));
        all.channels.truncate(limit);
        Ok(all)
    }

    /// Some connections of one I/O thread; `None` if there is no such thread.
    ///
    /// # Errors
    /// As [`Desk::numbers`].
    pub async fn connections(&self, thread: usize, range: Range) -> Result<Option<Page>, NoAnswer> {
        match self.threads.get(thread) {
            None => Ok(None),
            Some(thread) => in_time(thread.connections(range)).await.map(Some),
        }
    }

    /// Publishes to the subscribers of all I/O threads. `data` of a text must be UTF-8.
    ///
    /// # Errors
    /// As [`Desk::numbers`].
    pub async fn publish(
        &self,
        channel: &str,
        kind: MessageKind,
        data: Bytes,
    ) -> Result<Published, NoAnswer> {
        let first = self.threads.first().ok_or(NoAnswer::Ending)?;
        in_time(first.publish(channel, kind, data)).await
    }

    async fn of_all<T, F>(&self, ask: impl Fn(Inspector) -> F) -> Result<Vec<T>, NoAnswer>
    where
        F: Future<Output = Option<T>> + Send + 'static,
        T: Send + 'static,
    {
        let asking: JoinSet<_> =
            self.threads.iter().cloned().map(|thread| in_time(ask(thread))).collect();
        asking.join_all().await.into_iter().collect()
    }
}

async fn in_time<T>(answer: impl Future<Output = Option<T>>) -> Result<T, NoAnswer> {
    match timeout(PATIENCE, answer).await {
        Ok(answer) => answer.ok_or(NoAnswer::Ending),
        Err(_elapsed) => Err(NoAnswer::TimedOut),
    }
}
