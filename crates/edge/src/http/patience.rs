//! How long a client may be slow: with the head of a request, and between two requests.
//!
//! hyper's own time-out for heads also runs while a connection rests between requests, and costs a
//! timer per request. This one notes the moment when a phase begins and has one timer per connection, which
//! looks from time to time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Transport;

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The same once the server stops.
const LAST_HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a client may be quiet between two requests.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);

/// What a connection is doing and since when. hyper wants the stream, which shares it, to be
/// `Send`, so it is an atomic though one thread uses it: milliseconds since the process began,
/// times four, plus the phase.
#[derive(Clone, Debug)]
pub(crate) struct Patience(Arc<AtomicU64>);

const HEAD: u64 = 0;
const BUSY: u64 = 1;
const RESTING: u64 = 2;

/// In which a client can be too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It sends the head of a request, or is to.
    Head,
    /// It rests between two requests.
    Resting,
}

impl Default for Patience {
    fn default() -> Self {
        let patience = Patience(Arc::new(AtomicU64::new(0)));
        patience.set(HEAD);
        patience
    }
}

impl Patience {
    /// A request's head is whole. Until the guard is dropped the client may take its time.
    pub(crate) fn begin(&self) -> Busy {
        self.set(BUSY);
        Busy(self.clone())
    }

    /// Waits until the client has been slow for too long, and tells with what.
    pub(crate) async fn exhausted(&self) -> Phase {
        self.exhausted_after(HEAD_TIMEOUT).await
    }

    /// The same when the server stops: whoever has not sent a whole head by now has one second.
    pub(crate) async fn exhausted_in_the_end(&self) -> Phase {
        self.exhausted_after(LAST_HEAD_TIMEOUT).await
    }

    async fn exhausted_after(&self, head_timeout: Duration) -> Phase {
        loop {
            let word = self.0.load(Ordering::Relaxed);
            let limit = match word % 4 {
                HEAD => head_timeout,
                RESTING => KEEP_ALIVE_TIMEOUT,
                _ => Duration::MAX,
            };
            let spent = now().saturating_sub(Duration::from_millis(word / 4));
            let Some(left) = limit.checked_sub(spent).filter(|left| !left.is_zero()) else {
                return if word % 4 == HEAD { Phase::Head } else { Phase::Resting };
            };
            // A phase that begins meanwhile may be over sooner than this one.
            tokio::time::sleep(left.min(head_timeout)).await;
        }
    }

    fn bytes_came(&self) {
        if self.0.load(Ordering::Relaxed) % 4 == RESTING {
            self.set(HEAD);
        }
    }

    fn set(&self, phase: u64) {
        self.0.store(now().as_millis() as u64 * 4 + phase, Ordering::Relaxed);
    }
}

fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// Held while a request is being answered.
#[derive(Debug)]
pub(crate) struct Busy(Patience);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(RESTING);
    }
}

/// A stream that tells when bytes come.
#[derive(Debug)]
pub(crate) struct Watched {
    transport: Transport,
    patience: Patience,
}

impl Watched {
    pub(crate) fn new(transport: Transport, patience: Patience) -> Self {
        Watched { transport, patience }
    }

    pub(crate) fn into_inner(self) -> Transport {
        self.transport
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.transport).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.patience.bytes_came();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }
}
