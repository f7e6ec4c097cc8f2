//! Reading: bytes from the socket, cut into frames in place.

use std::io;

use shovel_protocol::head::HEADER_BYTES;
use shovel_protocol::limits::FRAME_PAYLOAD_BYTES;
use shovel_protocol::{BadFrame, Frame};

use crate::Socket;

const LONGEST_FRAME_BYTES: usize = HEADER_BYTES + FRAME_PAYLOAD_BYTES;

/// Room for several of the longest frames, so that a batch costs one read.
const BUFFER_BYTES: usize = 256 * 1024;

/// The read buffer of a link. Its size is fixed: no length in a header allocates.
#[derive(Debug)]
pub struct Incoming {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// More bytes; look for frames.
    Bytes,
    /// Nothing now.
    Nothing,
    /// The other end has closed; nothing will come.
    End,
}

impl Default for Incoming {
    fn default() -> Self {
        Incoming { buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl Incoming {
    /// Waits for bytes. Take all frames with [`Incoming::next_frame`] before the next call.
    ///
    /// # Errors
    /// Those of the socket. A reset by the peer is an end, not an error.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn fill(&mut self, socket: &Socket) -> io::Result<Filled> {
        let room = self.make_room();
        let read = socket.read(room).await;
        self.note(read)
    }

    /// Reads without waiting: for a link whose process has ended, but whose descriptor may be held
    /// by another.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn try_fill(&mut self, socket: &Socket) -> io::Result<Filled> {
        let room = self.make_room();
        let read = socket.try_read(room);
        self.note(read)
    }

    /// The next frame that has arrived whole.
    ///
    /// # Errors
    /// [`BadFrame::TooLong`]: the link must end.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, BadFrame> {
        let Some((frame, taken)) = Frame::cut(&self.buffer[self.start..self.end])? else {
            return Ok(None);
        };
        self.start += taken;
        Ok(Some(frame))
    }

    fn make_room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.start < LONGEST_FRAME_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    fn note(&mut self, read: io::Result<usize>) -> io::Result<Filled> {
        match read {
            Ok(0) => Ok(Filled::End),
            Ok(read) => {
                self.end += read;
                Ok(Filled::Bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Filled::Nothing),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Filled::End),
            Err(error) => Err(error),
        }
    }
}
