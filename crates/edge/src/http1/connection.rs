//! One connection of a client while it speaks HTTP/1: a state machine that its task polls.
//!
//! All of it lies in one struct, so that it can be looked at, and taken elsewhere, at any moment.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ALLOW, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Body as _;

use super::body::{Appetite, BrokenBody, Inlet, body};
use super::clock::{Clock, Wait};
use super::framing::{Decoder, Found, Length};
use super::head::{self, Head, Refusal};
use super::input::Input;
use super::response::{Framing, ResponseContext, put_head};
use super::writing::Writing;
use crate::backend::{Backend, Refused};
use crate::connection::{Admitted, Server};
use crate::http::body::Body;
use crate::http::{self as semantics, HalfClose, Reply, Settings, Switch};
use crate::transport::{ReadHalf, Transport, WriteHalf};
use crate::ws::outbox::{Outbox, Written};

/// Steps of one poll: a client with much to say must let others have the thread.
const STEPS: usize = 32;

/// So much of a response waits at most; then its backend is asked for no more.
const OUTBOX_BYTES: usize = 64 * 1024;

/// So much may be read ahead of the request that is answered.
const AHEAD_BYTES: usize = 64 * 1024;

/// So much of a body that nobody wants is read, for the next request's sake. Beyond it the connection
/// ends with the response.
const UNWANTED_BYTES: u64 = 256 * 1024;

/// How long a client may send on after our end, so that it can read what we have sent.
const LINGERS: Duration = Duration::from_secs(2);

/// How long a client may take for the rest of a head when the server stops.
const LAST_HEAD: Duration = Duration::from_secs(1);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

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
    is_stopping: bool,
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

struct Exchange<B: Backend> {
    asked: ResponseContext,
    keeps: bool,
    upload: Upload,
    stage: Stage<B>,
}

enum Stage<B: Backend> {
    /// The answer is being made.
    Awaited(Pin<Box<dyn Future<Output = Reply<B>>>>),
    /// Its head has gone out, and this comes behind it.
    Body(Body<B::Body>, Framing),
    /// All of it goes out.
    Whole,
}

