//! The body of a response on its way from a worker to a client.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use shovel_edge::backend::BodyError;
use shovel_edge::{Failure, Pot};
use shovel_protocol::credit::Grants;
use shovel_protocol::{RequestId, ToWorker};

use crate::links::link::Link;

/// What a piece takes beside its bytes.
const PIECE_BYTES: usize = 64;

/// Up to this much small pieces are put together, since each costs some bytes beside its own, which
/// no credit counts.
const MERGED_BYTES: usize = 4096;

/// What has arrived and the client has not taken; the credit bounds it.
pub struct Download {
    state: RefCell<State>,
}

struct State {
    queue: VecDeque<BytesMut>,
    queued_bytes: usize,
    trailers: Option<HeaderMap>,
    end: End,
    /// What `Content-Length` leaves to come; `None` without one.
    remaining_bytes: Option<u64>,
    /// What is wrong with its length, until that has been told.
    fault: Option<&'static str>,
    /// Its size may be told: nothing else is said of it.
    is_sized: bool,
    grants: Grants,
    /// What the queue takes.
    pot: Pot,
    waker: Option<Waker>,
}

/// What the head of a response says of its body's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes.
    Bytes(u64),
    /// Nothing.
    Unknown,
    /// That which the body of a GET would have; this response has none, whatever the worker sends.
    OfAnother,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Whole,
    Broken(&'static str),
}

impl Download {
    pub fn new(length: Length, window_bytes: u32, pot: Pot) -> Rc<Self> {
        let state = State {
            queue: VecDeque::new(),
            queued_bytes: 0,
            trailers: None,
            end: End::Open,
            remaining_bytes: match length {
                Length::Bytes(bytes) => Some(bytes),
                Length::Unknown | Length::OfAnother => None,
            },
            fault: None,
            is_sized: length != Length::OfAnother,
            grants: Grants::new(window_bytes),
            pot,
            waker: None,
        };
        Rc::new(Download { state: RefCell::new(state) })
    }

    /// More of the body. `false` if the worker had no credit for it.
    pub fn push(&self, data: &[u8]) -> bool {
        let mut state = self.state.borrow_mut();
        if !state.grants.receive(data.len()) {
            return false;
        }
        if state.end != End::Open {
            return true;
        }
        let left = state.remaining_bytes.map(|left| left.checked_sub(data.len() as u64));
        match left {
            Some(None) => state.end_at_fault("more bytes than Content-Length says"),
            left => {
                state.remaining_bytes = left.flatten();
                state.append(data);
                state.wake();
            }
        }
        true
    }

    /// The body is whole.
    pub fn finish(&self, trailers: Option<HeaderMap>) {
        let mut state = self.state.borrow_mut();
        if state.remaining_bytes.is_some_and(|left| left > 0) {
            return state.end_at_fault("fewer bytes than Content-Length says");
        }
        state.trailers = trailers.filter(|trailers| !trailers.is_empty());
        state.end(End::Whole);
    }

    /// What was found wrong with its length; told once.
    pub fn take_fault(&self) -> Option<&'static str> {
        self.state.borrow_mut().fault.take()
    }

    /// The body will not become whole.
    pub fn abort(&self, why: &'static str) {
        self.state.borrow_mut().end(End::Broken(why));
    }
}

impl State {
    fn append(&mut self, data: &[u8]) {
        self.queued_bytes += data.len();
        match self.queue.back_mut() {
            Some(last) if last.len() + data.len() <= MERGED_BYTES => last.extend_from_slice(data),
            Some(_) | None if data.is_empty() => {}
            Some(_) | None => self.queue.push_back(data.into()),
        }
        self.note_held();
    }

    fn note_held(&mut self) {
        self.pot.note(self.queued_bytes + self.queue.len() * PIECE_BYTES);
    }

    fn end(&mut self, end: End) {
        if self.end == End::Open {
            self.end = end;
        }
        self.wake();
    }

