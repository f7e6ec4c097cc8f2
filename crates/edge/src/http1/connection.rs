//! One connection of a client while it speaks HTTP/1: a state machine that its task polls.
//!
//! All of it lies in one struct, so that it can be looked at, and taken elsewhere, at any moment.

mod ending;
mod exchange;
mod memory;
mod upload;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, StatusCode, Version};
use tokio::time::Sleep;

use self::ending::Asked;
use self::exchange::{Exchange, Stage};
use self::upload::Upload;
use super::body::body;
use super::clock::{Clock, Wait};
use super::framing::Length;
use super::head::{self, Head, Refusal};
use super::input::Input;
use super::response::{ResponseContext, put_head};
use super::writing::Writing;
use crate::backend::Backend;
use crate::connection::{Admitted, Server};
use crate::http::{self as semantics, Switch};
use crate::ledger::Account;
use crate::outbox::{Outbox, Written};
use crate::transport::{ReadHalf, Transport, WriteHalf};
use crate::ws::handshake;

/// Steps of one poll: a client with much to say must let others have the thread.
const STEPS: usize = 32;

/// So much may be read ahead of the request that is answered.
const AHEAD_BYTES: usize = 64 * 1024;

/// A connection.
pub(crate) struct Connection<B: Backend> {
    server: Rc<Server<B>>,
    admitted: Rc<Admitted>,
    read: ReadHalf,
    write: Writing,
    input: Input,
    outbox: Outbox,
    state: State<B>,
    clock: Clock,
    account: Account,
    /// Something was taken: by the client, or of what it sent.
    has_moved: bool,
    /// It is not read, since memory is short.
    is_starved: bool,
    /// It was read, or would have been, in this step.
    is_read: bool,
    /// When to look whether it has gone, while it is not read.
    next_look: Option<Pin<Box<Sleep>>>,
    stop: Stop,
    /// It has had a request before.
    has_served: bool,
    asking: Asking<B>,
}

/// Tells the backend while its client asks for something.
struct Asking<B: Backend> {
    backend: Rc<B>,
    is_on: bool,
}

impl<B: Backend> Asking<B> {
    fn set(&mut self, is_on: bool) {
        if self.is_on != is_on {
            self.is_on = is_on;
            self.backend.asks(is_on);
        }
    }
}

impl<B: Backend> Drop for Asking<B> {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Whether the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// Yes, and what has come by now is still to be read.
    Wanted,
    /// Requests that begin before this byte are answered.
    At(u64),
}

enum State<B: Backend> {
    /// A head is to come, of which so much was not enough.
    Head { looked_at: usize },
    /// A request is answered.
    Exchange(Box<Exchange<B>>),
    /// Something of ours goes out, and that is the end.
    Last,
    /// We have ended, and what the client sends is dropped.
    Lingers,
}

/// How it ends.
pub(crate) enum End<B: Backend> {
    /// It is closed.
    Closed,
    /// It is a WebSocket from here on; then [`Connection::into_switched`].
    Switched(Switch<B>),
}

/// What a WebSocket begins with.
pub(crate) struct Switched<B: Backend> {
    pub(crate) switch: Switch<B>,
    pub(crate) read: ReadHalf,
    pub(crate) write: WriteHalf,
    /// The 101, which goes out before all else.
    pub(crate) head: Vec<u8>,
    /// What was read beyond the request.
    pub(crate) already_read: Vec<u8>,
}

enum Step<B: Backend> {
    /// There may be more to do.
    Again,
    /// Something outside has to happen first.
    Wait,
    End(End<B>),
}

impl<B: Backend> Connection<B> {
    pub(crate) fn new(server: Rc<Server<B>>, transport: Transport, admitted: Rc<Admitted>) -> Self {
        let (read, write) = transport.into_split();
        let asking = Asking { backend: server.backend.clone(), is_on: false };
        let account = Account::new(server.turn.ledger());
        Connection {
            server,
            admitted,
            read,
            write: Writing::new(write),
            input: Input::default(),
            outbox: Outbox::default(),
            state: State::Head { looked_at: 0 },
            clock: Clock::default(),
            account,
            has_moved: false,
            is_starved: false,
            is_read: false,
            next_look: None,
            stop: Stop::No,
            has_served: false,
            asking,
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop != Stop::No
    }

    /// Ends once what has been read is answered.
    pub(crate) fn stop(&mut self) {
        self.stop = Stop::Wanted;
    }

    /// Goes on until it ends.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<End<B>> {
        if self.account.take_eviction()
            && let Some(end) = self.evict()
        {
            return Poll::Ready(end);
        }
        if self.stop == Stop::Wanted {
            self.read_for_the_last_time(context);
        }
        let polled = self.poll_steps(context);
        self.note_held(context);
        polled
    }