/// The body of a request on its way in.
struct Upload {
    decoder: Decoder,
    inlet: Option<Inlet>,
    /// The client waits for a word before it sends any of it.
    is_awaited: bool,
    bytes: u64,
    unwanted_bytes: u64,
    is_broken: bool,
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
        Connection {
            server,
            admitted,
            read,
            write: Writing::new(write),
            input: Input::default(),
            outbox: Outbox::default(),
            state: State::Head { looked_at: 0 },
            clock: Clock::default(),
            is_stopping: false,
            has_served: false,
            asking,
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Ends once what has been read is answered.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Goes on until it ends.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<End<B>> {
        for _ in 0..STEPS {
            match self.step(context) {
                Step::Again => {}
                Step::End(end) => return Poll::Ready(end),
                Step::Wait => match self.poll_clock(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(wait) => {
                        if let Some(end) = self.be_late(wait) {
                            return Poll::Ready(end);
                        }
                    }
                },
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn step(&mut self, context: &mut Context<'_>) -> Step<B> {
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
                    return self.begin(*head);
                }
                Ok(head::Found::Nothing) => *looked_at = self.input.bytes().len(),
                Err(refusal) => return self.refuse(refusal),
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
            Poll::Pending if is_new && self.is_stopping => Step::End(End::Closed),
            Poll::Pending => {
                self.asking.set(false);
                self.clock.wait_for(if is_new { Wait::Request } else { Wait::Head });
                Step::Wait
            }
        }
    }

    /// A whole head has come.
    fn begin(&mut self, head: Head) -> Step<B> {
        let settings = self.server.http();
        if let (Length::Bytes(bytes), Some(most)) = (head.length, settings.max_body_bytes)
            && bytes > most
        {
            return self.refuse(Refusal::too_long_a_body());
        }
        self.clock.note_progress();
        self.asking.set(true);
        self.has_served = true;
        let Head { method, uri, version, headers, length, keeps, expects_continue } = head;
        let (body, inlet) = body(length);
        let takes_trailers = version == Version::HTTP_11 && semantics::takes_trailers(&headers);
        let asked = ResponseContext { method: method.clone(), version, takes_trailers };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        let answer = semantics::answer(self.server.clone(), request, self.admitted.clone());
        let upload = Upload {
            decoder: Decoder::new(length),
            inlet,
            is_awaited: expects_continue,
            bytes: 0,
            unwanted_bytes: 0,
            is_broken: false,
        };
        let stage = Stage::Awaited(Box::pin(answer));
        self.state = State::Exchange(Box::new(Exchange { asked, keeps, upload, stage }));
        Step::Again
    }
}

impl<B: Backend> Connection<B> {
    fn step_of_exchange(&mut self, context: &mut Context<'_>) -> Step<B> {
        let is_hungry = self.feed(context);
        if let Some(step) = self.step_of_answer(context) {
            return step;
        }
        let was_full = self.outbox.bytes() >= OUTBOX_BYTES;
        let is_written = match self.write_out(context) {
            Ok(is_written) => is_written,
            Err(_) => return Step::End(End::Closed),
        };
        if was_full && self.outbox.bytes() < OUTBOX_BYTES {
            // The backend was not asked for more, and would not tell.
            return Step::Again;
        }
        let State::Exchange(exchange) = &self.state else { return Step::Again };
        let is_whole = matches!(exchange.stage, Stage::Whole);
        if is_whole && is_written && !(is_hungry && self.may_go_on()) {
            return self.finish();
        }
        // Beyond the request the client is read to learn that it has gone.
        let is_watched = !is_whole && self.input.bytes().len() < AHEAD_BYTES;
        if (is_hungry || is_watched) && !self.input.has_ended() {
            match self.fill(context) {
                Poll::Ready(Ok(())) if self.is_gone() => return Step::End(End::Closed),
                Poll::Ready(Ok(())) => return Step::Again,
                Poll::Ready(Err(_)) => return Step::End(End::Closed),
                Poll::Pending => {}
            }
        }
        match (is_written, is_hungry) {
            (false, _) => self.clock.wait_for(Wait::Reading),
            (true, true) => self.clock.wait_for(Wait::Body),
            (true, false) => self.clock.note_progress(),
        }
        Step::Wait
    }

    /// Whether the client has ended while its answer is made, and that means that it has gone: a FIN is
    /// also what closing a socket sends.
    fn is_gone(&self) -> bool {
        self.input.has_ended() && self.server.http().half_close == HalfClose::Cancel
    }

    /// Gets on with the answer. `None` if nothing has become of it.
    fn step_of_answer(&mut self, context: &mut Context<'_>) -> Option<Step<B>> {
        let State::Exchange(exchange) = &mut self.state else { return None };
        let (body, framing) = match &mut exchange.stage {
            Stage::Awaited(answer) => {
                return match answer.as_mut().poll(context) {
                    Poll::Ready(Reply::Response(response)) => Some(self.respond(response, context)),
                    Poll::Ready(Reply::Switch(switch)) => Some(Step::End(End::Switched(switch))),
                    Poll::Pending => None,
                };
            }
            Stage::Body(body, framing) => (body, framing),
            Stage::Whole => return None,
        };
        let buffers = self.server.turn.buffers();
        while self.outbox.bytes() < OUTBOX_BYTES {
            let is_good = match Pin::new(&mut *body).poll_frame(context) {
                Poll::Pending => return None,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        if framing.put(&mut self.outbox, buffers, data) {
                            continue;
                        }
                        false
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        framing.end(&mut self.outbox, buffers, &trailers)
                    }
                },
                Poll::Ready(None) => framing.end(&mut self.outbox, buffers, &HeaderMap::new()),
                Poll::Ready(Some(Err(_))) => false,
            };
            exchange.stage = Stage::Whole;
            if !is_good {
                // Its client must not take it for whole: the connection ends before its end.
                self.state = State::Last;
            }
            return Some(Step::Again);
        }
        None
    }

