//! The byte stream to a client: what TLS will stand beside.

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// A connected client.
#[derive(Debug)]
pub enum Transport {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

macro_rules! each {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Tcp($stream) => $call,
            Transport::Unix($stream) => $call,
        }
    };
}

impl Transport {
    /// Writes what the socket takes at once.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_write(bytes))
    }

    /// Separates reading from writing: a task reads, whoever has something to send writes.
    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Transport::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Transport::Unix(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Unix(read), WriteHalf::Unix(write))
            }
        }
    }
}

/// How often to look whether a client has gone that is not read. While it is read, the reactor wakes
/// its task; what it has sent and nobody reads hides that.
pub(crate) const LOOK_FOR_ENDS: Duration = Duration::from_secs(1);

/// What the system knows of a client that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing speaks against it.
    Lives,
    /// It sends nothing more, and may take what it is sent.
    HasEnded,
    /// It is gone, and takes nothing either.
    IsGone,
}

impl Fate {
    /// By what the reactor has seen. No call to the system: it is asked for thousands at once.
    fn of(ready: impl Future<Output = io::Result<Ready>>) -> Fate {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(ready).poll(&mut context) {
            Poll::Ready(Ok(ready)) if ready.is_error() || ready.is_write_closed() => Fate::IsGone,
            Poll::Ready(Ok(ready)) if ready.is_read_closed() => Fate::HasEnded,
            Poll::Ready(_) | Poll::Pending => Fate::Lives,
        }
    }
}

/// What [`Fate`] is told by.
const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::ERROR);

/// The half that the reader task reads.
#[derive(Debug)]
pub(crate) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

impl ReadHalf {
    /// What is known of the client, whatever is still to be read of it.
    #[cold]
    pub(crate) fn fate(&self) -> Fate {
        match self {
            ReadHalf::Tcp(half) => Fate::of(half.ready(ALL)),
            ReadHalf::Unix(half) => Fate::of(half.ready(ALL)),
        }
    }

    /// Whether the client has ended, whatever is still to be read of it.
    #[cold]
    pub(crate) fn has_ended(&self) -> bool {
        self.fate() != Fate::Lives
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ReadHalf::Tcp(half) => Pin::new(half).poll_read(context, buffer),
            ReadHalf::Unix(half) => Pin::new(half).poll_read(context, buffer),
        }
    }
}

/// The half that is written without a task. Dropping it ends the writing side.
#[derive(Debug)]
pub(crate) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

impl WriteHalf {
    /// Writes what the socket takes; `WouldBlock` if it takes nothing.
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (WriteHalf::Tcp(half), [slice]) => half.try_write(slice),
            (WriteHalf::Tcp(half), _) => half.try_write_vectored(slices),
            (WriteHalf::Unix(half), [slice]) => half.try_write(slice),
            (WriteHalf::Unix(half), _) => half.try_write_vectored(slices),
        }
    }

    /// Bytes that were written and that the other end's system has not taken; of a Unix socket,
    /// whose count includes what the kernel keeps beside them, those that nobody has read. 0 if that
    /// cannot be told.
    pub(crate) fn untaken_bytes(&self) -> u64 {
        self.ask(libc::TIOCOUTQ)
    }

    /// What is known of the client, whatever is still to be read of it.
    pub(crate) fn fate(&self) -> Fate {
        match self {
            WriteHalf::Tcp(half) => Fate::of(half.ready(ALL)),
            WriteHalf::Unix(half) => Fate::of(half.ready(ALL)),
        }
    }

    /// Whether the client has sent something that was not read yet.
    pub(crate) fn has_input(&self) -> bool {
        self.ask(libc::FIONREAD) > 0
    }

    /// Whether closing the socket resets the connection, so that nobody takes what went out for whole.
    /// A Unix socket cannot do that.
    pub(crate) fn reset_at_close(&self, resets: bool) {
        if let WriteHalf::Tcp(half) = self {
            let linger = libc::linger { l_onoff: resets.into(), l_linger: 0 };
            // It fails only on a socket that is gone.
            let _ = setsockopt(half.as_ref(), sockopt::Linger, &linger);
        }
    }

    /// Gives it up without ending the writing side: that ends when the socket is closed.
    pub(crate) fn abandon(self) {
        match self {
            WriteHalf::Tcp(half) => half.forget(),
            WriteHalf::Unix(half) => half.forget(),
        }
    }

    /// Asks the kernel for a number of bytes (tcp(7), unix(7)).
    #[allow(unsafe_code, reason = "no safe call asks for these")]
    fn ask(&self, request: libc::Ioctl) -> u64 {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the descriptor is ours and open; both requests write one int, where `bytes` is.
        let asked = unsafe { libc::ioctl(self.as_raw_fd(), request, &raw mut bytes) };
        if asked < 0 { 0 } else { u64::try_from(bytes).unwrap_or(0) }
    }

    fn as_raw_fd(&self) -> RawFd {
        match self {
            WriteHalf::Tcp(half) => half.as_ref().as_raw_fd(),
            WriteHalf::Unix(half) => half.as_ref().as_raw_fd(),
        }
    }

    /// Ready when the socket takes bytes again.
    pub(crate) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            WriteHalf::Tcp(half) => half.as_ref().poll_write_ready(context),
            WriteHalf::Unix(half) => half.as_ref().poll_write_ready(context),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
