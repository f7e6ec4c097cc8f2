//! What is due of a socket: pings, looks whether its client goes on, the end of a close.
//!
//! The client alone is judged. Nothing here counts while we do not read it, or have nothing for it.

use std::io::ErrorKind;

use shovel_protocol::CloseCode;
use tokio::time::Instant;

use super::{Due, Phase, Socket, State, WeakSocket};
use crate::transport::Fate;
use crate::ws::progress::{LOOKS, Standing, Watch};
use crate::ws::{Why, encoder};

/// A client that is closed may take nothing of what is ahead of the close frame for so many looks,
/// which are 3 s: then it does not read, and whoever waits for its close waits in vain.
const STALLED_LOOKS: u32 = 3 * LOOKS;

/// What was seen of a client, by each kind of look.
#[derive(Debug, Default)]
pub(super) struct Looks {
    pong: Watch,
    taken: Watch,
    message: Watch,
    close: Watch,
    /// The next look of this kind has its time already.
    pub(super) at_taken: bool,
    pub(super) at_message: bool,
    pub(super) at_unread: bool,
    at_close: bool,
    /// What waits for a client that is closed is not waited for beyond this.
    close_by: Option<Instant>,
    /// It takes nothing of what its handlers send, who may wait for that.
    is_stalled: bool,
    /// It was sent a ping since it has ended and is not read.
    is_probed: bool,
}

impl Socket {
    /// A deadline has come; returns the next to set.
    pub(crate) fn on_due(&self, due: Due) -> Option<(Due, WeakSocket)> {
        let mut state = self.0.state.borrow_mut();
        let next = match due {
            Due::Close if !state.is_open() => state.look_at_closing(),
            _ if !state.is_open() => None,
            Due::Close => Some(self.look_at_finish(&mut state)),
            Due::Ping => Some(self.ping_unless_heard(&mut state)),
            Due::Pong => state.look_for_pong(),
            Due::Taken => state.look_at_taken(),
            Due::Unread => self.look_at_unread(&mut state),
            Due::Message if state.has_stopped_in_message() => {
                drop(state);
                let reason = "message not finished in time";
                self.begin_close(CloseCode::POLICY, reason, Why::Unfinished);
                return None;
            }
            Due::Message => state.looks.at_message.then_some(Due::Message),
            Due::Settle => {
                state.settling = Some(true);
                state.wake();
                None
            }
        };
        next.map(|due| (due, self.downgrade()))
    }

    /// Whether handlers are not waited for, since their client takes nothing of what they send.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.over.get() && self.0.state.borrow().looks.is_stalled
    }

    /// The close has begun, or is to come: looks at it from now on.
    pub(super) fn look_at_close(&self, state: &mut State) {
        if !std::mem::replace(&mut state.looks.at_close, true) {
            self.0.deadlines.set(Due::Close, self.downgrade());
        }
        if !state.is_open() {
            state.looks.close_by.get_or_insert_with(|| self.0.deadlines.end_of_close());
        }
    }

    fn ping_unless_heard(&self, state: &mut State) -> Due {
        if std::mem::take(&mut state.heard) {
            return Due::Ping;
        }
        state.outbox.put(self.0.turn.buffers(), |out| encoder::put_ping(out, b""));
        state.looks.pong = Watch::default();
        self.mark();
        Due::Pong
    }

    /// Whether a client that is not read has gone. What it has sent is dropped then: nobody would take
    /// an answer, and what waits for its handlers, and they for it, would be kept.
    fn look_at_unread(&self, state: &mut State) -> Option<Due> {
        let fate = state.write.as_ref().filter(|_| state.is_unread()).map(|write| write.fate());
        state.looks.at_unread = fate.is_some();
        match fate? {
            Fate::Lives => {}
            Fate::IsGone => state.end(Why::Failed(ErrorKind::ConnectionReset)),
            // If memory is short it is read to its end: nothing else frees what it holds.
            Fate::HasEnded if state.starved => state.wake(),
            // It may still take what it is sent. If there is nobody any more, its system says so.
            Fate::HasEnded if !std::mem::replace(&mut state.looks.is_probed, true) => {
                state.outbox.put(self.0.turn.buffers(), |out| encoder::put_ping(out, b""));
                self.mark();
            }
            Fate::HasEnded => {}
        }
        Some(Due::Unread)
    }

    /// A close that waits for handlers, which may wait for their client to read.
    fn look_at_finish(&self, state: &mut State) -> Due {
        if !self.0.over.get() {
            state.looks.close = Watch::default();
            state.looks.close_by = None;
            return Due::Close;
        }
        let by = *state.looks.close_by.get_or_insert_with(|| self.0.deadlines.end_of_close());
        let now = state.standing();
        if state.looks.close.look(now) >= STALLED_LOOKS || by <= Instant::now() {
            state.looks.is_stalled = true;
            state.wake();
        }
        Due::Close
    }
}

impl State {
    /// How far the client is with what was sent to it.
    fn standing(&self) -> Standing {
        let untaken = self.write.as_ref().map_or(0, |write| write.untaken_bytes());
        let is_awaited = untaken > 0 || self.outbox.bytes() > 0;
        Standing { bytes: self.written_bytes.wrapping_sub(untaken), is_awaited }
    }

    fn look_for_pong(&mut self) -> Option<Due> {
        if std::mem::take(&mut self.heard) {
            return Some(Due::Ping);
        }
        if self.is_unread() {
            // While we do not read, its pong cannot be seen. If it has gone, the next ping has its system
            // say so, though its end may stand behind what is not read.
            self.looks.pong = Watch::default();
            return Some(Due::Ping);
        }
        // A client that takes what is ahead of the ping lives, however slow it is.
        let now = self.standing();
        let has_input = || self.write.as_ref().is_some_and(|write| write.has_input());
        if self.looks.pong.look(now) < LOOKS || has_input() {
            return Some(Due::Pong);
        }
        self.end(Why::NoPong);
        None
    }

    fn look_at_taken(&mut self) -> Option<Due> {
        let now = self.standing();
        if self.outbox.bytes() == 0 {
            self.looks.at_taken = false;
            self.looks.taken = Watch::default();
            return None;
        }
        if self.looks.taken.look(now) < LOOKS {
            return Some(Due::Taken);
        }
        self.end(Why::NotTaken);
        None
    }

    /// Whether a message that the client began has had no more bytes for too long.
    fn has_stopped_in_message(&mut self) -> bool {
        let Some(bytes) = self.message.filter(|_| !self.paused && !self.is_unread()) else {
            self.looks.at_message = self.message.is_some();
            self.looks.message = Watch::default();
            return false;
        };
        self.looks.message.look(Standing { bytes, is_awaited: true }) >= LOOKS
    }

    /// The close frame waits, or the client has it and is to answer.
    fn look_at_closing(&mut self) -> Option<Due> {
        let Phase::Closing { .. } = self.phase else { return None };
        let now = self.standing();
        let patience = if now.is_awaited { STALLED_LOOKS } else { LOOKS };
        let is_late = self.looks.close_by.is_some_and(|by| by <= Instant::now());
        if self.looks.close.look(now) < patience && !is_late {
            return Some(Due::Close);
        }
        self.end(Why::Gone);
        None
    }
}