    /// The answer has a head.
    fn respond(&mut self, response: Response<Body<B::Body>>, context: &mut Context<'_>) -> Step<B> {
        // When the server stops, a request that has come by now is answered too.
        let is_last = self.is_stopping && {
            let _ = self.fill(context);
            self.input.is_empty()
        };
        let State::Exchange(exchange) = &mut self.state else { return Step::Again };
        let (parts, body) = response.into_parts();
        let (status, mut headers) = (parts.status, parts.headers);
        let framing =
            Framing::choose(&exchange.asked, status, &mut headers, body.size_hint().exact());
        let upload = &exchange.upload;
        // One who waits for a word may send its body or not: what comes next could be either.
        let is_clear = !upload.is_awaited && !upload.is_broken && framing != Framing::Close;
        exchange.keeps &= is_clear && !is_last && !self.input.is_used_up();
        let (version, keeps) = (exchange.asked.version, Some(exchange.keeps));
        self.outbox.put(self.server.turn.buffers(), |out| {
            put_head(out, version, status, &headers, keeps);
        });
        if framing == Framing::Close {
            self.write.begin_open_ended();
        }
        exchange.stage = match framing {
            Framing::None => Stage::Whole,
            framing => Stage::Body(body, framing),
        };
        Step::Again
    }

    /// Takes what has come of the request's body. Returns whether more is wanted than has come.
    fn feed(&mut self, context: &mut Context<'_>) -> bool {
        let State::Exchange(exchange) = &mut self.state else { return false };
        let Exchange { upload, stage, .. } = &mut **exchange;
        let buffers = self.server.turn.buffers();
        while let Some(inlet) = &upload.inlet {
            match inlet.appetite(context) {
                Appetite::More => {
                    if std::mem::take(&mut upload.is_awaited) && matches!(stage, Stage::Awaited(_))
                    {
                        self.outbox.put(buffers, |out| out.extend_from_slice(CONTINUE));
                    }
                }
                Appetite::None if upload.is_awaited || upload.is_too_much() => return false,
                Appetite::None => {}
                Appetite::NotAsked | Appetite::Full => return false,
            }
            match upload.decoder.decode(self.input.bytes()) {
                Ok((skipped, Found::Data(bytes))) => {
                    let data = &self.input.bytes()[skipped..skipped + bytes];
                    upload.pass(data, self.server.http().max_body_bytes);
                    self.input.take(skipped + bytes, buffers);
                }
                Ok((skipped, Found::End(trailers))) => {
                    self.input.take(skipped, buffers);
                    upload.end(Ok(trailers));
                }
                Ok((skipped, Found::Nothing)) => {
                    self.input.take(skipped, buffers);
                    if !self.input.has_ended() {
                        return true;
                    }
                    upload.end(Err(BrokenBody::Gone));
                }
                Err(bad) => upload.end(Err(bad.into())),
            }
        }
        false
    }

    /// Whether the rest of a body that nobody wants is read for the sake of the next request.
    fn may_go_on(&self) -> bool {
        matches!(&self.state, State::Exchange(exchange) if exchange.keeps)
            && !self.is_stopping
            && !self.input.has_ended()
    }

    /// The response has gone out.
    fn finish(&mut self) -> Step<B> {
        let State::Exchange(exchange) = &self.state else { return Step::Again };
        self.write.note_whole();
        let is_read = exchange.upload.inlet.is_none() && !exchange.upload.is_broken;
        let keeps = exchange.keeps && is_read && !self.input.is_used_up();
        self.clock.note_progress();
        // When the server stops, what is there by now is answered too.
        if keeps {
            self.state = State::Head { looked_at: 0 };
            return Step::Again;
        }
        if is_read && self.input.is_empty() {
            return Step::End(End::Closed);
        }
        self.linger()
    }

    /// Ends our side. To close with something unread would have the system throw away what the client
    /// has not read.
    fn linger(&mut self) -> Step<B> {
        self.write.end();
        self.state = State::Lingers;
        self.clock.note_progress();
        Step::Again
    }

    fn step_of_last(&mut self, context: &mut Context<'_>) -> Step<B> {
        match self.write_out(context) {
            // Our end would say that it is whole.
            Ok(true) if self.write.is_open_ended() => Step::End(End::Closed),
            Ok(true) => self.linger(),
            Ok(false) => {
                self.clock.wait_for(Wait::Reading);
                Step::Wait
            }
            Err(_) => Step::End(End::Closed),
        }
    }

