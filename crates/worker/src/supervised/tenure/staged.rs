//! What was done to a connection and waits, as bytes that only need to be copied.
//!
//! Until it is accepted: the effects that `ws:upgrade` will carry. After that: frames as they will
//! stand on the link, staged. The supervisor does what they say with the commit behind them, in one
//! step, so that a death in between leaves nothing half done.

use shovel_core::tenure::Staging;
use shovel_protocol::head::{FLAGS_AT, HEADER_BYTES, Header, flags};
use shovel_protocol::to_supervisor::{self, put_effect};
use shovel_protocol::{Act, Effect, Kind, LeaseId, ToSupervisor, When};

use super::Attached;

/// Memory that is kept for the next handler of the same connection.
const KEPT_BYTES: usize = 1024;

/// Effects, or whole frames of one connection, in order.
#[derive(Default)]
pub(crate) struct Staged {
    bytes: Vec<u8>,
    acts: usize,
    /// Where the last frame stands, if it is a send as a whole.
    last_send: Option<usize>,
}

impl Staging for Staged {
    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn acts(&self) -> usize {
        self.acts
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.acts = 0;
        self.last_send = None;
    }
}

impl Staged {
    /// Appends what a fetch handler does.
    pub(super) fn offer(&mut self, effect: &Effect<'_>) {
        put_effect(&mut self.bytes, effect);
        self.acts += 1;
    }

    /// What a fetch handler did.
    pub(super) fn effects(&self) -> to_supervisor::Effects<'_> {
        to_supervisor::Effects::new(&self.bytes)
    }

    /// Appends what a handler does.
    pub(super) fn push(&mut self, act: &Act<'_>) {
        let start = self.bytes.len();
        self.acts += 1;
        act.put(&mut self.bytes);
        let is_whole = !is_more(&self.bytes[start..]);
        self.last_send = (act.kind() == Kind::WsSend && is_whole).then_some(start);
    }

    /// Writes everything as done within a handler that goes on.
    pub(super) fn let_out(&mut self, out: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(header) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            let len = Header::from_bytes(header).len as usize;
            self.bytes[at + FLAGS_AT] ^= flags::STAGED | flags::DURING;
            at += HEADER_BYTES + len;
        }
        out.extend_from_slice(&self.bytes);
    }

    /// Writes everything and the commit of `seq`. `is_next`: that is the number after the one of
    /// the last commit, which a send can say too.
    pub(super) fn commit(
        &mut self,
        out: &mut Vec<u8>,
        connection: LeaseId,
        attached: Option<&Attached>,
        (seq, is_next): (u64, bool),
    ) {
        let last = self.last_send.filter(|_| is_next);
        if let Some(start) = last {
            to_supervisor::mark_last(&mut self.bytes[start..]);
        }
        self.put(out, connection, attached);
        if last.is_none() {
            ToSupervisor::Commit { connection, seq }.put(out);
        }
    }

    /// Writes everything, for a frame to follow that commits it.
    pub(super) fn put(&self, out: &mut Vec<u8>, connection: LeaseId, attached: Option<&Attached>) {
        // All of it takes place at once, so the attachment may as well come first.
        if let Some(attached) = attached {
            Act::new(connection, When::Staged, attached.effect()).put(out);
        }
        out.extend_from_slice(&self.bytes);
    }
}

fn is_more(frames: &[u8]) -> bool {
    frames.get(FLAGS_AT).is_some_and(|bits| bits & flags::MORE != 0)
}

#[cfg(test)]
mod tests {
    use shovel_protocol::id::Leased;
    use shovel_protocol::{Frame, MessageKind, WsSend};

    use super::*;

    const ONE: LeaseId = LeaseId(Leased { slot: 1, lease: 1 });

    fn send(data: &[u8], when: When, last: bool) -> Act<'_> {
        let kind = MessageKind::Binary;
        WsSend { connection: ONE, when, kind, data, last }.into()
    }

    fn frames(mut bytes: &[u8]) -> Vec<(u8, u8)> {
        let mut frames = Vec::new();
        while let Some((frame, taken)) = Frame::cut(bytes).unwrap() {
            frames.push((frame.kind, frame.flags));
            bytes = &bytes[taken..];
        }
        frames
    }

    #[test]
    fn the_last_send_commits_and_the_attachment_comes_before_it() {
        let mut staged = Staged::default();
        staged.push(&send(b"one", When::Staged, false));
        staged.push(&send(b"two", When::Staged, false));
        let attached = Attached { version: 1, data: b"state"[..].into() };
        let mut out = Vec::new();
        staged.commit(&mut out, ONE, Some(&attached), (7, true));
        let mut expected = Vec::new();
        Act::new(ONE, When::Staged, attached.effect()).put(&mut expected);
        send(b"one", When::Staged, false).put(&mut expected);
        send(b"two", When::Staged, true).put(&mut expected);
        assert_eq!(out, expected);
    }

    #[test]
    fn a_send_in_pieces_commits_nothing() {
        let long = vec![0; 100_000];
        let mut staged = Staged::default();
        staged.push(&send(&long, When::Staged, false));
        let mut out = Vec::new();
        staged.commit(&mut out, ONE, None, (1, true));
        let mut expected = Vec::new();
        send(&long, When::Staged, false).put(&mut expected);
        ToSupervisor::Commit { connection: ONE, seq: 1 }.put(&mut expected);
        assert_eq!(out, expected);
    }

    #[test]
    fn what_is_let_out_is_no_longer_staged() {
        let long = vec![0; 100_000];
        let mut staged = Staged::default();
        staged.push(&send(b"one", When::Staged, false));
        staged.push(&send(&long, When::Staged, false));
        let mut out = Vec::new();
        staged.let_out(&mut out);
        let mut expected = Vec::new();
        send(b"one", When::During, false).put(&mut expected);
        send(&long, When::During, false).put(&mut expected);
        assert_eq!(frames(&out), frames(&expected));
        assert_eq!(out, expected);
    }
}
