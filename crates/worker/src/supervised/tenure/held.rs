//! What a running handler has done to its connection, held until it ends.
//!
//! Frames as they will stand on the link, staged: the supervisor does what they say with the commit
//! behind them, in one step, so that a death in between leaves nothing half done.

use shovel_protocol::head::{FLAGS_AT, HEADER_BYTES, Header, flags};
use shovel_protocol::to_supervisor;
use shovel_protocol::{LeaseId, ToSupervisor};

use super::Attached;

/// More than this is let out before the handler has ended.
pub(super) const HELD_BYTES: usize = 1024 * 1024;

/// Memory that is kept for the next handler of the same connection.
const KEPT_BYTES: usize = 1024;

/// Whole frames of one connection, in order.
#[derive(Default)]
pub(super) struct Held {
    frames: Vec<u8>,
    /// Where the last frame stands, if it is a send as a whole.
    last_send: Option<usize>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether so many bytes more would be too much to hold.
    pub(super) fn is_over_with(&self, bytes: usize) -> bool {
        !self.frames.is_empty() && self.frames.len() + bytes > HELD_BYTES
    }

    /// Appends a frame, which is staged.
    pub(super) fn push(&mut self, frame: &ToSupervisor<'_>) {
        let start = self.frames.len();
        frame.put(&mut self.frames);
        let is_send = matches!(frame, ToSupervisor::Act(act) if act.as_send().is_some());
        let is_whole = !is_more(&self.frames[start..]);
        self.last_send = (is_send && is_whole).then_some(start);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.frames.shrink_to(KEPT_BYTES);
        self.last_send = None;
    }

    /// Writes everything as done within a handler that goes on.
    pub(super) fn let_out(&mut self, out: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(header) = self.frames.get(at..).and_then(|rest| rest.first_chunk()) {
            let len = Header::from_bytes(header).len as usize;
            self.frames[at + FLAGS_AT] ^= flags::STAGED | flags::DURING;
            at += HEADER_BYTES + len;
        }
        out.extend_from_slice(&self.frames);
        self.clear();
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
            to_supervisor::mark_last(&mut self.frames[start..]);
        }
        self.put(out, connection, attached);
        if last.is_none() {
            ToSupervisor::Commit { connection, seq }.put(out);
        }
    }

    /// Writes everything, for a frame to follow that commits it.
    pub(super) fn put(
        &mut self,
        out: &mut Vec<u8>,
        connection: LeaseId,
        attached: Option<&Attached>,
    ) {
        // All of it takes place at once, so the attachment may as well come first.
        if let Some(attached) = attached {
            attached.frame(connection, shovel_protocol::When::Staged).put(out);
        }
        out.extend_from_slice(&self.frames);
        self.clear();
    }
}

fn is_more(frames: &[u8]) -> bool {
    frames.get(FLAGS_AT).is_some_and(|bits| bits & flags::MORE != 0)
}

#[cfg(test)]
mod tests {
    use shovel_protocol::id::Leased;
    use shovel_protocol::{Frame, MessageKind, When, WsSend};

    use super::*;

    const ONE: LeaseId = LeaseId(Leased { slot: 1, lease: 1 });

    fn send(data: &[u8], when: When, last: bool) -> ToSupervisor<'_> {
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
        let mut held = Held::default();
        held.push(&send(b"one", When::Staged, false));
        held.push(&send(b"two", When::Staged, false));
        let attached = Attached { version: 1, data: b"state"[..].into() };
        let mut out = Vec::new();
        held.commit(&mut out, ONE, Some(&attached), (7, true));
        let mut expected = Vec::new();
        attached.frame(ONE, When::Staged).put(&mut expected);
        send(b"one", When::Staged, false).put(&mut expected);
        send(b"two", When::Staged, true).put(&mut expected);
        assert_eq!(out, expected);
        assert!(held.is_empty());
    }

    #[test]
    fn a_send_in_pieces_commits_nothing() {
        let long = vec![0; 100_000];
        let mut held = Held::default();
        held.push(&send(&long, When::Staged, false));
        let mut out = Vec::new();
        held.commit(&mut out, ONE, None, (1, true));
        let mut expected = Vec::new();
        send(&long, When::Staged, false).put(&mut expected);
        ToSupervisor::Commit { connection: ONE, seq: 1 }.put(&mut expected);
        assert_eq!(out, expected);
    }

    #[test]
    fn what_is_let_out_is_no_longer_staged() {
        let long = vec![0; 100_000];
        let mut held = Held::default();
        held.push(&send(b"one", When::Staged, false));
        held.push(&send(&long, When::Staged, false));
        let mut out = Vec::new();
        held.let_out(&mut out);
        let mut expected = Vec::new();
        send(b"one", When::During, false).put(&mut expected);
        send(&long, When::During, false).put(&mut expected);
        assert_eq!(frames(&out), frames(&expected));
        assert_eq!(out, expected);
    }
}
