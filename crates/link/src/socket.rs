//! The descriptor of a link.

use std::io::{self, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A non-blocking Unix stream that is watched for reading alone.
///
/// A Unix socket wakes those who wait to write whenever its peer reads: at one client with one
/// message under way that cost a fifth of the time. So write interest is registered only while the
/// link is full, in [`Socket::writable`].
#[derive(Debug)]
pub struct Socket {
    stream: AsyncFd<UnixStream>,
}

impl Socket {
    /// Takes a connected stream. Call it within the runtime that is to read.
    ///
    /// # Errors
    /// Those of registering the descriptor.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Socket { stream: register(stream, Interest::READABLE)? })
    }

    /// Reads what there is.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing yet; else those of the socket.
    ///
    /// # Cancel safety
    /// Does not wait.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.stream.get_ref();
        stream.read(buffer)
    }

    /// Waits until there is something to read, and reads it.
    ///
    /// # Errors
    /// Those of the socket.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was not returned was not read.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.stream.readable().await?;
            match ready.try_io(|stream| stream.get_ref().read(buffer)) {
                Ok(Ok(read)) => {
                    // A short read emptied the socket: the next byte comes with a new edge, so the
                    // read that would only return EAGAIN is saved.
                    if read > 0 && read < buffer.len() {
                        ready.clear_ready();
                    }
                    return Ok(read);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => continue,
            }
        }
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing now; else those of the socket.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut stream = self.stream.get_ref();
        stream.write_vectored(slices)
    }

    /// Waits until the socket takes bytes again.
    ///
    /// # Errors
    /// Those of duplicating and registering the descriptor.
    ///
    /// # Cancel safety
    /// Safe: only waits.
    pub async fn writable(&self) -> io::Result<()> {
        // A descriptor is registered once; a duplicate of it can be registered beside it.
        let twin = self.stream.get_ref().try_clone()?;
        let twin = register(twin, Interest::WRITABLE)?;
        twin.writable().await?.retain_ready();
        Ok(())
    }
}

#[allow(unsafe_code, reason = "tokio registers a descriptor with an interest of ours only so")]
fn register(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a `UnixStream` owns its descriptor, gives the same one each time, and closes it only
    // when it is dropped, which `AsyncFd` does after taking it off the poll.
    unsafe { AsyncFd::register_with_interest(stream, interest) }.map_err(io::Error::from)
}
