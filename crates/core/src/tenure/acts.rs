//! What an app does to a connection: at once, or staged until its running handler ends.

use super::events::{Subject, What};
use super::{
    ClientState, Fate, OFFERED_ACTS, OFFERED_BYTES, OwnClose, Plain, Portable, Running,
    STAGED_ACTS, STAGED_BYTES, Staging, State, Tenure,
};

/// What an app does to a connection, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// A message of some bytes to the client.
    Send {
        /// So many.
        bytes: usize,
    },
    /// A message of some bytes to a channel.
    Publish {
        /// So many.
        bytes: usize,
    },
    /// To a channel, or no longer; and whatever else arranges what comes to an open connection.
    Subscribe,
    /// Close the client's socket.
    Close,
}

/// Where what an app does belongs.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination<'a, S> {
    /// On the link.
    Now,
    /// Behind all else that is here, for the handler's end.
    Staged(&'a mut S),
    /// Behind all else that is here, for `ws:upgrade`.
    Offered(&'a mut S),
    /// Nowhere yet: too much is staged. Let that out and ask again.
    Full(Flush<'a, S>),
}

/// Where an attachment belongs, which the tenure knows already.
#[derive(Debug, PartialEq, Eq)]
pub enum Attach<'a, S, A> {
    /// On the link.
    Now(&'a A),
    /// Behind all else that is here, for `ws:upgrade`.
    Offered(&'a mut S, &'a A),
    /// It goes out when the handler has ended.
    AtEnd,
    /// Nowhere: the connection has ended here.
    Nowhere,
    /// Nowhere: the connection cannot move.
    NotPortable,
}

/// Why something cannot be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// The client reads too slowly: wait.
    Pressed,
    /// A fetch handler did too much before the connection was accepted.
    TooMuch,
    /// The connection is closed.
    Closed,
    /// Another worker has it.
    Moved,
}

/// What is staged, to be let out before its handler has ended. Nothing happens to it unless
/// [`Flush::take`] is called.
#[derive(Debug, PartialEq, Eq)]
pub struct Flush<'a, S> {
    staged: &'a mut S,
    owed: &'a mut u32,
    close: &'a mut OwnClose,
}

impl Deed {
    /// Of a message: it may have to wait for room.
    fn bytes(self) -> Option<usize> {
        match self {
            Deed::Send { bytes } | Deed::Publish { bytes } => Some(bytes),
            Deed::Subscribe | Deed::Close => None,
        }
    }
}

impl<E, S: Staging, A> Tenure<E, S, A> {
    /// Asks where something belongs that the app does. Whoever asks puts it there.
    ///
    /// # Errors
    /// [`Refused`] says whether waiting helps. What cannot fail for an app is then not done.
    pub fn act(&mut self, deed: Deed) -> Result<Destination<'_, S>, Refused> {
        match &mut self.0 {
            State::Offered { acts, closed, .. } => {
                if *closed && !matches!(deed, Deed::Publish { .. }) {
                    return Err(Refused::Closed);
                }
                let is_full = acts.acts() >= OFFERED_ACTS;
                if deed.bytes().is_some_and(|b| is_full || acts.bytes() + b > OFFERED_BYTES) {
                    return Err(Refused::TooMuch);
                }
                *closed |= deed == Deed::Close;
                Ok(Destination::Offered(acts))
            }
            State::Plain(plain) => plain.act(deed).map(|()| Destination::Now),
            State::Portable(portable) => portable.act(deed),
            State::Withdrawn => match deed {
                Deed::Publish { .. } => Ok(Destination::Now),
                Deed::Send { .. } | Deed::Subscribe | Deed::Close => Err(Refused::Closed),
            },
            State::Moved { .. } => Err(Refused::Moved),
        }
    }

    /// Replaces what the next worker is to know.
    pub fn attach(&mut self, attachment: A) -> Attach<'_, S, A> {
        match &mut self.0 {
            State::Offered { acts, fate: Fate::Moves { attached }, .. } => {
                Attach::Offered(acts, attached.insert(attachment))
            }
            State::Portable(portable) => match (&mut portable.running, portable.client) {
                // With the commit: an older value must not come back by it.
                (Some(running), _) => {
                    running.attached = Some(attachment);
                    Attach::AtEnd
                }
                (None, ClientState::Gone) => {
                    portable.attachment = Some(attachment);
                    Attach::Nowhere
                }
                (None, ClientState::Reads | ClientState::Lags | ClientState::Dismissed) => {
                    Attach::Now(portable.attachment.insert(attachment))
                }
            },
            State::Moved { attachment: last } => {
                *last = Some(attachment);
                Attach::Nowhere
            }
            State::Offered { fate: Fate::Ends, .. } | State::Plain(_) | State::Withdrawn => {
                Attach::NotPortable
            }
        }
    }

    /// What the running handler has done so far, if that is anything.
    pub fn flush(&mut self) -> Option<Flush<'_, S>> {
        let State::Portable(portable) = &mut self.0 else { return None };
        portable.flush()
    }
}

