//! The supervisor's half of transfer: who has each connection of a thread, what its owner was
//! handed and has finished, and how it comes from one worker to the next.
//!
//! One value per I/O thread; docs/transfer.md is its specification. It does no IO and reads no
//! clock: it is told what happened, and says what is to be done. It never looks into messages or
//! acts, and knows of clients and workers only what the traits [`ClientHandle`] and
//! [`WorkerCell`] say.
//!
//! The walk: [`Custody::reserve`] -> [`Custody::accept`], the upgrade's commit -> messages are taken
//! in and handed over, handlers commit (`hot`: direct calls) -> the close, once, the last event ->
//! its commit. In between the connection may change hands (`moving`), because an [`Event`] says
//! that its worker drains or has died. One mutation, then drain every command, then the next.
//!
//! Rooms: `connection` the state of one, `workers` of one worker; `moving` between them,
//! `seeking` the next owner, `deadlines` of both; `orphaning` those whose worker died, `strikes`
//! and `trials` what kills workers; `rest` who is not needed; `cell` what crosses threads,
//! `clock` what outlives a process, `roster` how a worker is found; `sound` what one that was read has
//! to be.

mod cell;
mod clock;
mod connection;
mod deadlines;
mod event;
mod hot;
mod log;
mod moving;
mod offer;
mod orphaning;
mod rest;
mod roster;
mod route_queue;
mod seeking;
mod sound;
mod strikes;
mod table;
mod trials;
mod window;
mod workers;

use std::collections::{BTreeSet, VecDeque};
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shovel_protocol::WorkerId;

pub use cell::{LoneCell, Proof, Tried, WorkerCell};
pub use connection::{Attachment, Connection, Phase, Route};
pub use event::{Command, Event, GiveUpCause, Loss, farewell};
pub use hot::{Arrived, Closing, Committed, LastEvent, Left, NextEvent, PlainMessage};
pub use log::Kept;
pub use offer::LateUpgrade;
pub use seeking::UNDER_WAY;
pub use sound::Unsound;
pub use trials::COMPANY_ENDS_IN;

pub use crate::fleet::Death;
use crate::fleet::Rotation;
use crate::slots::Slot;
use crate::slots::Slots;
use roster::Roster;
use route_queue::RouteQueue;
use workers::Worker;

/// How soon to look again at what waits for another thread.
pub const RETRY: Duration = Duration::from_millis(10);

/// How soon to ask for a worker again: one that was asked for may have been refused because others
/// were falling asleep.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Bytes of messages that are kept for portable connections, unless [`Custody::limit_kept`] says
/// less. At that, no connection with an
/// unfinished message is read until half of it is free.
pub const KEPT_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// A moment, as the time since one that the caller has chosen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Moment(pub Duration);

/// What an operator can set about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// How long a running handler may hold up the move of its connection.
    pub handler_timeout: Duration,
    /// How long a worker may take to adopt a connection.
    pub adopt_timeout: Duration,
    /// How long a connection with something to handle may wait for a worker.
    pub owner_wait: Duration,
    /// Over how long a time connections that cannot move are closed on reload.
    pub close_spread: Duration,
    /// A worker that has had nothing to do for so long is not needed, if its connections can do
    /// without it.
    pub sleep_after: Option<Duration>,
}

/// What the caller keeps of a client.
pub trait ClientHandle {
    /// Whether messages can still be sent to it: its socket is open and not closing.
    fn is_open(&self) -> bool;
}

/// All connections of a thread, and who has them.
///
/// `W` is what the caller keeps of a worker, `C` of a client, `M` a message; `E` collects acts that
/// wait for their commit. No sequence of calls makes it panic: a call that does not fit is refused or
/// ignored. One that was read is to be asked first whether it makes sense, by [`Custody::check`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Custody<W, C, M, E> {
    settings: Settings,
    thread: u32,
    /// The latest moment that it was told.
    now: Moment,
    connections: Slots<Connection<C, M, E>>,
    /// The last reservation of each slot that was not taken, by its lease, and why.
    late_upgrades: Vec<(u32, LateUpgrade)>,
    workers: Roster<Worker<W>>,
    offered: Vec<WorkerId>,
    rotation: Rotation,
    ending: Ending,
    /// Clients that are asking for something.
    askers: u32,
    /// Those that are to leave their workers.
    leaving: RouteQueue,
    /// Those that cannot move and whose workers leave: each is closed at its time.
    farewells: BTreeSet<(Moment, Route)>,
    /// Those that seek a worker; suspects wait behind all others.
    seeking: RouteQueue,
    seeking_suspects: RouteQueue,
    /// Unowned ones that were asleep and have something to handle now. Their wait gets a deadline.
    woken: RouteQueue,
    /// How many moves are under way and not slow, and how many may be.
    under_way: u32,
    most_under_way: u32,
    deadlines: BTreeSet<(Moment, Route)>,
    /// Of all messages in logs.
    kept_bytes: usize,
    most_kept_bytes: usize,
    /// Those whose clients are paused because too much is kept.
    unread: RouteQueue,
    /// When to look again at what waits for other threads.
    retry_at: Option<Moment>,
    /// When a worker was last asked for.
    work_wanted: Option<Moment>,
    /// Something has become possible since `settle` last ran.
    is_unsettled: bool,
    #[serde(skip)]
    commands: VecDeque<Command<E>>,
    /// Room for a look at all loads.
    #[serde(skip)]
    loads: Vec<u32>,
}

