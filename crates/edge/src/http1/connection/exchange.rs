//! A request while it is answered: its body goes in, and the response goes out.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Response};
use http_body::Body as _;

use super::upload::{Feeding, Upload};
use super::{AHEAD_BYTES, Connection, End, State, Step, Stop};
use crate::backend::Backend;
use crate::http::body::Body;
use crate::http::{HalfClose, Reply};
use crate::http1::clock::Wait;
use crate::http1::response::{Framing, ResponseContext, put_head};

/// So much of a response waits at most; then its backend is asked for no more.
const OUTBOX_BYTES: usize = 64 * 1024;

pub(super) struct Exchange<B: Backend> {
    pub(super) asked: ResponseContext,
    /// What the head of the request took, which whoever answers it has.
    pub(super) head_bytes: usize,
    pub(super) keeps: bool,
    pub(super) upload: Upload,
    pub(super) stage: Stage<B>,
}

pub(super) enum Stage<B: Backend> {
    /// The answer is being made.
    Awaited(Pin<Box<dyn Future<Output = Reply<B>>>>),
    /// Its head has gone out, and this comes behind it.
    Body(Body<B::Body>, Framing),
    /// All of it goes out.
    Whole,
}

impl<B: Backend> Connection<B> {
    pub(super) fn step_of_exchange(&mut self, context: &mut Context<'_>) -> Step<B> {
        let feeding = self.feed(context);
        let is_hungry = feeding != Feeding::Done;
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
        if (feeding == Feeding::Hungry || is_watched) && !self.input.has_ended() {
            match self.fill(context) {
                Poll::Ready(Ok(())) if self.is_gone() => return Step::End(End::Closed),
                Poll::Ready(Ok(())) => return Step::Again,
                Poll::Ready(Err(_)) => return Step::End(End::Closed),
                Poll::Pending => {}
            }
        }
        if feeding == Feeding::Paused {
            context.waker().wake_by_ref();
        }
        match (is_written, is_hungry) {
            (false, _) => self.clock.wait_for(Wait::Reading),
            (true, true) => self.clock.wait_for(Wait::Body),
            (true, false) => self.clock.note_progress(),
        }
        Step::Wait
    }

    /// Whether the client has ended while its answer is made, and that means that it has gone.
    fn is_gone(&self) -> bool {
        self.input.has_ended() && self.end_means_gone()
    }

    /// Whether a client that ends has gone: a FIN is also what closing a socket sends.
    pub(super) fn end_means_gone(&self) -> bool {
        self.server.http().half_close == HalfClose::Cancel
    }

    /// Gets on with the answer. `None` if nothing has become of it.
    fn step_of_answer(&mut self, context: &mut Context<'_>) -> Option<Step<B>> {
        let State::Exchange(exchange) = &mut self.state else { return None };
        let (body, framing) = match &mut exchange.stage {
            Stage::Awaited(answer) => {
                return match answer.as_mut().poll(context) {
                    Poll::Ready(Reply::Response(response)) => Some(self.respond(response)),
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
    fn respond(&mut self, response: Response<Body<B::Body>>) -> Step<B> {
        let position = self.input.position();
        let State::Exchange(exchange) = &mut self.state else { return Step::Again };
        let (parts, body) = response.into_parts();
        let (status, mut headers) = (parts.status, parts.headers);
        let framing =
            Framing::choose(&exchange.asked, status, &mut headers, body.size_hint().exact());
        let upload = &exchange.upload;
        // One who waits for a word may send its body or not: what comes next could be either.
        let is_clear = !upload.is_awaited && !upload.is_broken && framing != Framing::Close;
        let is_last = match self.stop {
            Stop::No => false,
            Stop::Wanted => true,
            Stop::At(end) => upload.inlet.is_some() || position >= end,
        };
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

    /// Whether the rest of a body that nobody wants is read for the sake of the next request.
    fn may_go_on(&self) -> bool {
        matches!(&self.state, State::Exchange(exchange) if exchange.keeps)
            && !self.is_stopping()
            && !self.input.has_ended()
    }

    /// The response has gone out.
    fn finish(&mut self) -> Step<B> {
        let State::Exchange(exchange) = &self.state else { return Step::Again };
        self.write.note_whole();
        let is_read = exchange.upload.inlet.is_none() && !exchange.upload.is_broken;
        let keeps = exchange.keeps && is_read && !self.input.is_used_up();
        self.clock.note_progress();
        if keeps {
            self.state = State::Head { looked_at: 0 };
            return Step::Again;
        }
        if is_read && self.input.is_empty() {
            return Step::End(End::Closed);
        }
        self.linger()
    }
}
