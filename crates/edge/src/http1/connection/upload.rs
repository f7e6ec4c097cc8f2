//! The body of a request on its way in.

use std::task::Context;

use http::HeaderMap;

use super::exchange::{Exchange, Stage};
use super::{Connection, State};
use crate::backend::Backend;
use crate::http1::body::{Appetite, BrokenBody, Inlet};
use crate::http1::framing::{Decoder, Found, Length};

/// So much of a body that nobody wants is read, for the next request's sake. Beyond it the connection
/// ends with the response.
const UNWANTED_BYTES: u64 = 256 * 1024;

/// Pieces of a body in one turn: chunks may have one byte each, and others wait meanwhile.
const PIECES: usize = 512;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The body of a request on its way in.
pub(super) struct Upload {
    decoder: Decoder,
    pub(super) inlet: Option<Inlet>,
    /// The client waits for a word before it sends any of it.
    pub(super) is_awaited: bool,
    bytes: u64,
    unwanted_bytes: u64,
    pub(super) is_broken: bool,
}

impl<B: Backend> Connection<B> {
    /// Takes what has come of the request's body.
    pub(super) fn feed(&mut self, context: &mut Context<'_>) -> Feeding {
        let State::Exchange(exchange) = &mut self.state else { return Feeding::Done };
        let Exchange { upload, stage, .. } = &mut **exchange;
        let buffers = self.server.turn.buffers();
        // Who sends it at once does not wait for a word (RFC 9110 §10.1.1).
        upload.is_awaited &= self.input.is_empty();
        let mut pieces = 0;
        while let Some(inlet) = &upload.inlet {
            if pieces == PIECES {
                return Feeding::Paused;
            }
            pieces += 1;
            match inlet.appetite(context) {
                Appetite::More => {
                    if std::mem::take(&mut upload.is_awaited) && matches!(stage, Stage::Awaited(_))
                    {
                        self.outbox.put(buffers, |out| out.extend_from_slice(CONTINUE));
                    }
                }
                Appetite::None if upload.is_awaited || upload.is_too_much() => {
                    return Feeding::Done;
                }
                Appetite::None => {}
                Appetite::NotAsked | Appetite::Full => return Feeding::Done,
            }
            match upload.decoder.decode(self.input.bytes()) {
                Ok((skipped, Found::Data(bytes))) => {
                    let data = &self.input.bytes()[skipped..skipped + bytes];
                    upload.pass(data, self.server.http().max_body_bytes);
                    self.input.take(skipped + bytes, buffers);
                    self.has_moved = true;
                }
                Ok((skipped, Found::End(trailers))) => {
                    self.input.take(skipped, buffers);
                    upload.end(Ok(trailers));
                }
                Ok((skipped, Found::Nothing)) => {
                    self.input.take(skipped, buffers);
                    if !self.input.has_ended() {
                        return Feeding::Hungry;
                    }
                    upload.end(Err(BrokenBody::Gone));
                }
                Err(bad) => upload.end(Err(bad.into())),
            }
        }
        Feeding::Done
    }
}

/// How far [`Connection::feed`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feeding {
    /// Nothing more is wanted for now.
    Done,
    /// More is wanted than has come.
    Hungry,
    /// More has come than one turn takes.
    Paused,
}

impl Upload {
    pub(super) fn new(length: Length, inlet: Option<Inlet>, is_awaited: bool) -> Self {
        let decoder = Decoder::new(length);
        Upload { decoder, inlet, is_awaited, bytes: 0, unwanted_bytes: 0, is_broken: false }
    }

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

    pub(super) fn end(&mut self, end: Result<HeaderMap, BrokenBody>) {
        self.is_broken |= end.is_err();
        if let Some(inlet) = self.inlet.take() {
            inlet.end(end);
        }
    }
}
