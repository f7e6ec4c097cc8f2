//! Where a handler runs.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::Error;

/// Room for one run of a handler, and for the next when that has ended: there are too many messages
/// for an allocation each. Polled while no handler runs, it panics.
pub(crate) trait Seat<E>: Future<Output = Result<(), Error>> + Send {
    /// Calls the handler, which may panic; its future runs when this is polled.
    fn call(self: Pin<&mut Self>, event: E);
}

/// A seat for a handler.
pub(crate) fn seat<E, F, A, R>(handler: Arc<F>) -> Pin<Box<dyn Seat<E>>>
where
    F: Fn(E) -> A + Send + Sync + 'static,
    A: Future<Output = Result<(), R>> + Send + 'static,
    R: Into<Error>,
{
    Box::pin(Reused { handler, running: None })
}

pin_project! {
    struct Reused<F, A> {
        handler: Arc<F>,
        #[pin]
        running: Option<A>,
    }
}

impl<E, F, A, R> Seat<E> for Reused<F, A>
where
    F: Fn(E) -> A + Send + Sync,
    A: Future<Output = Result<(), R>> + Send,
    R: Into<Error>,
{
    fn call(self: Pin<&mut Self>, event: E) {
        let mut this = self.project();
        let running = (this.handler)(event);
        this.running.set(Some(running));
    }
}

impl<F, A, R> Future for Reused<F, A>
where
    A: Future<Output = Result<(), R>>,
    R: Into<Error>,
{
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut running = self.project().running;
        let handler = running.as_mut().as_pin_mut().expect("a handler was called");
        let result = ready!(handler.poll(cx));
        // What it still holds goes now, not when the next comes.
        running.set(None);
        Poll::Ready(result.map_err(Into::into))
    }
}
