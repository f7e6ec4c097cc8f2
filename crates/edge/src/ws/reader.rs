//! The task of a connection: reads its socket, and does for it what needs a task.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use shovel_protocol::{Close, CloseCode};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::decoder::{Decoded, Decoder, Limits, Received, Violation};
use super::pace::Pace;
use super::rate::Rate;
use super::{Settings, Socket, Why};
use crate::Backend;
use crate::backend::Relief;
use crate::http::Switch;
use crate::http1::connection::Switched;
use crate::ledger::Reads;
use crate::transport::ReadHalf;

/// Reads of one poll: a fast client must let others have the thread.
const READS_PER_POLL: usize = 4;

/// Reads one connection until it ends.
pub(crate) struct Reader<B: Backend> {
    backend: Rc<B>,
    route: B::Route,
    socket: Socket,
    read: ReadHalf,
    decoder: Decoder,
    /// Bytes that were read and not decoded, because a message among them is withheld.
    carry: Vec<u8>,
    pace: Pace,
    /// How many messages it may send, if that is limited.
    rate: Option<Rate>,
    /// Bytes that came, less those of whole control frames.
    message_bytes: u64,
    /// It was not read when memory was short.
    is_starved: bool,
    /// What the client ended with. Our close frame waits until what it said before is handled, so
    /// that answers to it are not lost; nothing may follow that frame (RFC 6455 §5.5.1).
    last: Option<Last>,
}

/// The last that is understood of a client.
enum Last {
    /// Its close frame.
    Close(Option<(CloseCode, String)>),
    /// It broke the protocol.
    Violation(Violation),
}

impl<B: Backend> Reader<B> {
    /// Takes the stream over from HTTP, with the bytes that HTTP has read beyond its request.
    pub(crate) fn new(backend: Rc<B>, switched: Switched<B>, settings: &Settings) -> Self {
        let Switched { switch, read, write, head, already_read: carry } = switched;
        let Switch { route, socket, .. } = switch;
        socket.open(write, head);
        let decoder = Decoder::new(Limits { max_message_bytes: settings.max_message_bytes });
        let message_bytes = carry.len() as u64;
        let pace = Pace::default();
        let rate = settings.max_messages_per_second;
        let rate = rate.map(|per_second| Rate::new(per_second, Instant::now()));
        Reader {
            backend,
            route,
            socket,
            read,
            decoder,
            carry,
            pace,
            rate,
            message_bytes,
            is_starved: false,
            last: None,
        }
    }

    /// Reads until the connection has ended, then tells the backend.
    ///
    /// # Cancel safety
    /// Not to be cancelled: the backend would never hear of the end.
    pub(crate) async fn run(mut self) {
        let close = poll_fn(|context| self.poll(context)).await;
        self.socket.drop_stream();
        self.backend.closed(self.route, close);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Close> {
        self.socket.set_task(context);
        if self.socket.take_eviction() {
            self.evict();
        }
        self.socket.poll_write(context);
        if let Some(over) = self.socket.take_pressure() {
            self.backend.pressure(self.route, over);
        }
        if self.socket.take_emptied() {
            self.backend.emptied(self.route);
        }
        self.read(context);
        if let Some(rate) = &mut self.rate {
            rate.poll_wake(context);
        }
        self.close_when_idle();
        self.socket.note_incoming(self.decoder.reserved_bytes() + self.carry.capacity());
        self.socket.ended().map_or(Poll::Pending, Poll::Ready)
    }

    /// Its memory is wanted back.
    #[cold]
    fn evict(&mut self) {
        self.socket.evict();
        self.decoder = Decoder::new(Limits { max_message_bytes: 0 });
        (self.carry, self.last) = (Vec::new(), None);
        self.backend.relieved(Relief::ClosedConnection);
    }

    /// How much of the client to read at once; `None` if it is not read for now.
    #[inline]
    fn most_bytes(&mut self) -> Option<usize> {
        let mut reads = self.socket.reads();
        // One that has gone is read to its end: nothing else frees what it holds.
        if matches!(reads, Reads::Nothing { .. }) && self.read.has_ended() {
            reads = Reads::All;
        }
        let is_starved = matches!(reads, Reads::Nothing { .. });
        if is_starved != self.is_starved {
            self.is_starved = is_starved;
            self.socket.starve(is_starved);
        }
        match reads {
            Reads::All => Some(self.pace.bytes()),
            Reads::Little(bytes) => Some(self.pace.bytes().min(bytes)),
            Reads::Nothing { is_new } => {
                if is_new {
                    self.backend.relieved(Relief::NotRead);
                }
                None
            }
        }
    }

    fn close_when_idle(&mut self) {
        if self.last.is_none() && self.socket.finishing().is_none() {
            return;
        }
        let is_idle = self.carry.is_empty() && self.backend.is_idle(self.route);
        if self.last.is_some() && (is_idle || self.socket.has_settled()) {
            match self.last.take() {
                Some(Last::Violation(violation)) => {
                    self.socket.refuse(violation);
                }
                Some(Last::Close(close)) => {
                    let close = close.as_ref().map(|(code, reason)| (*code, &reason[..]));
                    self.socket.answer_close(close);
                }
                None => {}
            }
        }
        if let Some((code, reason)) = self.socket.finishing() {
            if is_idle {
                self.socket.close_because(code, reason, reason);
            } else if self.socket.is_stalled() {
                // It does not read: its handlers may wait for that, and would for ever.
                self.socket.close_slow(code, reason);
            }
        }
    }

    fn read(&mut self, context: &mut Context<'_>) {
        for _ in 0..READS_PER_POLL {
            if !self.take_carry() || self.last.is_some() || self.socket.finishing().is_some() {
                return;
            }
            let Some(most) = self.most_bytes() else { return };
            let turn = self.socket.turn().clone();
            let read =
                turn.buffers().with_read(|buffer| self.read_once(context, &mut buffer[..most]));
            match read {
                Poll::Pending => return,
                Poll::Ready(is_much) if is_much => break,
                Poll::Ready(_) => {}
            }
        }
        context.waker().wake_by_ref();
    }

    /// Decodes what was left over. `false` if a message in it is still withheld.
    fn take_carry(&mut self) -> bool {
        if self.carry.is_empty() {
            return true;
        }
        let mut carry = std::mem::take(&mut self.carry);
        let taken = self.decode(&mut carry);
        carry.drain(..taken);
        if !carry.is_empty() {
            self.carry = carry;
        }
        self.carry.is_empty()
    }

    /// Reads once. Whether others should have their turn before the next time.
    fn read_once(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<bool> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut self.read).poll_read(context, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => {
                self.socket.end(Why::Failed(error.kind()));
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                // Its half is at an end; ours is not before our close frame is out (RFC 6455 §5.5.1).
                if !self.socket.is_saying_goodbye() {
                    self.socket.end(Why::Gone);
                }
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) => {}
        }
        // There is more of it, and others wait: what so many bytes bring takes a while.
        let is_full = buffer.remaining() == 0;
        self.message_bytes += buffer.filled().len() as u64;
        let taken = self.decode(buffer.filled_mut());
        if taken < buffer.filled().len() {
            self.carry = buffer.filled()[taken..].to_vec();
        }
        let is_crowded = self.pace.note(self.decoder.take_frames(), buffer.filled().len());
        Poll::Ready(is_crowded || is_full)
    }

