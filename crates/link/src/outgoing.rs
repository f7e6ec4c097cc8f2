//! Writing: frames collected in a batch, written at once.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use shovel_protocol::head::{HEADER_BYTES, Header};
use shovel_protocol::limits::FRAME_PAYLOAD_BYTES;

use crate::Socket;

const LONGEST_FRAME_BYTES: usize = HEADER_BYTES + FRAME_PAYLOAD_BYTES;

/// A batch above this is given back once it is written, so that one burst is not kept for ever.
const KEPT_BYTES: usize = 256 * 1024;

/// The frames that wait to be written to a link.
///
/// Not bounded by itself: whoever puts frames looks at [`Outgoing::waiting_bytes`] first.
///
/// A payload of several pieces is not put into the batch whole: a piece of it goes behind what waits
/// when the piece before it is out, so that it does not hold up other frames, nor they it. Frames with
/// the same id keep their order.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Whole frames. Those that are written are forgotten now and then.
    batch: Vec<u8>,
    written: usize,
    /// Where the pieces stand that went into the batch last, one of each longer payload.
    pieces: Range<usize>,
    long: VecDeque<Long>,
    long_bytes: usize,
}

/// Frames of one id, the first of them a payload of several pieces.
#[derive(Debug)]
struct Long {
    id: u64,
    frames: VecDeque<u8>,
}

/// Whether a write took everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing waits any more.
    All,
    /// The socket took a part and is full: wait for [`Socket::writable`].
    Full,
}

impl Outgoing {
    /// Appends what `write` writes: whole frames that all carry `id`.
    ///
    /// Returns where they begin in the batch, if it is there that they went.
    #[inline]
    pub fn put(&mut self, id: u64, write: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        let start = self.batch.len();
        write(&mut self.batch);
        let len = self.batch.len() - start;
        if self.long.is_empty() && len <= LONGEST_FRAME_BYTES {
            return Some(start);
        }
        self.set_apart(id, start)
    }

    /// Puts the frames from `start` on behind those with the same id that wait to go in pieces, or
    /// has them go so themselves.
    #[cold]
    fn set_apart(&mut self, id: u64, start: usize) -> Option<usize> {
        let len = self.batch.len() - start;
        let behind = self.long.iter().position(|long| long.id == id);
        if behind.is_none() && len <= LONGEST_FRAME_BYTES {
            return Some(start);
        }
        let frames = self.batch.drain(start..);
        self.long_bytes += len;
        match behind {
            Some(at) => self.long[at].frames.extend(frames),
            None => self.long.push_back(Long { id, frames: frames.collect() }),
        }
        None
    }

    /// The batch from `start` on, for a frame to be changed that was just put there.
    pub fn tail(&mut self, start: usize) -> &mut [u8] {
        self.batch.get_mut(start..).unwrap_or_default()
    }

    /// Bytes of the batch so far: where the next frame will begin.
    pub fn batch_bytes(&self) -> usize {
        self.batch.len()
    }

    /// Bytes that have been put and not yet been written.
    pub fn waiting_bytes(&self) -> usize {
        self.batch.len() - self.written + self.long_bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting_bytes() == 0
    }

    /// Drops the frames that are not wanted and wait: none that has begun to go out, and none of
    /// those that go in pieces. Walks the batch.
    pub fn retain(&mut self, mut is_wanted: impl FnMut(&Header) -> bool) {
        let (mut read, mut kept) = (0, 0);
        let before = self.pieces.clone();
        while let Some(end) = end_of_frame(&self.batch, read) {
            if read == before.start {
                self.pieces = kept..kept + before.len();
            }
            let is_kept = read < self.written || before.contains(&read);
            if is_kept || header_at(&self.batch, read).is_some_and(|header| is_wanted(&header)) {
                self.batch.copy_within(read..end, kept);
                kept += end - read;
            }
            read = end;
        }
        self.batch.truncate(kept);
    }