    fn poll_steps(&mut self, context: &mut Context<'_>) -> Poll<End<B>> {
        for _ in 0..STEPS {
            match self.step(context) {
                Step::Again => {}
                Step::End(end) => return Poll::Ready(end),
                Step::Wait => {
                    match self.poll_unread(context) {
                        Some(Step::End(end)) => return Poll::Ready(end),
                        Some(Step::Again) => continue,
                        Some(Step::Wait) | None => {}
                    }
                    match self.poll_clock(context) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(wait) => {
                            if let Some(end) = self.be_late(wait) {
                                return Poll::Ready(end);
                            }
                        }
                    }
                }
            }
        }
        // Nor does a client that has always more to say get more time than others.
        if let Poll::Ready(wait) = self.poll_clock(context)
            && let Some(end) = self.be_late(wait)
        {
            return Poll::Ready(end);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn step(&mut self, context: &mut Context<'_>) -> Step<B> {
        self.is_read = false;
        match &self.state {
            State::Head { .. } => self.step_of_head(context),
            State::Exchange(_) => self.step_of_exchange(context),
            State::Last => self.step_of_last(context),
            State::Lingers => self.step_of_lingering(context),
        }
    }

    fn step_of_head(&mut self, context: &mut Context<'_>) -> Step<B> {
        let State::Head { looked_at } = &mut self.state else { return Step::Again };
        if self.input.bytes().len() > *looked_at {
            let limits = self.server.http().head;
            match head::find(self.input.bytes(), *looked_at, &limits) {
                Ok(head::Found::Head(head, bytes)) => {
                    self.input.take(bytes, self.server.turn.buffers());
                    return self.begin(*head, bytes);
                }
                Ok(head::Found::Nothing) => *looked_at = self.input.bytes().len(),
                Err(refusal) => return self.refuse(refusal, self.asked()),
            }
        }
        if self.input.has_ended() {
            return Step::End(End::Closed);
        }
        let is_new = self.input.is_empty();
        match self.fill(context) {
            Poll::Ready(Ok(())) => Step::Again,
            Poll::Ready(Err(_)) => Step::End(End::Closed),
            // Nothing has come that would have to be answered.
            Poll::Pending if is_new && self.is_stopping() => Step::End(End::Closed),
            Poll::Pending => {
                self.asking.set(false);
                self.clock.wait_for(if is_new { Wait::Request } else { Wait::Head });
                Step::Wait
            }
        }
    }

    /// A whole head has come.
    fn begin(&mut self, head: Head, head_bytes: usize) -> Step<B> {
        let settings = self.server.http();
        if let (Length::Bytes(bytes), Some(most)) = (head.length, settings.max_body_bytes)
            && bytes > most
        {
            return self.refuse(Refusal::too_long_a_body(), Asked::by(&head.method));
        }
        self.clock.note_progress();
        self.asking.set(true);
        self.has_served = true;
        let Head { method, uri, version, headers, length, keeps, expects_continue } = head;
        // It is refused, and to some its body would be what follows the upgrade.
        let keeps =
            keeps && (length == Length::Bytes(0) || !handshake::is_meant(version, &headers));
        let (body, inlet) = body(length, self.server.turn.ledger());
        let takes_trailers = version == Version::HTTP_11 && semantics::takes_trailers(&headers);
        let asked = ResponseContext { method: method.clone(), version, takes_trailers };
        let mut request = Box::new(Request::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        let answer = semantics::answer(self.server.clone(), request, self.admitted.clone());
        let upload = Upload::new(length, inlet, expects_continue);
        let stage = Stage::Awaited(Box::pin(answer));
        self.state =
            State::Exchange(Box::new(Exchange { asked, head_bytes, keeps, upload, stage }));
        Step::Again
    }

    fn fill(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !self.may_fill() {
            return Poll::Pending;
        }
        self.is_read = true;
        let buffers = self.server.turn.buffers();
        let filled = self.input.poll_fill(&mut self.read, buffers, context);
        // A head has its time in all, however it comes.
        if filled.is_ready() && self.clock.waits() == Some(Wait::Body) {
            self.clock.note_progress();
        }
        filled
    }

    /// When the server stops, what has come by then is read once more and answered: not what comes
    /// while that goes on, or a client could keep the server for ever.
    fn read_for_the_last_time(&mut self, context: &mut Context<'_>) {
        if self.input.bytes().len() < AHEAD_BYTES {
            let _ = self.fill(context);
        }
        self.stop = Stop::At(self.input.position() + self.input.bytes().len() as u64);
    }

    /// Writes what there is. Whether that was all; else the task is woken when there is room.
    fn write_out(&mut self, context: &mut Context<'_>) -> std::io::Result<bool> {
        let Some(write) = self.write.half() else { return Ok(true) };
        while self.outbox.bytes() > 0 {
            let before = self.outbox.bytes();
            let written = self.outbox.write_to(write, self.server.turn.buffers())?;
            if self.outbox.bytes() < before {
                self.has_moved = true;
                if self.clock.waits() == Some(Wait::Reading) {
                    self.clock.note_progress();
                }
            }
            match (written, write.poll_ready(context)) {
                (Written::All, _) => {}
                (Written::Full, Poll::Pending) => return Ok(false),
                (Written::Full, Poll::Ready(ready)) => ready?,
            }
        }
        Ok(true)
    }

    /// After [`End::Switched`].
    pub(crate) fn into_switched(mut self, switch: Switch<B>) -> Option<Switched<B>> {
        let already_read = self.input.take_all(self.server.turn.buffers());
        let mut head = Vec::new();
        let status = StatusCode::SWITCHING_PROTOCOLS;
        put_head(&mut head, Version::HTTP_11, status, &switch.headers, None);
        Some(Switched { switch, read: self.read, write: self.write.take()?, head, already_read })
    }
}