    fn end_at_fault(&mut self, why: &'static str) {
        if self.end == End::Open {
            self.fault = Some(why);
        }
        self.end(End::Broken(why));
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The client's side. Dropped before its end, it cancels the request: the client has gone.
pub struct ResponseBody {
    download: Rc<Download>,
    link: Rc<Link>,
    requests: Rc<dyn Cancel>,
    request: RequestId,
}

/// Whoever has the requests under way.
pub trait Cancel {
    /// The client of a request has gone, or has had enough.
    fn cancel(self: Rc<Self>, request: RequestId);
}

impl ResponseBody {
    pub fn new(
        download: Rc<Download>,
        link: Rc<Link>,
        requests: Rc<dyn Cancel>,
        request: RequestId,
    ) -> Self {
        ResponseBody { download, link, requests, request }
    }
}

impl ResponseBody {
    /// Whether it can still become whole, as far as is known before any of it is sent.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), Failure> {
        match self.download.state.borrow().end {
            End::Open | End::Whole => Ok(()),
            End::Broken(why) => Err(Failure::BadGateway(why)),
        }
    }

    /// Of the worker that answered.
    pub fn link(&self) -> &Rc<Link> {
        &self.link
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.download.state.borrow_mut();
        if let Some(data) = state.queue.pop_front() {
            state.queued_bytes -= data.len();
            state.note_held();
            if let Some(bytes) = state.grants.consume(data.len())
                && state.end == End::Open
            {
                self.link.send(&ToWorker::Credit { request: self.request, bytes });
            }
            return Poll::Ready(Some(Ok(Frame::data(data.freeze()))));
        }
        match state.end {
            End::Open => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            End::Whole => Poll::Ready(state.trailers.take().map(|all| Ok(Frame::trailers(all)))),
            End::Broken(why) => Poll::Ready(Some(Err(why.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.download.state.borrow();
        state.queue.is_empty() && state.end == End::Whole && state.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.download.state.borrow();
        if !state.is_sized {
            return SizeHint::default();
        }
        let here = state.queued_bytes as u64;
        match (state.end, state.remaining_bytes) {
            (End::Open, Some(left)) => SizeHint::with_exact(here + left),
            (End::Whole, _) if state.trailers.is_none() => SizeHint::with_exact(here),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.requests.clone().cancel(self.request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pot() -> Pot {
        shovel_edge::Ledger::default().pot()
    }

    fn queued(download: &Download) -> Vec<u8> {
        download.state.borrow().queue.iter().flatten().copied().collect()
    }

    #[test]
    fn what_comes_after_the_length_is_broken_goes_nowhere() {
        let download = Download::new(Length::Bytes(5), 1000, pot());
        assert!(download.push(b"hell"));
        assert!(download.push(b"o, world"));
        assert!(download.push(b"!"));
        assert_eq!(queued(&download), b"hell");
        assert!(matches!(download.state.borrow().end, End::Broken(_)));
        assert!(download.take_fault().is_some());
        download.finish(None);
        assert_eq!(download.take_fault(), None, "it is told once");
    }

    #[test]
    fn a_body_that_is_too_short_is_not_whole() {
        let download = Download::new(Length::Bytes(5), 1000, pot());
        assert!(download.push(b"hell"));
        assert_eq!(download.take_fault(), None);
        download.finish(None);
        assert!(matches!(download.state.borrow().end, End::Broken(_)));
        assert!(download.take_fault().is_some());
    }

    /// A frame of one byte costs no piece of its own, or a worker could have its credit's bytes cost
    /// many times as much.
    #[test]
    fn small_pieces_are_put_together() {
        let download = Download::new(Length::Unknown, 1 << 20, pot());
        let all: Vec<u8> = (0..10_000u32).map(|number| number as u8).collect();
        for byte in &all {
            assert!(download.push(&[*byte]));
        }
        assert!(download.push(&all));
        assert!(download.push(b"end"));
        assert_eq!(queued(&download), [&all[..], &all, b"end"].concat());
        assert!(
            download.state.borrow().queue.len() <= 5,
            "{}",
            download.state.borrow().queue.len()
        );
    }

    #[test]
    fn a_worker_without_credit_is_noticed() {
        let download = Download::new(Length::Unknown, 4, pot());
        assert!(download.push(b"four"));
        assert!(!download.push(b"!"));
    }
}