    /// Writes until nothing waits or the socket is full.
    ///
    /// # Errors
    /// Those of the socket: the link has ended.
    pub fn write_to(&mut self, socket: &Socket) -> io::Result<Written> {
        loop {
            if self.written >= self.pieces.end && !self.long.is_empty() {
                self.take_pieces();
            }
            if self.written == self.batch.len() {
                self.batch.clear();
                self.batch.shrink_to(KEPT_BYTES);
                (self.written, self.pieces) = (0, 0..0);
                return Ok(Written::All);
            }
            match socket.try_write(&self.batch[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.forget_written();
                    return Ok(Written::Full);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves the next frame of every long payload into the batch.
    fn take_pieces(&mut self) {
        let start = self.batch.len();
        for long in &mut self.long {
            let len = frame_bytes(&long.frames);
            self.long_bytes -= len;
            self.batch.extend(long.frames.drain(..len));
        }
        self.long.retain(|long| !long.frames.is_empty());
        self.pieces = start..self.batch.len();
    }

    /// Forgets whole frames that are written, or a batch that never runs empty would have all that ever
    /// passed. Only when they are most of it, so that a byte is moved once at most.
    fn forget_written(&mut self) {
        if self.written < KEPT_BYTES.max(self.batch.len() / 2) {
            return;
        }
        let mut gone = 0;
        while let Some(end) = end_of_frame(&self.batch, gone).filter(|end| *end <= self.written) {
            gone = end;
        }
        self.batch.drain(..gone);
        self.written -= gone;
        let Range { start, end } = self.pieces;
        self.pieces = start.saturating_sub(gone)..end.saturating_sub(gone);
        if self.batch.capacity() > KEPT_BYTES.max(4 * self.batch.len()) {
            self.batch.shrink_to(KEPT_BYTES.max(2 * self.batch.len()));
        }
    }
}

fn header_at(batch: &[u8], start: usize) -> Option<Header> {
    batch[start..].first_chunk().map(Header::from_bytes)
}

/// Where the frame ends that begins there; `None` at the end.
fn end_of_frame(batch: &[u8], start: usize) -> Option<usize> {
    header_at(batch, start).map(|header| start + HEADER_BYTES + header.len as usize)
}

/// Length of the frame at the front, from its header. All frames here were written by us.
fn frame_bytes(frames: &VecDeque<u8>) -> usize {
    let len = frames.iter().take(4).rev().fold(0, |len, byte| len << 8 | usize::from(*byte));
    (HEADER_BYTES + len).min(frames.len())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use shovel_protocol::head::{self, Kind, flags};

    use super::*;
    use crate::{Filled, Incoming};

    fn put(outgoing: &mut Outgoing, id: u64, len: usize) {
        outgoing.put(id, |out| head::put_pieces(out, Kind::WsSend, 0, id, &vec![id as u8; len]));
    }

    /// Writes everything to the other end and returns `(id, length, more)` of each frame there.
    async fn pass(outgoing: &mut Outgoing) -> Vec<(u64, usize, bool)> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, theirs) = (Socket::new(ours).unwrap(), Socket::new(theirs).unwrap());
        let (mut incoming, mut seen) = (Incoming::default(), Vec::new());
        loop {
            let written = outgoing.write_to(&ours).unwrap();
            assert_eq!(incoming.fill(&theirs).await.unwrap(), Filled::Bytes);
            while let Some(frame) = incoming.next_frame().unwrap() {
                assert!(frame.payload.iter().all(|byte| u64::from(*byte) == frame.id));
                seen.push((frame.id, frame.payload.len(), frame.has(flags::MORE)));
            }
            if written == Written::All && incoming.try_fill(&theirs).unwrap() == Filled::Nothing {
                return seen;
            }
            while let Some(frame) = incoming.next_frame().unwrap() {
                seen.push((frame.id, frame.payload.len(), frame.has(flags::MORE)));
            }
        }
    }

    #[tokio::test]
    async fn a_long_payload_lets_others_pass_but_not_its_own_id() {
        const FULL: usize = FRAME_PAYLOAD_BYTES;
        let mut outgoing = Outgoing::default();
        put(&mut outgoing, 1, 2 * FULL + 5);
        put(&mut outgoing, 1, 10);
        put(&mut outgoing, 2, 20);
        let seen = pass(&mut outgoing).await;
        let expected =
            [(2, 20, false), (1, FULL, true), (1, FULL, true), (1, 5, false), (1, 10, false)];
        assert_eq!(seen, expected);
        assert!(outgoing.is_empty());
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_does_not_go_out_unless_it_has_begun_to() {
        const FULL: usize = FRAME_PAYLOAD_BYTES;
        let mut outgoing = Outgoing::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, theirs) = (Socket::new(ours).unwrap(), Socket::new(theirs).unwrap());
        for _ in 0..20 {
            put(&mut outgoing, 1, FULL);
        }
        assert_eq!(outgoing.write_to(&ours).unwrap(), Written::Full);
        let before = outgoing.waiting_bytes();
        put(&mut outgoing, 2, 10);
        put(&mut outgoing, 3, 20);
        put(&mut outgoing, 4, 2 * FULL);
        put(&mut outgoing, 2, 30);
        outgoing.retain(|header| header.id == 3);
        assert!(outgoing.waiting_bytes() < before, "the rest of the first is not sent");
        let mut incoming = Incoming::default();
        let mut seen = Vec::new();
        while incoming.try_fill(&theirs).unwrap() == Filled::Bytes {
            while let Some(frame) = incoming.next_frame().unwrap() {
                seen.push((frame.id, frame.payload.len()));
            }
            outgoing.write_to(&ours).unwrap();
        }
        assert!(outgoing.is_empty());
        let others = seen.iter().filter(|(id, _)| *id != 1).copied().collect::<Vec<_>>();
        assert_eq!(others, [(3, 20), (4, FULL), (4, FULL)]);
        assert!(seen.len() < 23, "{seen:?}");
    }

    /// Each payload begins with its number, so that what arrives of an id can be told to be in order.
    #[tokio::test]
    async fn whatever_is_dropped_and_forgotten_meanwhile_payloads_arrive_whole_and_in_order() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut outgoing = Outgoing::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, theirs) = (Socket::new(ours).unwrap(), Socket::new(theirs).unwrap());
        let (mut incoming, mut numbers) = (Incoming::default(), 0_u64..);
        let (mut parts, mut lasts, mut arrived) = ([0_usize; 5], [None; 5], 0);
        while arrived < 2000 {
            for number in numbers.by_ref().take(random.usize(..20)) {
                let is_short = random.u8(..4) > 0;
                let most = if is_short { 100 } else { 3 * FRAME_PAYLOAD_BYTES };
                let mut payload = vec![0; 8 + random.usize(..most)];
                payload[..8].copy_from_slice(&number.to_be_bytes());
                let id = random.u64(..5);
                outgoing.put(id, |out| {
                    head::put_pieces(out, Kind::WsSend, 0, id, &payload);
                });
            }
            if random.bool() {
                let unwanted = random.u64(..5);
                outgoing.retain(|header| header.id != unwanted);
            }
            outgoing.write_to(&ours).unwrap();
            if incoming.try_fill(&theirs).unwrap() != Filled::Bytes {
                tokio::task::yield_now().await;
            }
            while let Some(frame) = incoming.next_frame().unwrap() {
                let id = frame.id as usize;
                if parts[id] == 0 {
                    let number = frame.payload.first_chunk().map(|it| u64::from_be_bytes(*it));
                    assert!(number > lasts[id], "of {id} {number:?} behind {:?}", lasts[id]);
                    lasts[id] = number;
                }
                parts[id] = if frame.has(flags::MORE) { parts[id] + 1 } else { 0 };
                assert!(parts[id] <= 3, "pieces of one payload follow each other");
                arrived += usize::from(parts[id] == 0);
            }
        }
    }

