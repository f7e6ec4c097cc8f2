//! The body of a response: the backend's, or a few words of ours.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::patience::Busy;
use crate::backend::BodyError;

/// A response's body. Until it is dropped its connection counts as busy.
pub(crate) struct Body<Inner> {
    content: Content<Inner>,
    _busy: Option<Busy>,
}

enum Content<Inner> {
    Ours(Bytes),
    Backend(Inner),
}

impl<Inner> Body<Inner> {
    pub(crate) fn empty() -> Self {
        Body::text("")
    }

    pub(crate) fn text(text: &'static str) -> Self {
        Body { content: Content::Ours(Bytes::from_static(text.as_bytes())), _busy: None }
    }

    pub(crate) fn of_backend(inner: Inner) -> Self {
        Body { content: Content::Backend(inner), _busy: None }
    }

    pub(crate) fn keeping(self, busy: Busy) -> Self {
        Body { _busy: Some(busy), ..self }
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
        match &mut self.content {
            Content::Ours(text) if text.is_empty() => Poll::Ready(None),
            Content::Ours(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Content::Backend(inner) => Pin::new(inner).poll_frame(context),
        }
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
