//! How a connection ends: what is said last, who is late, and what is read until the client has ended too.

use std::future::Future as _;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode, Version};

use tokio::time::{Instant, sleep};

use super::exchange::Stage;
use super::{Connection, End, State, Step};
use crate::backend::{Backend, Refused};
use crate::http::{self as semantics, Settings};
use crate::http1::body::BrokenBody;
use crate::http1::clock::Wait;
use crate::http1::head::Refusal;
use crate::http1::response::put_head;
use crate::transport::{Fate, LOOK_FOR_ENDS};

/// How long a client may send on after our end, so that it can read what we have sent.
const LINGERS: Duration = Duration::from_secs(2);

/// So much of that is read in a turn: it costs its client nothing, and others wait meanwhile.
const DROPPED_BYTES: usize = 8 * 1024;

/// How long a client may take for the rest of a head when the server stops.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// What the answer to a request has behind its head (RFC 9110 §9.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing, though its head says how long that would be.
    Head,
    Content,
}

impl Asked {
    pub(super) fn by(method: &Method) -> Self {
        if *method == Method::HEAD { Asked::Head } else { Asked::Content }
    }
}

impl<B: Backend> Connection<B> {
    /// Ends our side. To close with something unread would have the system throw away what the client
    /// has not read.
    pub(super) fn linger(&mut self) -> Step<B> {
        self.write.end();
        self.state = State::Lingers;
        self.clock.note_progress();
        self.clock.wait_for(Wait::End);
        Step::Again
    }

    pub(super) fn step_of_last(&mut self, context: &mut Context<'_>) -> Step<B> {
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

    pub(super) fn step_of_lingering(&mut self, context: &mut Context<'_>) -> Step<B> {
        if self.input.has_ended() {
            return Step::End(End::Closed);
        }
        let buffers = self.server.turn.buffers();
        match self.input.poll_drop(DROPPED_BYTES, &mut self.read, buffers, context) {
            Poll::Ready(Ok(())) => context.waker().wake_by_ref(),
            Poll::Ready(Err(_)) => return Step::End(End::Closed),
            Poll::Pending => {}
        }
        self.clock.wait_for(Wait::End);
        Step::Wait
    }

    /// A head that no backend will see; what comes behind it is not looked at.
    pub(super) fn refuse(&mut self, refusal: Refusal, asked: Asked) -> Step<B> {
        self.server.backend.refused(Refused::BadHead);
        self.say_last(refusal.status, refusal.why, asked);
        Step::Again
    }

    /// What is asked for by a head that may not have come whole, or by the request under way.
    pub(super) fn asked(&self) -> Asked {
        if let State::Exchange(exchange) = &self.state {
            return Asked::by(&exchange.asked.method);
        }
        let begin = self.input.bytes().iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        let head = begin.map_or(&[][..], |begin| &self.input.bytes()[begin..]);
        if head.starts_with(b"HEAD ") { Asked::Head } else { Asked::Content }
    }

    /// Says this instead of an answer, and ends.
    pub(super) fn say_last(&mut self, status: StatusCode, why: &'static str, asked: Asked) {
        if self.server.http().access_log {
            semantics::log_refused(&self.admitted.peer, status, why);
        }
        let mut headers = semantics::headers_of_plain(why);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            headers.insert(ALLOW, allowed);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, semantics::RETRY_AFTER);
        }
        self.outbox.put(self.server.turn.buffers(), |out| {
            put_head(out, Version::HTTP_11, status, &headers, Some(false));
            if asked == Asked::Content {
                out.extend_from_slice(why.as_bytes());
            }
        });
        self.clock.note_progress();
        self.state = State::Last;
    }

    /// Looks whether a client has gone that is not read: what it has sent, and nobody takes, hides its
    /// end. `None` if that is not to be looked at now.
    pub(super) fn poll_unread(&mut self, context: &mut Context<'_>) -> Option<Step<B>> {
        if self.is_read {
            self.next_look = None;
            return None;
        }
        let has_gone_if_ended = matches!(self.state, State::Exchange(_)) && self.end_means_gone();
        let look = self.next_look.get_or_insert_with(|| Box::pin(sleep(LOOK_FOR_ENDS)));
        while look.as_mut().poll(context).is_ready() {
            look.as_mut().reset(Instant::now() + LOOK_FOR_ENDS);
            match self.read.fate() {
                Fate::Lives => {}
                Fate::IsGone => return Some(Step::End(End::Closed)),
                // It is read to its end: nothing else frees what it holds.
                Fate::HasEnded if self.is_starved => return Some(Step::Again),
                Fate::HasEnded if has_gone_if_ended => return Some(Step::End(End::Closed)),
                Fate::HasEnded => {}
            }
        }
        None
    }

    pub(super) fn poll_clock(&mut self, context: &mut Context<'_>) -> Poll<Wait> {
        let Some(wait) = self.clock.waits() else { return Poll::Pending };
        let patience = self.patience(wait);
        self.clock.poll(patience, context)
    }

    fn patience(&self, wait: Wait) -> Duration {
        let settings: Rc<Settings> = self.server.http();
        match wait {
            Wait::Request if self.has_served => settings.keep_alive_timeout,
            Wait::Head if self.is_stopping() => settings.header_timeout.min(LAST_HEAD),
            Wait::Request | Wait::Head => settings.header_timeout,
            Wait::Body => settings.read_timeout,
            Wait::Reading => settings.write_timeout,
            Wait::End => LINGERS,
        }
    }

    /// The client has taken too long.
    pub(super) fn be_late(&mut self, wait: Wait) -> Option<End<B>> {
        self.clock.note_progress();
        match (wait, &mut self.state) {
            // It is not the client that is late.
            (Wait::Body | Wait::Head, _) if self.is_starved => None,
            (Wait::Head, _) => {
                self.server.backend.refused(Refused::SlowHead);
                let why = "the head of the request does not come";
                self.say_last(StatusCode::REQUEST_TIMEOUT, why, self.asked());
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
}
