//! One connection: who may act on it, what was handed over, what is committed.
//!
//! Events are numbered from 1. The cursors are `committed <= acked <= sent <= read`: what handlers
//! have finished; that, or given up, or the close; what the owner was given; what has come. Only
//! the events of a portable connection are kept until they are finished, and only what its handlers
//! do is staged until they end. Of others only the sizes of events under way are known.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shovel_protocol::control::AdoptCause;
use shovel_protocol::{RequestId, WorkerId};

use super::log::Log;
use super::strikes::Strikes;
use super::window::Window;
use super::{Moment, Slot};

/// A connection that a worker has or is offered, or that waits for one.
///
/// `C` is what the caller keeps of its client, `M` a message as it is kept; `E` collects the acts
/// that wait for their commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connection<C, M, E> {
    /// What the caller keeps of its client.
    pub client: C,
    pub(super) state: State,
    pub(super) committed: u64,
    pub(super) acked: u64,
    pub(super) sent: u64,
    /// The number of the close event, once there is one.
    pub(super) close: Option<u64>,
    pub(super) record: Record<M, E>,
    /// The lease that it began with.
    pub(super) born: u32,
}

/// Who may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum State {
    /// The owner has the request and may accept it.
    Offered { owner: WorkerId, request: RequestId },
    /// It has accepted or adopted the connection. `crossed` holds why it adopted it if a revoke may
    /// have crossed its answer: then it may still give the connection up because of that.
    Owned { owner: WorkerId, crossed: Option<AdoptCause> },
    /// It was told to give the connection up.
    Releasing { owner: WorkerId, cause: AdoptCause, step: Step },
    /// It was told to take the connection over.
    Adopting { owner: WorkerId, cause: AdoptCause, step: Step },
    /// Nobody has it.
    Unowned { cause: AdoptCause, wait: Wait },
    /// Nobody will have it any more: the caller is about to take it out.
    Over,
}

/// How long the answer to `ws:release` or `ws:adopt` is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Step {
    /// It counts among the moves under way until `slow_at`.
    Awaited { slow_at: Moment, late_at: Moment },
    /// Others no longer wait for it.
    Slow { late_at: Moment },
    /// The worker was told to answer at once.
    Revoked { stuck_at: Moment },
    /// It does not answer, and the fleet was told.
    Stuck { again_at: Moment },
}

/// What a connection without an owner waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Wait {
    /// A worker, until then.
    Queued { until: Moment },
    /// Something to handle. It may be in the queue for a worker all the same, but is not late.
    Asleep,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Record<M, E> {
    /// It ends with its worker: only the sizes of the events under way are known.
    Plain(Window),
    /// It may outlive its worker.
    Portable(Box<Portable<M, E>>),
}

/// What another worker needs to go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Portable<M, E> {
    pub(super) log: Log<M>,
    /// Highest number that a tenure which has ended may have begun. Never falls.
    pub(super) maybe: u64,
    /// Highest number whose handler let acts out before it ended.
    pub(super) partial: u64,
    /// What the running handler has done so far.
    pub(super) staged: E,
    pub(super) attachment: Option<Attachment>,
    pub(super) strikes: Strikes,
    pub(super) adopt_strikes: Strikes,
}

/// What an app wants its next worker to know of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// Chosen by the app, for its deploys and roll-backs.
    pub version: u32,
    /// At most 16 KiB.
    pub data: Box<[u8]>,
}

/// Where a connection stands between workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A worker has the request and may accept it.
    Offered,
    /// A worker has it.
    Owned,
    /// Its worker was told to give it up.
    Releasing,
    /// A worker was told to take it over.
    Adopting,
    /// Nobody has it.
    Unowned,
    /// Nobody will have it any more.
    Over,
}

/// How a thread knows a connection for as long as it lives, whoever owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Its place in the table.
    pub slot: Slot,
    /// Its first lease, which no other connection in the slot had or will have.
    pub(super) born: u32,
}

/// What of a connection counts elsewhere: for its worker, among the moves, among the deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) owner: Option<WorkerId>,
    /// Its worker has something of it under way that it may die of.
    pub(super) is_under_way: bool,
    pub(super) is_moving: bool,
    pub(super) due: Option<Moment>,
    pub(super) kept_bytes: usize,
}

impl<C, M, E: Default> Connection<C, M, E> {
    pub(super) fn offered(client: C, owner: WorkerId, request: RequestId, born: u32) -> Self {
        Connection {
            client,
            state: State::Offered { owner, request },
            committed: 0,
            acked: 0,
            sent: 0,
            close: None,
            record: Record::Plain(Window::default()),
            born,
        }
    }

    /// The worker that has it, gives it up, takes it over or may accept it.
    pub fn owner(&self) -> Option<WorkerId> {
        match self.state {
            State::Offered { owner, .. }
            | State::Owned { owner, .. }
            | State::Releasing { owner, .. }
            | State::Adopting { owner, .. } => Some(owner),
            State::Unowned { .. } | State::Over => None,
        }
    }

