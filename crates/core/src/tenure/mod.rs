//! A connection while a worker has it: the SDK's half of transfer, as one value.
//!
//! It says what may be done to the connection and when that goes out, which event is handled and
//! which wait, and what is answered when the supervisor wants the connection back. It does no IO,
//! takes no lock and wakes nobody: its caller does, in the same turn, as the calls return.
//!
//! The walk: [`Tenure::offered`] -> [`act`](Tenure::act) while the fetch handler runs ->
//! [`accept`](Tenure::accept) -> [`begin`](Tenure::begin) an event -> its handler acts -> it
//! [`end`](Tenure::end)s, which writes a [`Conclusion`] and begins the next. A connection that another
//! worker had begins with [`Tenure::adopted`]. It leaves by [`release`](Tenure::release) or
//! [`revoke`](Tenure::revoke), and is then inert.
//!
//! What a handler does to a portable connection is *staged*: it waits here until the handler
//! has ended, and is then written with the commit behind it. What is done to any other connection
//! goes out at once.
//!
//! Rooms: `acts` what an app does to a connection, `events` what happens to it.

mod acts;
mod events;

use std::collections::VecDeque;

pub use acts::{Attach, Deed, Destination, Flush, Refused};
pub use events::{Answer, Conclusion, Next, Outcome, What};

use events::Subject;
use shovel_protocol::limits::ACTS;

/// What was done to a connection and waits.
///
/// The tenure asks only how much it is, and forgets it; what it looks like is the caller's business.
pub trait Staging: Default {
    /// How much it is, of [`STAGED_BYTES`] and [`OFFERED_BYTES`].
    fn bytes(&self) -> usize;

    /// How many acts these are, of [`STAGED_ACTS`] and [`OFFERED_ACTS`].
    fn acts(&self) -> usize;

    /// Forgets it all.
    fn clear(&mut self);
}

/// More than this is let out before its handler has ended.
pub const STAGED_BYTES: usize = 1024 * 1024;

/// And so are as many acts: half of what the supervisor does in one step.
pub const STAGED_ACTS: usize = ACTS / 2;

/// Most acts of a fetch handler before its connection is accepted. Messages beyond them are refused;
/// of others there may be more, and then it cannot be accepted.
pub const OFFERED_ACTS: usize = ACTS;

/// Most that a fetch handler may do to its connection before it is accepted.
pub const OFFERED_BYTES: usize = 16 * 1024 * 1024;

/// A connection, from its upgrade or adoption to its close event, or until it moves on.
///
/// `E` is an event that waits, `S` what was done and waits, `A` an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenure<E, S, A>(State<E, S, A>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State<E, S, A> {
    /// Not accepted yet: what the fetch handler did, which travels inside `ws:upgrade`. `closed`: its
    /// own close is among that.
    Offered { acts: S, fate: Fate<A>, closed: bool },
    /// Accepted. It ends with this worker, so all that is done to it goes out at once.
    Plain(Plain<E>),
    /// Accepted or adopted. It may outlive this worker.
    Portable(Box<Portable<E, S, A>>),
    /// It was never accepted; at most its close is handled.
    Withdrawn,
    /// Another worker has it, or will. What was attached can still be read.
    Moved { attachment: Option<A> },
}

/// What becomes of an offered connection when its worker goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Fate<A> {
    Ends,
    Moves { attached: Option<A> },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Plain<E> {
    client: ClientState,
    committed: u64,
    /// The event whose handler runs, or the first of a row.
    running: Option<What>,
    waiting: EventQueue<E>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Portable<E, S, A> {
    client: ClientState,
    committed: u64,
    /// As the supervisor knows it.
    attachment: Option<A>,
    running: Option<Running<A>>,
    /// What the running handler has done. Nothing while none runs: it stays for its memory.
    staged: S,
    waiting: EventQueue<E>,
}

/// A handler of a portable connection, and what it did that is not in [`Portable::staged`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Running<A> {
    subject: Subject,
    asked: Recall,
    /// Attached since it began.
    attached: Option<A>,
    close: OwnClose,
    /// So many answers to pressure go out behind what is staged. A send behind an answer would count
    /// as one in spite of the pressure.
    owed: u32,
}

/// What becomes of a connection once its running handler has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Recall {
    /// It stays.
    Nothing,
    /// The supervisor wants it back.
    Release,
    /// At once: the handler is dropped.
    Revoke,
}

