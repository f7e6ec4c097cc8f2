//! The body of a response: the backend's, or a few words of ours.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::access::Access;
use crate::backend::BodyError;

/// A response's body.
pub(crate) struct Body<Inner> {
    content: Content<Inner>,
    access: Option<Box<Access>>,
}

enum Content<Inner> {
    Ours(Bytes),
    Backend(Inner),
}

impl<Inner> Body<Inner> {
    pub(crate) fn text(text: &'static str) -> Self {
        Body::of(Content::Ours(Bytes::from_static(text.as_bytes())))
    }

    pub(crate) fn of_backend(inner: Inner) -> Self {
        Body::of(Content::Backend(inner))
    }

    fn of(content: Content<Inner>) -> Self {
        Body { content, access: None }
    }
}

impl<Inner> Body<Inner>
where
    Inner: http_body::Body<Data = Bytes, Error = BodyError> + Unpin,
{
    /// Has the line of its request written once this is dropped.
    pub(crate) fn logged(mut self, access: Box<Access>) -> Self {
        self.access = Some(access);
        self.note(None);
        self
    }

    /// Tells the access log what has gone out, and whether that was all. A body that has its length
    /// is not asked for its end.
    fn note(&mut self, frame: Option<&Frame<Bytes>>) {
        if self.access.is_none() {
            return;
        }
        use http_body::Body as _;
        let is_trailers = frame.is_some_and(Frame::is_trailers);
        let is_all = is_trailers || self.is_end_stream() || self.size_hint().exact() == Some(0);
        if let Some(access) = &mut self.access {
            access.sent(frame.and_then(Frame::data_ref).map_or(0, Bytes::len));
            if is_all {
                access.ended();
            }
        }
    }
}

impl<Inner> http_body::Body for Body<Inner>
where
    Inner: http_body::Body<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match &mut self.content {
            Content::Ours(text) if text.is_empty() => Poll::Ready(None),
            Content::Ours(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Content::Backend(inner) => Pin::new(inner).poll_frame(context),
        };
        match &polled {
            Poll::Ready(None) => self.note(None),
            Poll::Ready(Some(Ok(frame))) => self.note(Some(frame)),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Ours(text) => text.is_empty(),
            Content::Backend(inner) => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Ours(text) => SizeHint::with_exact(text.len() as u64),
            Content::Backend(inner) => inner.size_hint(),
        }
    }
}