    /// Where it stands between workers.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Offered { .. } => Phase::Offered,
            State::Owned { .. } => Phase::Owned,
            State::Releasing { .. } => Phase::Releasing,
            State::Adopting { .. } => Phase::Adopting,
            State::Unowned { .. } => Phase::Unowned,
            State::Over => Phase::Over,
        }
    }

    /// The request that offers the upgrade, until it is accepted.
    pub fn request(&self) -> Option<RequestId> {
        match self.state {
            State::Offered { request, .. } => Some(request),
            State::Owned { .. }
            | State::Releasing { .. }
            | State::Adopting { .. }
            | State::Unowned { .. }
            | State::Over => None,
        }
    }

    /// Whether a worker has accepted it.
    pub fn is_accepted(&self) -> bool {
        !matches!(self.state, State::Offered { .. })
    }

    /// Whether its events are kept, so that it may outlive its worker.
    pub fn is_portable(&self) -> bool {
        matches!(self.record, Record::Portable(_))
    }

    /// Whether another worker could go on with it, as things are.
    pub fn can_move(&self) -> bool {
        let has_attachment = self.portable().is_some_and(|its| its.attachment.is_some());
        has_attachment && self.close.is_none()
    }

    /// What the app wants its next worker to know.
    pub fn attachment(&self) -> Option<&Attachment> {
        self.portable().and_then(|its| its.attachment.as_ref())
    }

    /// Replaces the attachment; that of a connection which is not portable is of no use.
    pub fn attach(&mut self, attachment: Attachment) {
        if let Record::Portable(portable) = &mut self.record {
            portable.attachment = Some(attachment);
        }
    }

    /// Number of the last event that a handler has finished.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Number of the last event that is finished or given up.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// How many events have come and are not finished.
    pub fn uncommitted(&self) -> u64 {
        self.read() - self.acked
    }

    /// Whether everything that has come is finished.
    pub fn is_idle(&self) -> bool {
        self.read() == self.acked
    }

    /// Whether the close has come, so that nothing may follow.
    pub fn is_closed(&self) -> bool {
        self.close.is_some()
    }

    /// Whether another message may be read from the client.
    pub fn has_room(&self) -> bool {
        let has_room = match &self.record {
            Record::Plain(window) => window.is_open(),
            Record::Portable(portable) => portable.log.is_open(),
        };
        has_room && self.close.is_none() && self.is_accepted()
    }

    /// Whether its owner has been given something of it that is not finished.
    pub fn is_handling(&self) -> bool {
        self.sent > self.acked
    }

    /// The last number that has come.
    pub(super) fn read(&self) -> u64 {
        match &self.record {
            Record::Plain(_) => self.sent,
            Record::Portable(portable) => self.acked + portable.log.len(),
        }
    }

    pub(super) fn portable(&self) -> Option<&Portable<M, E>> {
        match &self.record {
            Record::Plain(_) => None,
            Record::Portable(portable) => Some(portable),
        }
    }

    /// Whether there is an event that its owner is to be given next.
    pub(super) fn has_next(&self) -> bool {
        let is_owned = matches!(self.state, State::Owned { .. });
        is_owned && self.is_portable() && self.sent < self.read() && !self.must_wait()
    }

    /// Events that an ended tenure may have begun go one at a time, each once the one before is
    /// committed: then a death is the doing of the one that was there, and of none behind it.
    fn must_wait(&self) -> bool {
        self.sent > self.acked && self.portable().is_some_and(|its| self.acked < its.maybe)
    }

    /// How long a trial lasts if what is to be done with it next is a suspect: the next event, or
    /// the adoption if nobody has it. Then it is to be done alone.
    pub(super) fn suspect(&self) -> Option<Duration> {
        let portable = self.portable()?;
        let has_event = self.sent == self.acked && portable.log.len() > 0;
        let event = portable.strikes.trial().filter(|_| has_event);
        match self.state {
            State::Unowned { .. } => event.max(portable.adopt_strikes.trial()),
            State::Owned { .. } => event,
            State::Offered { .. }
            | State::Releasing { .. }
            | State::Adopting { .. }
            | State::Over => None,
        }
    }

    /// Whether a suspect of it is under way.
    pub(super) fn carries_suspect(&self) -> bool {
        self.portable().is_some_and(|its| {
            let is_adopting = matches!(self.state, State::Adopting { .. });
            let event = its.strikes.trial().is_some();
            (self.sent > self.acked && event)
                || (is_adopting && (its.adopt_strikes.trial().is_some() || event))
        })
    }

    pub(super) fn standing(&self) -> Standing {
        let (is_moving, due) = match self.state {
            State::Releasing { step, .. } | State::Adopting { step, .. } => match step {
                Step::Awaited { slow_at, .. } => (true, Some(slow_at)),
                Step::Slow { late_at } => (false, Some(late_at)),
                Step::Revoked { stuck_at } => (false, Some(stuck_at)),
                Step::Stuck { again_at } => (false, Some(again_at)),
            },
            State::Unowned { wait: Wait::Queued { until }, .. } => (false, Some(until)),
            State::Unowned { wait: Wait::Asleep, .. }
            | State::Offered { .. }
            | State::Owned { .. }
            | State::Over => (false, None),
        };
        let is_adopting = matches!(self.state, State::Adopting { .. });
        Standing {
            owner: self.owner(),
            is_under_way: self.is_portable() && (self.sent > self.acked || is_adopting),
            is_moving,
            due,
            kept_bytes: self.portable().map_or(0, |its| its.log.bytes()),
        }
    }

    pub(super) fn take_staged(&mut self) -> E {
        match &mut self.record {
            Record::Plain(_) => E::default(),
            Record::Portable(portable) => std::mem::take(&mut portable.staged),
        }
    }
}

impl<M, E: Default> Default for Portable<M, E> {
    fn default() -> Self {
        Portable {
            log: Log::default(),
            maybe: 0,
            partial: 0,
            staged: E::default(),
            attachment: None,
            strikes: Strikes::default(),
            adopt_strikes: Strikes::default(),
        }
    }
}