    /// A message came of a client whose rate is limited.
    #[cold]
    fn count_message(&mut self) {
        if let Some(rate) = &mut self.rate {
            rate.take(1, Instant::now());
        }
        self.look_at_rate();
    }

    /// Whether messages of such a client are withheld for now.
    #[cold]
    fn look_at_rate(&self) {
        let is_over = self.rate.as_ref().is_some_and(|rate| rate.left(Instant::now()) == 0);
        // What has been read is all that its close waits for: that is handled at once.
        self.socket.throttle(is_over && self.socket.finishing().is_none());
    }

    /// One is, and the reader is woken when it may go on.
    #[cold]
    fn await_rate(&mut self) {
        let now = Instant::now();
        if let Some(rate) = self.rate.as_mut().filter(|rate| rate.left(now) == 0)
            && rate.wake_later(now)
        {
            self.backend.held_back();
        }
    }

    /// Where the client stands in a message that it has not ended.
    fn message(&self) -> Option<u64> {
        (!self.decoder.is_idle()).then_some(self.message_bytes)
    }

    /// Decodes until more bytes are needed or a message must be withheld; returns how many bytes
    /// were taken.
    fn decode(&mut self, input: &mut [u8]) -> usize {
        if self.rate.is_some() {
            self.look_at_rate();
        }
        let mut taken = 0;
        loop {
            let Some((hold, is_open)) = self.socket.hold() else { return input.len() };
            let Decoded { consumed, event } = match self.decoder.decode(&mut input[taken..], hold) {
                Ok(decoded) => decoded,
                Err(violation) => {
                    self.last = Some(Last::Violation(violation));
                    self.socket.settle();
                    return input.len();
                }
            };
            taken += consumed;
            match event {
                Some(Received::Message { kind, data }) => {
                    if is_open {
                        self.backend.message(self.route, kind, data);
                        if self.rate.is_some() {
                            self.count_message();
                        }
                    }
                }
                Some(Received::Ping(payload)) => {
                    self.message_bytes -= control_bytes(payload);
                    self.socket.pong(payload);
                }
                Some(Received::Pong(payload)) => self.message_bytes -= control_bytes(payload),
                Some(Received::Close(close)) => {
                    let close = close.map(|(code, reason)| (code, reason.to_owned()));
                    self.last = Some(Last::Close(close));
                    self.socket.settle();
                    self.socket.note_read(false, None);
                    // RFC 6455 §1.4: what comes behind a close frame is not looked at.
                    return input.len();
                }
                Some(Received::Withheld) => {
                    if self.rate.is_some() {
                        self.await_rate();
                    }
                    self.socket.note_read(true, self.message());
                    return taken;
                }
                None => {
                    self.socket.note_read(false, self.message());
                    return taken;
                }
            }
        }
    }
}

/// Bytes of a control frame of a client: a head of 2, a mask of 4, and the payload (RFC 6455 §5.2).
fn control_bytes(payload: &[u8]) -> u64 {
    6 + payload.len() as u64
}