impl<'a, S: Staging> Flush<'a, S> {
    /// Hands out what is staged and how many answers to pressure go behind it, and forgets both.
    /// It is to be on its way, as done within a handler that goes on, when `write` returns.
    pub fn take<T>(self, write: impl FnOnce(&mut S, u32) -> T) -> T {
        let written = write(self.staged, std::mem::take(self.owed));
        self.staged.clear();
        *self.close = self.close.let_out();
        written
    }
}

impl<E> Plain<E> {
    fn act(&mut self, deed: Deed) -> Result<(), Refused> {
        match (deed, self.client) {
            (Deed::Publish { .. }, _) => Ok(()),
            (Deed::Send { .. }, ClientState::Lags) => Err(Refused::Pressed),
            (_, ClientState::Dismissed | ClientState::Gone) => Err(Refused::Closed),
            (Deed::Send { .. } | Deed::Subscribe, ClientState::Reads | ClientState::Lags) => Ok(()),
            (Deed::Close, ClientState::Reads | ClientState::Lags) => {
                self.client = ClientState::Dismissed;
                self.waiting.forget_messages();
                Ok(())
            }
        }
    }
}

impl<E, S: Staging, A> Portable<E, S, A> {
    fn act(&mut self, deed: Deed) -> Result<Destination<'_, S>, Refused> {
        let takes_sends = self.takes_sends();
        // The adopt handler does not wait: until it has ended nobody has the connection.
        let lags = self.client == ClientState::Lags
            && !matches!(&self.running, Some(Running { subject: Subject::Event(What::Adopt), .. }));
        match deed {
            Deed::Publish { .. } => {}
            Deed::Send { .. } | Deed::Subscribe | Deed::Close if !takes_sends => {
                return Err(Refused::Closed);
            }
            Deed::Send { .. } if lags => return Err(Refused::Pressed),
            Deed::Send { .. } | Deed::Subscribe | Deed::Close => {}
        }
        let stages = self.running.as_ref().is_some_and(Running::is_committed);
        if deed == Deed::Close && !stages {
            self.dismiss();
        }
        match &mut self.running {
            Some(running) if stages => Ok(running.place(deed, &mut self.staged)),
            Some(_) | None => Ok(Destination::Now),
        }
    }

    fn flush(&mut self) -> Option<Flush<'_, S>> {
        let running = self.running.as_mut()?;
        (self.staged.bytes() > 0).then(|| running.flush(&mut self.staged))
    }
}

impl<A> Running<A> {
    fn place<'a, S: Staging>(&'a mut self, deed: Deed, staged: &'a mut S) -> Destination<'a, S> {
        let (before, more) = (staged.bytes(), deed.bytes().unwrap_or(0));
        if before > 0 && (before + more > STAGED_BYTES || staged.acts() >= STAGED_ACTS) {
            return Destination::Full(self.flush(staged));
        }
        if deed == Deed::Close {
            self.close = OwnClose::Staged;
        }
        Destination::Staged(staged)
    }

    fn flush<'a, S>(&'a mut self, staged: &'a mut S) -> Flush<'a, S> {
        Flush { staged, owed: &mut self.owed, close: &mut self.close }
    }

    /// Whether something says at its end that what it did takes place. Only the end of a connection
    /// that the supervisor does not have is told to nobody.
    fn is_committed(&self) -> bool {
        self.subject != Subject::Event(What::Close(None))
    }
}