    fn step_of_lingering(&mut self, context: &mut Context<'_>) -> Step<B> {
        let buffers = self.server.turn.buffers();
        self.input.take(self.input.bytes().len(), buffers);
        if self.input.has_ended() {
            return Step::End(End::Closed);
        }
        match self.fill(context) {
            Poll::Ready(Ok(())) => Step::Again,
            Poll::Ready(Err(_)) => Step::End(End::Closed),
            Poll::Pending => {
                self.clock.wait_for(Wait::End);
                Step::Wait
            }
        }
    }

    /// A head that no backend will see; what comes behind it is not looked at.
    fn refuse(&mut self, refusal: Refusal) -> Step<B> {
        self.server.backend.refused(Refused::BadHead);
        self.say_last(refusal.status, refusal.why);
        Step::Again
    }

    fn say_last(&mut self, status: StatusCode, why: &'static str) {
        let mut headers = semantics::headers_of_plain(why);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            headers.insert(ALLOW, allowed);
        }
        self.outbox.put(self.server.turn.buffers(), |out| {
            put_head(out, Version::HTTP_11, status, &headers, Some(false));
            out.extend_from_slice(why.as_bytes());
        });
        self.clock.note_progress();
        self.state = State::Last;
    }

    fn fill(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let buffers = self.server.turn.buffers();
        let filled = self.input.poll_fill(&mut self.read, buffers, context);
        // A head has its time in all, however it comes.
        if filled.is_ready() && self.clock.waits() == Some(Wait::Body) {
            self.clock.note_progress();
        }
        filled
    }

    /// Writes what there is. Whether that was all; else the task is woken when there is room.
    fn write_out(&mut self, context: &mut Context<'_>) -> std::io::Result<bool> {
        let Some(write) = self.write.half() else { return Ok(true) };
        while self.outbox.bytes() > 0 {
            let before = self.outbox.bytes();
            let written = self.outbox.write_to(write, self.server.turn.buffers())?;
            if self.outbox.bytes() < before && self.clock.waits() == Some(Wait::Reading) {
                self.clock.note_progress();
            }
            match (written, write.poll_ready(context)) {
                (Written::All, _) => {}
                (Written::Full, Poll::Pending) => return Ok(false),
                (Written::Full, Poll::Ready(ready)) => ready?,
            }
        }
        Ok(true)
    }

    fn poll_clock(&mut self, context: &mut Context<'_>) -> Poll<Wait> {
        let Some(wait) = self.clock.waits() else { return Poll::Pending };
        let patience = self.patience(wait);
        self.clock.poll(patience, context)
    }

    fn patience(&self, wait: Wait) -> Duration {
        let settings: Rc<Settings> = self.server.http();
        match wait {
            Wait::Request if self.has_served => settings.keep_alive_timeout,
            Wait::Head if self.is_stopping => settings.header_timeout.min(LAST_HEAD),
            Wait::Request | Wait::Head => settings.header_timeout,
            Wait::Body => settings.read_timeout,
            Wait::Reading => settings.write_timeout,
            Wait::End => LINGERS,
        }
    }

    /// The client has taken too long.
    fn be_late(&mut self, wait: Wait) -> Option<End<B>> {
        self.clock.note_progress();
        match (wait, &mut self.state) {
            (Wait::Head, _) => {
                self.server.backend.refused(Refused::SlowHead);
                self.say_last(StatusCode::REQUEST_TIMEOUT, "the head of the request does not come");
                None
            }
            (Wait::Body, State::Exchange(exchange))
                if matches!(exchange.stage, Stage::Awaited(_)) =>
            {
                exchange.upload.end(Err(BrokenBody::TooSlow));
                None
            }
            _ => Some(End::Closed),
        }
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

impl Upload {
    fn is_too_much(&self) -> bool {
        self.unwanted_bytes >= UNWANTED_BYTES
    }

    fn pass(&mut self, data: &[u8], most: Option<u64>) {
        self.bytes += data.len() as u64;
        if most.is_some_and(|most| self.bytes > most) {
            return self.end(Err(BrokenBody::TooLong));
        }
        if let Some(inlet) = &self.inlet {
            inlet.push(data);
            if inlet.is_unwanted() {
                self.unwanted_bytes += data.len() as u64;
            }
        }
    }

    fn end(&mut self, end: Result<HeaderMap, BrokenBody>) {
        self.is_broken |= end.is_err();
        if let Some(inlet) = self.inlet.take() {
            inlet.end(end);
        }
    }
}
