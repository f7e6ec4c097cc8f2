//! The body of a request, as it streams in.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use shovel_protocol::credit::Grants;
use shovel_protocol::{RequestId, ToSupervisor};

use super::link::Link;
use crate::lock::lock;

/// What has arrived of a body and was not read yet: at most the window that its sender has.
pub(crate) struct Upload {
    request: RequestId,
    link: Arc<Link>,
    state: Mutex<State>,
}

struct State {
    chunks: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    grants: Grants,
    end: End,
    /// The app has dropped the body. Nothing more is granted, so that the client is not made to
    /// send what nobody reads.
    unwanted: bool,
    /// The client sends it only once somebody asks for it.
    is_awaited: bool,
    reader: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Whole,
    CutOff,
}

/// The body that the app reads.
pub(crate) struct UploadBody {
    upload: Arc<Upload>,
    size: SizeHint,
}

/// The client went away before the body was whole, or the request was answered before.
#[derive(Debug, thiserror::Error)]
#[error("the request's body is cut off")]
pub(crate) struct CutOff;

impl Upload {
    /// `is_awaited`: the client sends it only once the app asks for it.
    pub(crate) fn new(link: Arc<Link>, request: RequestId, is_awaited: bool) -> Self {
        let state = State {
            chunks: VecDeque::new(),
            trailers: None,
            grants: Grants::new(link.body_window_bytes),
            end: End::NotYet,
            unwanted: false,
            is_awaited,
            reader: None,
        };
        Upload { request, link, state: Mutex::new(state) }
    }

    /// Takes a chunk in. `false` if the sender had no credit for it.
    pub(crate) fn receive(&self, data: &[u8], end: bool) -> bool {
        let mut state = lock(&self.state);
        let had_credit = state.grants.receive(data.len());
        if !data.is_empty() && !state.unwanted {
            state.chunks.push_back(Bytes::copy_from_slice(data));
        }
        if end {
            state.end = End::Whole;
        }
        state.wake();
        had_credit
    }

    /// The body ends, with these trailers.
    pub(crate) fn finish(&self, trailers: HeaderMap) {
        let mut state = lock(&self.state);
        state.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
        state.end = End::Whole;
        state.wake();
    }

    /// Nothing more comes: an error to the reader unless all is there.
    pub(crate) fn cut_off(&self) {
        let mut state = lock(&self.state);
        if state.end == End::NotYet {
            state.end = End::CutOff;
            state.wake();
        }
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl UploadBody {
    /// `length_bytes`: what the client has announced.
    pub(crate) fn new(upload: Arc<Upload>, length_bytes: Option<u64>) -> Self {
        UploadBody { upload, size: length_bytes.map_or_else(SizeHint::new, SizeHint::with_exact) }
    }

    fn take_chunk(&self, state: &mut State) -> Option<Bytes> {
        let chunk = state.chunks.pop_front()?;
        if let Some(bytes) = state.grants.consume(chunk.len())
            && state.end == End::NotYet
        {
            let request = self.upload.request;
            self.upload.link.put(request.to_wire(), &ToSupervisor::Credit { request, bytes });
        }
        Some(chunk)
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let upload = self.upload.clone();
        let mut state = lock(&upload.state);
        if let Some(chunk) = self.take_chunk(&mut state) {
            let left = self.size.exact().map(|left| left.saturating_sub(chunk.len() as u64));
            self.size = left.map_or_else(SizeHint::new, SizeHint::with_exact);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match state.end {
            End::Whole => Poll::Ready(state.trailers.take().map(|all| Ok(Frame::trailers(all)))),
            End::CutOff => Poll::Ready(Some(Err(CutOff))),
            End::NotYet => {
                if std::mem::take(&mut state.is_awaited) {
                    let (request, bytes) = (upload.request, 0);
                    upload.link.put(request.to_wire(), &ToSupervisor::Credit { request, bytes });
                }
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.upload.state);
        state.end == End::Whole && state.chunks.is_empty() && state.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

impl Drop for UploadBody {
    fn drop(&mut self) {
        let mut state = lock(&self.upload.state);
        state.unwanted = true;
        state.chunks.clear();
    }
}