/// How far the pool is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Ending {
    No,
    /// What was read is handled, even if a worker has to be started for it.
    Began,
    /// No worker is started any more.
    Last,
}

/// A frame that its connection's state does not allow: the link that it came on must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTurn {
    /// The connection has not been accepted.
    #[error("the connection is only offered")]
    Offered,
    /// A commit of events that were never sent.
    #[error("a commit beyond what was sent")]
    Beyond,
    /// A commit of messages before the adoption is answered: none were sent.
    #[error("the adoption is not answered yet")]
    Adopting,
    /// An answer to `ws:release` or `ws:adopt` that nobody asked for.
    #[error("nobody asked for it")]
    Unasked,
    /// `ws:released` says otherwise than the commits before it.
    #[error("it does not agree with the commits before it")]
    Disagrees,
    /// Its worker never said that the connection is portable.
    #[error("the connection is not portable")]
    NotPortable,
}

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// Of the thread with this number, without connections and workers.
    pub fn new(thread: u32, settings: Settings) -> Self {
        Custody {
            settings,
            thread,
            now: Moment::default(),
            connections: Slots::default(),
            late_upgrades: Vec::new(),
            workers: Roster::default(),
            offered: Vec::new(),
            rotation: Rotation::default(),
            ending: Ending::No,
            askers: 0,
            leaving: RouteQueue::default(),
            farewells: BTreeSet::new(),
            seeking: RouteQueue::default(),
            seeking_suspects: RouteQueue::default(),
            woken: RouteQueue::default(),
            under_way: 0,
            most_under_way: UNDER_WAY,
            deadlines: BTreeSet::new(),
            kept_bytes: 0,
            most_kept_bytes: KEPT_LIMIT_BYTES,
            unread: RouteQueue::default(),
            retry_at: None,
            work_wanted: None,
            is_unsettled: false,
            commands: VecDeque::new(),
            loads: Vec::new(),
        }
    }

    /// Other settings, for what begins from now on.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// How many connections may be on their way at once: [`UNDER_WAY`] unless this is called.
    pub fn allow_moves(&mut self, most: u32) {
        self.most_under_way = most;
    }

    /// How many bytes of messages may be kept, up to [`KEPT_LIMIT_BYTES`], which it is unless this is
    /// called.
    pub fn limit_kept(&mut self, most_bytes: usize) {
        self.most_kept_bytes = most_bytes.min(KEPT_LIMIT_BYTES);
    }

    /// The next thing to do; `None` when it waits for an event, a call or a timeout.
    pub fn poll_command(&mut self) -> Option<Command<E>> {
        self.commands.pop_front()
    }

    /// Whether there is a command, or a direct call has left something to do.
    #[inline]
    pub fn has_work(&self) -> bool {
        self.is_unsettled || !self.commands.is_empty()
    }

    /// Whether a direct call has left something to do: then [`Custody::handle_timeout`] comes before
    /// the next [`Custody::poll_command`].
    #[inline]
    pub fn is_unsettled(&self) -> bool {
        self.is_unsettled
    }

    /// When to call [`Custody::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Moment> {
        let unsettled = self.is_unsettled.then_some(self.now);
        [self.poll_deadline(), self.retry_at, unsettled].into_iter().flatten().min()
    }

    /// When something is due. [`Custody::poll_timeout`] may say a sooner time, to look again at what
    /// other threads do.
    pub fn poll_deadline(&self) -> Option<Moment> {
        // A trial that was due and still waits is looked at again after a pause, see `retry_in`.
        let trials = self.workers.values().filter_map(Worker::trial_due);
        let trials = trials.filter(|due| *due > self.now);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let farewell = self.farewells.first().map(|(at, _)| *at);
        [deadline, farewell].into_iter().flatten().chain(trials).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.now = now;
        self.wake(now);
        while let Some((at, route)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, route));
            self.on_deadline(route, now);
        }
        while let Some((at, route)) = self.farewells.first().copied().filter(|(at, _)| *at <= now) {
            self.farewells.remove(&(at, route));
            self.leave(route);
        }
        self.settle(now);
    }

    /// Goes on with whatever has become possible.
    fn settle(&mut self, now: Moment) {
        self.now = now;
        self.wake(now);
        self.settle_trials(now);
        self.begin_moves(now);
        self.tell_drained();
        // Each step has seen the results of those before it. What still waits is looked at again after
        // a pause: now nothing would have changed.
        self.is_unsettled = false;
        self.retry_at = self.retry_in().map(|pause| now + pause);
    }

    /// How soon to look again at what nobody will tell of.
    fn retry_in(&self) -> Option<Duration> {
        let is_seeking = !self.seeking.is_empty() || !self.seeking_suspects.is_empty();
        let is_held_up = self.workers.values().any(Worker::waits_for_others);
        let is_without = self.nobody_takes_work();
        match () {
            () if is_held_up || (is_seeking && !is_without) => Some(RETRY),
            () if is_seeking => Some(ASK_AGAIN),
            () if !self.leaving.is_empty() && self.under_way == 0 => Some(RETRY),
            () => None,
        }
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, pause: Duration) -> Moment {
        Moment(self.0.saturating_add(pause))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