/// Whether a running handler has closed its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum OwnClose {
    No,
    /// The close is among what is staged.
    Staged,
    /// The close was let out.
    Out,
}

/// How the client stands to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ClientState {
    Reads,
    /// It reads too slowly.
    Lags,
    /// The app has closed it: nothing more is sent, and its messages are dropped.
    Dismissed,
    /// Its socket has closed.
    Gone,
}

/// Events that wait for those before them. The supervisor's window for the connection bounds them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EventQueue<E>(VecDeque<WaitingEvent<E>>);

/// An event that waits; `None` is a message that nobody will handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct WaitingEvent<E> {
    what: What,
    event: Option<E>,
}

/// A connection that was accepted: what `ws:upgrade` says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted<S> {
    /// What the fetch handler did.
    pub acts: S,
    /// It may outlive this worker.
    pub portable: bool,
}

/// What a `ws:pressure` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPressure {
    /// Tell the supervisor that it is known.
    Answer,
    /// Wake who waits to send.
    Relieve,
    /// Nothing now: it is answered once what is staged is on its way.
    Owe,
}

impl<E, S: Staging, A> Tenure<E, S, A> {
    /// A connection that a request offers.
    pub fn offered() -> Self {
        Tenure(State::Offered { acts: S::default(), fate: Fate::Ends, closed: false })
    }

    /// A connection that another worker had, whose handlers have finished events up to `committed`.
    /// Its first event is [`What::Adopt`].
    pub fn adopted(committed: u64, pressed: bool, attachment: A) -> Self {
        let client = if pressed { ClientState::Lags } else { ClientState::Reads };
        Tenure(State::portable(client, committed, Some(attachment)))
    }

    /// Makes it portable: what handlers do is staged until they end. Too late once it is accepted.
    pub fn make_portable(&mut self) {
        if let State::Offered { fate: fate @ Fate::Ends, .. } = &mut self.0 {
            *fate = Fate::Moves { attached: None };
        }
    }

    /// It is to end with this worker after all. Too late once it is accepted.
    pub fn pin(&mut self) {
        if let State::Offered { fate, .. } = &mut self.0 {
            *fate = Fate::Ends;
        }
    }

    /// What the fetch handler has done so far, if it has not been accepted.
    pub fn offers(&self) -> Option<&S> {
        match &self.0 {
            State::Offered { acts, .. } => Some(acts),
            State::Plain(_) | State::Portable(_) | State::Withdrawn | State::Moved { .. } => None,
        }
    }

    /// The fetch handler's response accepts it. `None` if it has been withdrawn meanwhile.
    pub fn accept(&mut self) -> Option<Accepted<S>> {
        let State::Offered { acts, fate, closed } = &mut self.0 else { return None };
        let acts = std::mem::take(acts);
        let client = if *closed { ClientState::Dismissed } else { ClientState::Reads };
        let (state, portable) = match std::mem::replace(fate, Fate::Ends) {
            Fate::Ends => (State::plain(client), false),
            Fate::Moves { attached } => (State::portable(client, 0, attached), true),
        };
        self.0 = state;
        Some(Accepted { acts, portable })
    }

    /// Withdraws the offer unless it has been accepted. `true` if it was still open to that.
    pub fn withdraw(&mut self) -> bool {
        let was_offered = self.is_offered();
        if was_offered {
            self.0 = State::Withdrawn;
        }
        was_offered
    }

    /// The client's socket has closed: nobody need wait to send any longer.
    pub fn client_gone(&mut self) {
        match &mut self.0 {
            State::Offered { .. } => self.0 = State::Withdrawn,
            State::Plain(plain) => plain.client = ClientState::Gone,
            State::Portable(portable) => portable.client = ClientState::Gone,
            State::Withdrawn | State::Moved { .. } => {}
        }
    }

    /// The client reads too slowly, or well again.
    pub fn press(&mut self, over: bool) -> OnPressure {
        let client = match &mut self.0 {
            State::Plain(plain) => Some(&mut plain.client),
            State::Portable(portable) => Some(&mut portable.client),
            State::Offered { .. } | State::Withdrawn | State::Moved { .. } => None,
        };
        match client {
            Some(client @ (ClientState::Reads | ClientState::Lags)) => {
                *client = if over { ClientState::Lags } else { ClientState::Reads };
            }
            Some(ClientState::Dismissed | ClientState::Gone) | None => {}
        }
        match (over, self.staged_by()) {
            (false, _) => OnPressure::Relieve,
            (true, Some((running, _))) => {
                running.owed += 1;
                OnPressure::Owe
            }
            (true, None) => OnPressure::Answer,
        }
    }

