//! The state of one connection as its owner's link sees it: who may act, what was handed over,
//! what is committed.
//!
//! Called under its slot's lock, which is simply the I/O thread that the connection belongs to.
//! It holds no payloads and does no IO; it says what may be done and its caller does it.
//!
//! The walk: [`Connection::offered`] -> [`Connection::accept`] (the upgrade's commit) ->
//! [`Connection::hand_over`] and [`Connection::commit`] in turn -> [`Connection::close`], once,
//! the last event -> its commit, which ends the connection.
//!
//! Events are numbered from 1. A connection's owner has finished all events up to `committed`;
//! those up to `sent` are with it. The log of those in between, and the states in which nobody
//! owns the connection, come with transfer between workers.

mod window;

pub use window::Window;

/// A connection with an owner.
#[derive(Debug)]
pub struct Connection {
    state: State,
}

#[derive(Debug)]
enum State {
    /// A worker has the request and may accept it.
    Offered,
    /// A worker has accepted.
    Owned(Owned),
}

#[derive(Debug, Default)]
struct Owned {
    window: Window,
    committed: u64,
    sent: u64,
    /// The number of the close event, once it is sent.
    close: Option<u64>,
}

/// What a commit leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Events are left with the owner. `open`: there is room for more.
    Some {
        /// Whether the next message may be handed over.
        open: bool,
    },
    /// Everything that was handed over is finished.
    All,
    /// The close event is finished: the connection is no more.
    Closed,
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
}

impl Connection {
    /// A connection that a worker may accept.
    pub fn offered() -> Self {
        Connection { state: State::Offered }
    }

    /// Whether a worker has accepted.
    pub fn is_owned(&self) -> bool {
        matches!(self.state, State::Owned(_))
    }

    /// The worker accepts.
    ///
    /// # Errors
    /// [`OutOfTurn::Accepted`] if one has before.
    pub fn accept(&mut self) -> Result<(), OutOfTurn> {
        match self.state {
            State::Owned(_) => Err(OutOfTurn::Accepted),
            State::Offered => {
                self.state = State::Owned(Owned::default());
                Ok(())
            }
        }
    }

    /// Numbers a message that is handed over now, and says whether another may follow. `None` if
    /// nobody is there to take it, or its close has been sent.
    pub fn hand_over(&mut self, bytes: usize) -> Option<(u64, bool)> {
        let State::Owned(owned) = &mut self.state else { return None };
        if owned.close.is_some() {
            return None;
        }
        owned.sent += 1;
        owned.window.push(bytes);
        Some((owned.sent, owned.window.is_open()))
    }

    /// Numbers the close, the last event; the window does not hold it back. `None` if it was sent
    /// before, or nobody is there to take it.
    pub fn close(&mut self) -> Option<u64> {
        let State::Owned(owned) = &mut self.state else { return None };
        if owned.close.is_some() {
            return None;
        }
        owned.sent += 1;
        owned.window.push(0);
        owned.close = Some(owned.sent);
        owned.close
    }

    /// The owner has finished all events up to `seq`. Earlier numbers than before do nothing.
    ///
    /// # Errors
    /// [`OutOfTurn`] if the connection is not accepted or the event was never sent.
    pub fn commit(&mut self, seq: u64) -> Result<Committed, OutOfTurn> {
        let State::Owned(owned) = &mut self.state else { return Err(OutOfTurn::Offered) };
        if seq > owned.sent {
            return Err(OutOfTurn::Beyond);
        }
        while owned.committed < seq {
            owned.committed += 1;
            owned.window.pop();
        }
        if owned.close == Some(owned.committed) {
            return Ok(Committed::Closed);
        }
        if owned.committed == owned.sent {
            return Ok(Committed::All);
        }
        Ok(Committed::Some { open: owned.window.is_open() })
    }

    /// The owner has finished the next event: what the flag LAST says.
    ///
    /// # Errors
    /// As [`Connection::commit`].
    pub fn commit_next(&mut self) -> Result<Committed, OutOfTurn> {
        let State::Owned(owned) = &self.state else { return Err(OutOfTurn::Offered) };
        self.commit(owned.committed + 1)
    }

    /// Whether the next message may be handed over.
    pub fn is_open(&self) -> bool {
        match &self.state {
            State::Offered => false,
            State::Owned(owned) => owned.close.is_none() && owned.window.is_open(),
        }
    }

    /// How many events were handed over and are not finished.
    pub fn uncommitted(&self) -> u64 {
        match &self.state {
            State::Offered => 0,
            State::Owned(owned) => owned.sent - owned.committed,
        }
    }

    /// Whether everything that was handed over is finished.
    pub fn is_idle(&self) -> bool {
        match &self.state {
            State::Offered => true,
            State::Owned(owned) => owned.committed == owned.sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use shovel_protocol::limits::CONNECTION_WINDOW_BYTES as WINDOW_BYTES;

    use super::*;

    fn owned() -> Connection {
        let mut connection = Connection::offered();
        connection.accept().unwrap();
        connection
    }

    #[test]
    fn nothing_is_handed_over_before_it_is_accepted() {
        let mut connection = Connection::offered();
        assert_eq!(connection.hand_over(1), None);
        assert_eq!(connection.close(), None);
        assert_eq!(connection.commit(0), Err(OutOfTurn::Offered));
        assert_eq!(connection.commit_next(), Err(OutOfTurn::Offered));
    }

    #[test]
    fn a_connection_is_accepted_once() {
        assert_eq!(owned().accept(), Err(OutOfTurn::Accepted));
    }

    #[test]
    fn the_window_closes_and_a_commit_opens_it() {
        let mut connection = owned();
        assert_eq!(connection.hand_over(10), Some((1, true)));
        assert_eq!(connection.hand_over(WINDOW_BYTES), Some((2, false)));
        assert!(!connection.is_open());
        assert_eq!(connection.commit(1), Ok(Committed::Some { open: false }));
        assert_eq!(connection.commit(2), Ok(Committed::All));
        assert!(connection.is_open());
    }

    #[test]
    fn a_message_larger_than_the_window_goes_alone() {
        let mut connection = owned();
        assert!(connection.is_open());
        assert_eq!(connection.hand_over(64 * WINDOW_BYTES), Some((1, false)));
        assert_eq!(connection.commit_next(), Ok(Committed::All));
        assert!(connection.is_open());
    }

    #[test]
    fn many_empty_messages_close_the_window_too() {
        let mut connection = owned();
        let handed = (0..1_000_000).take_while(|_| connection.hand_over(0).unwrap().1).count();
        assert!(handed < 10_000, "{handed} empty messages were handed over");
    }

    #[test]
    fn a_commit_is_cumulative_and_never_goes_back() {
        let mut connection = owned();
        for _ in 0..3 {
            connection.hand_over(1);
        }
        assert_eq!(connection.commit(3), Ok(Committed::All));
        assert_eq!(connection.commit(1), Ok(Committed::All));
        assert_eq!(connection.commit(4), Err(OutOfTurn::Beyond));
        assert_eq!(connection.commit_next(), Err(OutOfTurn::Beyond));
    }

    #[test]
    fn the_close_is_the_last_event_and_comes_once() {
        let mut connection = owned();
        connection.hand_over(1);
        assert_eq!(connection.close(), Some(2));
        assert_eq!(connection.close(), None);
        assert_eq!(connection.hand_over(1), None);
        assert_eq!(connection.commit(1), Ok(Committed::Some { open: true }));
        assert!(!connection.is_open());
        assert_eq!(connection.commit(2), Ok(Committed::Closed));
    }
}
