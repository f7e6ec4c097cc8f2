//! What most frames need: a message on its way to a worker, and what its handler sends and
//! commits. Few instructions, few look-ups, no allocation: docs/decisions/0019.

use std::rc::Rc;

use bytes::Bytes;
use shovel_core::custody::{Arrived, Committed, Left, Route};
use shovel_protocol::head::Kind;
use shovel_protocol::{Again, BadFrame, Effect, LeaseId, MessageKind, When, WsMessage, WsSend};

use crate::counts::OfWorker;
use crate::custody::state::KeptMessage;
use crate::links::frames::{check_length, drop_stray, out_of_turn};
use crate::links::link::Link;
use crate::router::Router;

impl Router {
    /// A client's message.
    #[inline]
    pub(crate) fn on_message(self: &Rc<Self>, route: Route, kind: MessageKind, data: &[u8]) {
        let mut custody = self.custody.borrow_mut();
        let goes = match custody.hand_over(route, data.len()) {
            Arrived::Goes(goes) => goes,
            Arrived::ToKeep => {
                drop(custody);
                return self.take_in(route, kind, data);
            }
            Arrived::Dropped => return,
        };
        let (connection, seq, again) = (goes.connection, goes.seq, Again::default());
        let link = goes.worker;
        link.send_message(WsMessage { connection, seq, again, kind, data });
        count_received(link, data.len());
        let is_full = link.is_over();
        if is_full {
            link.note_over(connection, data.len());
        }
        if !goes.has_room || is_full {
            goes.client.is_paused = true;
            goes.client.socket.pause(true);
        }
        if is_full {
            let link = link.0.clone();
            drop(custody);
            self.pause_clients_of(&link);
        }
    }

    /// A message of a portable connection: kept until a handler has finished with it.
    fn take_in(self: &Rc<Self>, route: Route, kind: MessageKind, data: &[u8]) {
        let message = KeptMessage { kind, data: Bytes::copy_from_slice(data) };
        let mut custody = self.custody.borrow_mut();
        let Some(id) = custody.take_in(route, message, data.len()) else { return };
        self.kept.note(custody.kept_bytes());
        // Counted when it comes, for whoever has the connection.
        let owner = custody.get(id).and_then(|connection| connection.owner());
        if let Some(link) = owner.and_then(|owner| custody.worker(owner)) {
            count_received(link, data.len());
        }
        self.pump(&mut custody, id);
        drop(custody);
        self.look_at_route(route);
        self.go_on_if_needed();
    }

    /// A worker sends on a connection.
    // As docs/decisions/0019 has it.
    #[inline(always)]
    pub(crate) fn on_send(
        self: &Rc<Self>,
        link: &Rc<Link>,
        send: WsSend<'_>,
    ) -> Result<(), BadFrame> {
        // Taken apart where the short way ends: handed on whole, it would be put into memory for each.
        let WsSend { connection, when, kind, data, last } = send;
        check_length(link, Kind::WsSend, data)?;
        match (when, last) {
            (When::Now, _) => self.send_now(link, send),
            (When::Staged, true) => self.commit_with(link, connection, kind, data),
            (When::Staged, false) | (When::During, _) => {
                self.on_long_send(link, (connection, when, last), kind, data)
            }
        }
    }

    /// A send as any other act.
    fn on_long_send(
        self: &Rc<Self>,
        link: &Rc<Link>,
        (connection, when, last): (LeaseId, When, bool),
        kind: MessageKind,
        data: &[u8],
    ) -> Result<(), BadFrame> {
        self.on_act(link, WsSend { connection, when, kind, data, last }.into())?;
        // What is staged is committed by whoever staged it.
        match last && when == When::During {
            true => self.on_commit(link, connection, None),
            false => Ok(()),
        }
    }

    /// A message, and with the last of its handler the commit, in one look at the connection: most
    /// frames are that.
    // As docs/decisions/0019 has it.
    #[inline(always)]
    fn send_now(self: &Rc<Self>, link: &Rc<Link>, send: WsSend<'_>) -> Result<(), BadFrame> {
        let id = send.connection;
        // Anything published before must reach a subscriber first.
        self.share_channels_of(id.0.slot);
        let mut custody = self.custody.borrow_mut();
        let found = custody.accepted(id, link.worker);
        let Some(connection) = found.map_err(|why| out_of_turn(Kind::WsSend, why))? else {
            return drop_stray(link, Kind::WsSend);
        };
        connection.client.send(link, send.kind, send.data);
        if !send.last {
            return Ok(());
        }
        let Some(left) = connection.commit_next_of_plain() else {
            drop(custody);
            return self.on_commit(link, id, None);
        };
        let left = left.map_err(|why| out_of_turn(Kind::WsCommit, why))?;
        if left != Left::Closed && connection.client.is_at_rest() {
            return Ok(());
        }
        drop(custody);
        self.after_commit(id, left);
        Ok(())
    }

    /// Stages the last act of a handler and commits it, without a copy of it.
    fn commit_with(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: LeaseId,
        kind: MessageKind,
        data: &[u8],
    ) -> Result<(), BadFrame> {
        let bad = |why| out_of_turn(Kind::WsSend, why);
        let mut custody = self.custody.borrow_mut();
        let Some(staged) = custody.stage(id, link.worker).map_err(bad)? else {
            return drop_stray(link, Kind::WsSend);
        };
        if !staged.is_empty() {
            drop(custody);
            self.on_long_send(link, (id, When::Staged, true), kind, data)?;
            return self.on_commit(link, id, None);
        }
        let committed = custody.commit(id, link.worker, None).map_err(bad)?;
        drop(custody);
        let Some(Committed { left, .. }) = committed else { return Ok(()) };
        self.do_act(link, id.0.slot, Effect::Send { binary: kind.is_binary(), data });
        self.after_commit(id, left);
        Ok(())
    }

    /// A handler has ended. `seq` of `None` is that of the next event.
    pub(crate) fn on_commit(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: LeaseId,
        seq: Option<u64>,
    ) -> Result<(), BadFrame> {
        let committed = self.custody.borrow_mut().commit(id, link.worker, seq);
        let committed = committed.map_err(|why| out_of_turn(Kind::WsCommit, why))?;
        let Some(Committed { acts, left }) = committed else {
            return drop_stray(link, Kind::WsCommit);
        };
        self.do_acts(link, id.0.slot, acts.effects());
        self.after_commit(id, left);
        Ok(())
    }

    /// Goes on with a connection after a commit.
    fn after_commit(self: &Rc<Self>, id: LeaseId, left: Left) {
        let mut custody = self.custody.borrow_mut();
        self.kept.note(custody.kept_bytes());
        match left {
            Left::Closed => drop(custody.remove(id)),
            Left::Some { .. } | Left::Nothing => {
                self.pump(&mut custody, id);
                if let Some(client) = custody.client_mut(id) {
                    if client.socket.is_finishing() {
                        client.socket.nudge();
                    }
                    let is_paused = client.is_paused;
                    let has_room = left != Left::Some { has_room: false };
                    drop(custody);
                    if is_paused && has_room {
                        self.look_at_reader(id);
                    }
                    return self.go_on_if_needed();
                }
            }
        }
        drop(custody);
        self.go_on_if_needed();
    }
}

fn count_received(link: &Link, bytes: usize) {
    link.tally.add_sized(OfWorker::MessagesReceived, OfWorker::MessageBytesReceived, bytes);
}
