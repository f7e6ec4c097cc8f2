//! Handlers may panic: that fails one event and no more.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::Error;
use crate::app::HandlerFuture;

/// A handler whose panic is a value.
pub(crate) enum Caught<T> {
    Running(HandlerFuture<T>),
    Panicked(String),
    Ended,
}

/// How a handler failed.
pub(crate) enum Failure {
    Error(Error),
    Panic(String),
}

impl<T> Caught<T> {
    /// Calls a handler, which may panic before it gives a future.
    pub(crate) fn call(handler: impl FnOnce() -> HandlerFuture<T>) -> Self {
        match catch_panic(handler) {
            Ok(future) => Caught::Running(future),
            Err(text) => Caught::Panicked(text),
        }
    }
}

impl<T> Future for Caught<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match &mut *self {
            Caught::Running(future) => catch_panic(|| future.as_mut().poll(cx)),
            Caught::Panicked(text) => Err(std::mem::take(text)),
            Caught::Ended => Err("polled after its end".to_owned()),
        };
        if matches!(polled, Ok(Poll::Pending)) {
            return Poll::Pending;
        }
        // What the handler still holds is dropped by code of the app, which may panic too.
        let ended = std::mem::replace(&mut *self, Caught::Ended);
        let dropped = catch_panic(|| drop(ended));
        Poll::Ready(match (polled, dropped) {
            (Ok(Poll::Ready(Err(error))), _) => Err(Failure::Error(error)),
            (Err(text), _) | (Ok(_), Err(text)) => Err(Failure::Panic(text)),
            (Ok(Poll::Ready(Ok(value))), Ok(())) => Ok(value),
            (Ok(Poll::Pending), Ok(())) => return Poll::Pending,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error(error) => write!(f, "{error}"),
            Failure::Panic(text) => write!(f, "panicked: {text}"),
        }
    }
}

/// Runs code of the app; a panic is returned as its text.
#[inline]
pub(crate) fn catch_panic<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // What a panic leaves behind is the app's: nothing of ours is borrowed in here.
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| text_of(&*payload))
}

#[cold]
fn text_of(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "without a text".to_owned(),
    }
}