    /// Whether something can still be sent.
    pub fn is_open(&self) -> bool {
        match &self.0 {
            State::Offered { closed, .. } => !closed,
            State::Plain(plain) => plain.client.is_open(),
            State::Portable(portable) => portable.takes_sends(),
            State::Withdrawn | State::Moved { .. } => false,
        }
    }

    /// Whether all that is done to it goes out at once: it is open, will not move, and its client
    /// reads well.
    pub fn is_plain(&self) -> bool {
        matches!(&self.0, State::Plain(Plain { client: ClientState::Reads, .. }))
    }

    /// Whether it is not decided yet if it is accepted.
    pub fn is_offered(&self) -> bool {
        matches!(self.0, State::Offered { .. })
    }

    /// Whether it was accepted or adopted.
    pub fn was_accepted(&self) -> bool {
        !matches!(self.0, State::Offered { .. } | State::Withdrawn)
    }

    /// Whether the client's socket has closed, or the connection has been given up.
    pub fn is_over(&self) -> bool {
        match &self.0 {
            State::Offered { .. } => false,
            State::Plain(plain) => plain.client == ClientState::Gone,
            State::Portable(portable) => portable.client == ClientState::Gone,
            State::Withdrawn | State::Moved { .. } => true,
        }
    }

    /// Whether another worker has it, or will.
    pub fn has_moved(&self) -> bool {
        matches!(self.0, State::Moved { .. })
    }

    /// What was attached last.
    pub fn attachment(&self) -> Option<&A> {
        match &self.0 {
            State::Offered { fate: Fate::Moves { attached }, .. } => attached.as_ref(),
            State::Portable(portable) => {
                let new = portable.running.as_ref().and_then(|running| running.attached.as_ref());
                new.or(portable.attachment.as_ref())
            }
            State::Moved { attachment } => attachment.as_ref(),
            State::Offered { fate: Fate::Ends, .. } | State::Plain(_) | State::Withdrawn => None,
        }
    }

    /// The running handler and what it has staged, if that is anything.
    fn staged_by(&mut self) -> Option<(&mut Running<A>, &mut S)> {
        let State::Portable(portable) = &mut self.0 else { return None };
        let Portable { running: Some(running), staged, .. } = &mut **portable else { return None };
        (staged.bytes() > 0).then_some((running, staged))
    }
}

impl<E, S: Staging, A> State<E, S, A> {
    fn plain(client: ClientState) -> Self {
        let waiting = EventQueue::default();
        State::Plain(Plain { client, committed: 0, running: None, waiting })
    }

    fn portable(client: ClientState, committed: u64, attachment: Option<A>) -> Self {
        let (running, staged, waiting) = (None, S::default(), EventQueue::default());
        let portable = Portable { client, committed, attachment, running, staged, waiting };
        State::Portable(Box::new(portable))
    }
}

impl<E, S: Staging, A> Portable<E, S, A> {
    fn takes_sends(&self) -> bool {
        let open = |running: &Running<A>| running.close == OwnClose::No;
        self.client.is_open() && self.running.as_ref().is_none_or(open)
    }

    /// The app's own close is on its way.
    fn dismiss(&mut self) {
        self.client = self.client.dismissed();
        self.waiting.forget_messages();
    }
}

impl OwnClose {
    fn let_out(self) -> Self {
        match self {
            OwnClose::No => OwnClose::No,
            OwnClose::Staged | OwnClose::Out => OwnClose::Out,
        }
    }
}

impl ClientState {
    fn dismissed(self) -> Self {
        match self {
            ClientState::Reads | ClientState::Lags | ClientState::Dismissed => {
                ClientState::Dismissed
            }
            ClientState::Gone => ClientState::Gone,
        }
    }

    fn is_open(self) -> bool {
        match self {
            ClientState::Reads | ClientState::Lags => true,
            ClientState::Dismissed | ClientState::Gone => false,
        }
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        EventQueue(VecDeque::new())
    }
}
