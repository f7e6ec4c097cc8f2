//! The body of a request between its connection, which reads it, and whoever takes it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::framing::{BadBody, Length};
use crate::{Ledger, Pot};

/// So much may wait to be taken. Then the client is read no further.
const WINDOW_BYTES: usize = 64 * 1024;

/// What a piece takes beside its bytes.
const PIECE_BYTES: usize = 64;

/// A piece that is shorter takes in what follows: chunks of a body may have one byte each.
const SHORT_BYTES: usize = 4 * 1024;

/// Why a body does not become whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenBody {
    /// The client has gone.
    #[error("the client has gone")]
    Gone,
    /// It breaks a rule.
    #[error(transparent)]
    Bad(#[from] BadBody),
    /// It is longer than bodies may be.
    #[error("the body is too long")]
    TooLong,
    /// Nothing of it came for too long.
    #[error("the body does not come")]
    TooSlow,
}

#[derive(Debug)]
struct State {
    pieces: VecDeque<BytesMut>,
    bytes: usize,
    /// What these take.
    pot: Pot,
    end: Option<Result<HeaderMap, BrokenBody>>,
    /// So much is to come, if that is known.
    left: Option<u64>,
    /// Somebody has asked for a part of it.
    is_wanted: bool,
    /// Nobody will take any more.
    is_dropped: bool,
    taker: Option<Waker>,
    /// The task of the connection, while it waits for room.
    connection: Option<Waker>,
}

/// What a request brings beside its head. Dropping it says that nobody wants the rest.
#[derive(Debug)]
pub struct RequestBody(Option<Rc<RefCell<State>>>);

/// The end of a body to which its connection writes.
#[derive(Debug)]
pub(super) struct Inlet(Rc<RefCell<State>>);

impl RequestBody {
    /// Nothing.
    pub fn empty() -> Self {
        RequestBody(None)
    }
}

/// A body and its inlet; no inlet if there is nothing to come.
pub(super) fn body(length: Length, ledger: &Ledger) -> (RequestBody, Option<Inlet>) {
    let left = match length {
        Length::Bytes(0) => return (RequestBody::empty(), None),
        Length::Bytes(bytes) => Some(bytes),
        Length::Chunked => None,
    };
    let state = Rc::new(RefCell::new(State {
        pieces: VecDeque::new(),
        bytes: 0,
        pot: ledger.pot(),
        end: None,
        left,
        is_wanted: false,
        is_dropped: false,
        taker: None,
        connection: None,
    }));
    (RequestBody(Some(state.clone())), Some(Inlet(state)))
}

impl State {
    /// The memory that the pieces take.
    fn held_bytes(&self) -> usize {
        self.bytes + self.pieces.len() * PIECE_BYTES
    }

    fn wake_taker(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }

    fn wake_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.wake();
        }
    }
}

/// What is to become of more of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appetite {
    /// Somebody takes it.
    More,
    /// Nobody has asked for any of it yet.
    NotAsked,
    /// Enough waits for now.
    Full,
    /// Nobody wants it.
    None,
}

impl Inlet {
    /// Whether to read on. When that changes, the task of `context` is woken.
    pub(super) fn appetite(&self, context: &Context<'_>) -> Appetite {
        let mut state = self.0.borrow_mut();
        let appetite = match () {
            () if state.is_dropped => return Appetite::None,
            () if state.held_bytes() >= WINDOW_BYTES => Appetite::Full,
            () if state.is_wanted => Appetite::More,
            () => Appetite::NotAsked,
        };
        state.connection = Some(context.waker().clone());
        appetite
    }

    pub(super) fn push(&self, data: &[u8]) {
        let mut state = self.0.borrow_mut();
        if !state.is_dropped {
            state.bytes += data.len();
            state.left = state.left.map(|left| left.saturating_sub(data.len() as u64));
            match state.pieces.back_mut() {
                Some(last) if last.len() + data.len() <= SHORT_BYTES => {
                    last.extend_from_slice(data)
                }
                _ => state.pieces.push_back(BytesMut::from(data)),
            }
            state.pot.note(state.held_bytes());
            state.wake_taker();
        }
    }

    /// The memory that waits to be taken.
    pub(super) fn held_bytes(&self) -> usize {
        self.0.borrow().held_bytes()
    }

    /// Whether nobody will take any more.
    pub(super) fn is_unwanted(&self) -> bool {
        self.0.borrow().is_dropped
    }

    pub(super) fn end(&self, end: Result<HeaderMap, BrokenBody>) {
        let mut state = self.0.borrow_mut();
        state.end.get_or_insert(end);
        state.wake_taker();
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let Some(state) = &self.0 else { return Poll::Ready(None) };
        let mut state = state.borrow_mut();
        if let Some(data) = state.pieces.pop_front() {
            state.bytes -= data.len();
            state.pot.note(state.held_bytes());
            state.wake_connection();
            return Poll::Ready(Some(Ok(Frame::data(data.freeze()))));
        }
        match &mut state.end {
            None => {
                state.taker = Some(context.waker().clone());
                if !std::mem::replace(&mut state.is_wanted, true) {
                    state.wake_connection();
                }
                Poll::Pending
            }
            Some(Ok(trailers)) if trailers.is_empty() => Poll::Ready(None),
            Some(Ok(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(std::mem::take(trailers))))),
            Some(Err(broken)) => Poll::Ready(Some(Err(*broken))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let Some(state) = &self.0 else { return true };
        let state = state.borrow();
        let has_ended = matches!(&state.end, Some(Ok(trailers)) if trailers.is_empty());
        has_ended && state.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(state) = &self.0 else { return SizeHint::with_exact(0) };
        let state = state.borrow();
        state
            .left
            .map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + state.bytes as u64))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            let mut state = state.borrow_mut();
            state.is_dropped = true;
            state.pieces = VecDeque::new();
            state.bytes = 0;
            state.pot.note(0);
            state.wake_connection();
        }
    }
}
