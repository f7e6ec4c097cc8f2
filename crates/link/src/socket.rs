//! The descriptor of a link.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
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
    /// A descriptor is registered once; this duplicate is what is registered for writing. Made
    /// beforehand, so that a full link needs no descriptor when there are none.
    twin: UnixStream,
}

impl Socket {
    /// Takes a connected stream. Call it within the runtime that is to read.
    ///
    /// # Errors
    /// Those of duplicating and registering the descriptor.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let twin = stream.try_clone()?;
        Ok(Socket { stream: register(stream, Interest::READABLE)?, twin })
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
        uninterrupted(|| stream.read(buffer))
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
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self.stream.get_ref();
        stream.write(bytes)
    }

    /// Waits until the socket takes bytes again. One task at a time may wait.
    ///
    /// # Errors
    /// Those of registering the descriptor.
    ///
    /// # Cancel safety
    /// Safe: only waits.
    pub async fn writable(&self) -> io::Result<()> {
        let twin = register(self.twin.as_fd(), Interest::WRITABLE)?;
        twin.writable().await?.retain_ready();
        Ok(())
    }
}

/// Asks again when a signal came in between: that says nothing of what there is.
fn uninterrupted(mut what: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match what() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[allow(unsafe_code, reason = "tokio registers a descriptor with an interest of ours only so")]
fn register<Stream>(stream: Stream, interest: Interest) -> io::Result<AsyncFd<Stream>>
where
    Stream: AsFd + AsRawFd,
{
    // SAFETY: an owned stream, or a borrow of one, gives the same descriptor each time, and it is
    // closed only when the stream is dropped, which `AsyncFd` does, or the borrow allows, after
    // taking it off the poll.
    unsafe { AsyncFd::register_with_interest(stream, interest) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_a_signal_interrupts_is_no_end() {
        let mut answers = [Err(io::ErrorKind::Interrupted.into()), Ok(5)].into_iter();
        assert_eq!(uninterrupted(|| answers.next().unwrap()).unwrap(), 5);
    }
}