    #[tokio::test]
    async fn what_passes_through_a_queue_that_never_runs_empty_is_forgotten() {
        const LONG: usize = 8 * FRAME_PAYLOAD_BYTES;
        let mut outgoing = Outgoing::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, theirs) = (Socket::new(ours).unwrap(), Socket::new(theirs).unwrap());
        put(&mut outgoing, 2, LONG);
        let (mut incoming, mut passed, mut of_long) = (Incoming::default(), 0, 0);
        while passed < 64 << 20 {
            while outgoing.waiting_bytes() < LONG + (1 << 20) {
                put(&mut outgoing, 1, 10_000);
            }
            outgoing.write_to(&ours).unwrap();
            assert!(outgoing.waiting_bytes() > 0, "it never runs empty");
            assert_eq!(incoming.fill(&theirs).await.unwrap(), Filled::Bytes);
            while let Some(frame) = incoming.next_frame().unwrap() {
                assert!(frame.payload.iter().all(|byte| u64::from(*byte) == frame.id));
                passed += frame.payload.len();
                of_long += if frame.id == 2 { frame.payload.len() } else { 0 };
            }
            assert!(outgoing.batch.capacity() <= 8 << 20, "{passed}");
        }
        assert_eq!(of_long, LONG, "nor does what others put keep a long payload waiting");
    }

    #[tokio::test]
    async fn a_full_socket_loses_nothing() {
        let mut outgoing = Outgoing::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, theirs) = (Socket::new(ours).unwrap(), Socket::new(theirs).unwrap());
        for _ in 0..100 {
            put(&mut outgoing, 3, 10_000);
        }
        let (mut incoming, mut frames) = (Incoming::default(), 0);
        assert_eq!(outgoing.write_to(&ours).unwrap(), Written::Full);
        while frames < 100 {
            let (written, filled) = tokio::join!(ours.writable(), incoming.fill(&theirs));
            written.unwrap();
            assert_eq!(filled.unwrap(), Filled::Bytes);
            while incoming.next_frame().unwrap().is_some() {
                frames += 1;
            }
            if !outgoing.is_empty() {
                outgoing.write_to(&ours).unwrap();
            }
        }
        assert!(outgoing.is_empty());
    }
}
