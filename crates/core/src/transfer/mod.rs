//! The state of one connection: who may act, what was handed over, what is committed, and how it
//! passes from one worker to the next.
//!
//! Called under its slot's lock, which is simply the I/O thread that the connection belongs to.
//! It does no IO; it says what may be done and its caller does it, in the same turn.
//!
//! The walk: [`Connection::offered`] -> [`accept`](Connection::accept), the upgrade's commit ->
//! messages are taken in and handed over, handlers commit (`handling`) -> the close, once, the
//! last event -> its commit, which ends the connection. In between it may change hands
//! (`moving`): [`release`](Connection::release) … [`released`](Connection::released), or the
//! owner's death ([`orphan`](Connection::orphan)), and then [`adopt`](Connection::adopt) …
//! [`adopted`](Connection::adopted).
//!
//! Events are numbered from 1. The cursors are `committed <= acked <= sent <= read`: what handlers
//! have finished; that, or given up, or the close; what the owner was given; what has come. Only a
//! connection whose worker said that it may move is *kept*: its events stay here until they are
//! finished, and what its handlers do is staged until they end. Of others nothing is kept but the
//! sizes of what is under way.

mod handling;
mod log;
mod moving;
mod quarantine;
mod window;

use shovel_protocol::control::AdoptCause;

pub use handling::{Closing, Committed, HandOver, Left};
pub use log::Event;
pub use moving::{Blame, Orphaned, Released};

use log::Log;
use quarantine::Strikes;
use window::Window;

/// A connection that a worker `O` has or is offered, or that waits for one.
///
/// `M` is a message as it is kept, `E` collects the effects that wait for their commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connection<O, M, E> {
    tenure: Tenure<O>,
    committed: u64,
    acked: u64,
    sent: u64,
    /// The number of the close event, once there is one.
    close: Option<u64>,
    record: Record<M, E>,
}

/// Who may act.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Tenure<O> {
    /// It has the request and may accept it.
    Offered(O),
    /// It has accepted or adopted the connection. `crossed` holds why it adopted it if a revoke may
    /// have crossed its answer: then it may still give the connection up because of that.
    Owned { owner: O, crossed: Option<AdoptCause> },
    /// It was told to give the connection up.
    Releasing { owner: O, revoked: bool, cause: AdoptCause },
    /// It was told to take the connection over.
    Adopting { owner: O, revoked: bool, cause: AdoptCause },
    /// Nobody.
    Unowned { cause: AdoptCause },
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
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Record<M, E> {
    /// It ends with its worker: only the sizes of the events under way are known.
    Sizes(Window),
    /// It may outlive its worker.
    Kept(Box<Kept<M, E>>),
}

/// What another worker needs to go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kept<M, E> {
    log: Log<M>,
    /// Highest number that a tenure which has ended may have begun. Never falls.
    maybe: u64,
    /// Highest number of which effects were let out before its handler ended.
    partial: u64,
    /// What the running handler has done so far.
    staged: E,
    attachment: Option<Attachment>,
    strikes: Strikes,
    adopt_strikes: Strikes,
}

/// What an app wants its next worker to know of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attachment {
    /// Chosen by the app, for its deploys and roll-backs.
    pub version: u32,
    /// At most 16 KiB.
    pub data: Box<[u8]>,
}

/// A frame that its connection's state does not allow: the link that it came on must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTurn {
    /// The connection has not been accepted.
    #[error("the connection is only offered")]
    Offered,
    /// The connection has been accepted before.
    #[error("the connection is accepted already")]
    Accepted,
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
    /// Its worker never said that the connection may move.
    #[error("the connection is not one that may move")]
    NotKept,
}

impl<O, M, E: Default> Connection<O, M, E> {
    /// A connection that a worker may accept.
    pub fn offered(owner: O) -> Self {
        Connection {
            tenure: Tenure::Offered(owner),
            committed: 0,
            acked: 0,
            sent: 0,
            close: None,
            record: Record::Sizes(Window::default()),
        }
    }

    /// The worker accepts. `keep`: the connection may outlive it.
    ///
    /// # Errors
    /// [`OutOfTurn::Accepted`] if one has before.
    pub fn accept(&mut self, keep: bool) -> Result<(), OutOfTurn> {
        if !matches!(self.tenure, Tenure::Offered(_)) {
            return Err(OutOfTurn::Accepted);
        }
        self.tenure = match self.take_tenure() {
            Tenure::Offered(owner) => Tenure::Owned { owner, crossed: None },
            other => other,
        };
        if keep {
            self.record = Record::Kept(Box::new(Kept::default()));
        }
        Ok(())
    }

    /// The worker that has it, gives it up, takes it over or may accept it.
    pub fn owner(&self) -> Option<&O> {
        match &self.tenure {
            Tenure::Offered(owner)
            | Tenure::Owned { owner, .. }
            | Tenure::Releasing { owner, .. }
            | Tenure::Adopting { owner, .. } => Some(owner),
            Tenure::Unowned { .. } => None,
        }
    }

    /// Where it stands between workers.
    pub fn phase(&self) -> Phase {
        match self.tenure {
            Tenure::Offered(_) => Phase::Offered,
            Tenure::Owned { .. } => Phase::Owned,
            Tenure::Releasing { .. } => Phase::Releasing,
            Tenure::Adopting { .. } => Phase::Adopting,
            Tenure::Unowned { .. } => Phase::Unowned,
        }
    }

    /// Whether its events are kept, so that it may outlive its worker.
    pub fn is_kept(&self) -> bool {
        matches!(self.record, Record::Kept(_))
    }

    /// Whether another worker could go on with it.
    pub fn is_portable(&self) -> bool {
        self.kept().is_some_and(|kept| kept.attachment.is_some())
    }

    /// What the app wants its next worker to know.
    pub fn attachment(&self) -> Option<&Attachment> {
        self.kept().and_then(|kept| kept.attachment.as_ref())
    }

    /// Replaces the attachment; that of a connection which is not kept is of no use.
    pub fn attach(&mut self, attachment: Attachment) {
        if let Record::Kept(kept) = &mut self.record {
            kept.attachment = Some(attachment);
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
    pub fn is_open(&self) -> bool {
        let has_room = match &self.record {
            Record::Sizes(window) => window.is_open(),
            Record::Kept(kept) => kept.log.is_open(),
        };
        has_room && self.close.is_none() && !matches!(self.tenure, Tenure::Offered(_))
    }

    /// The last number that has come.
    fn read(&self) -> u64 {
        match &self.record {
            Record::Sizes(_) => self.sent,
            Record::Kept(kept) => self.acked + kept.log.len(),
        }
    }

    fn kept(&self) -> Option<&Kept<M, E>> {
        match &self.record {
            Record::Sizes(_) => None,
            Record::Kept(kept) => Some(kept),
        }
    }

    /// Leaves an unowned connection behind, for the caller to put another tenure there.
    fn take_tenure(&mut self) -> Tenure<O> {
        let unowned = Tenure::Unowned { cause: AdoptCause::Crash };
        std::mem::replace(&mut self.tenure, unowned)
    }
}

impl<M, E: Default> Default for Kept<M, E> {
    fn default() -> Self {
        Kept {
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

#[cfg(test)]
mod tests;
