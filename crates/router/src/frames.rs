//! What frames about requests, connections and channels ask for, and whether they may.
//!
//! Frames about a connection count only over its owner's link and under its lease; others are
//! dropped and counted. Those that its state does not allow end the link.

use std::rc::Rc;

use shovel_core::transfer::{Committed, Left, OutOfTurn, Phase};
use shovel_edge::{Accepted, Failure};
use shovel_protocol::control::UpgradeHead;
use shovel_protocol::head::Kind;
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::{
    Act, BadFrame, Effect, LeaseId, RequestId, ToSupervisor, ToWorker, When, WsSend,
};

use super::counts::{OfThread, OfWorker};
use super::link::Link;
use super::registry::{Connection, Late, Registry};
use super::requests::{Outcome, header_map};
use super::router::Router;

impl Router {
    /// Does what a frame about a request, connection or channel asks for.
    pub fn on_frame(
        self: &Rc<Self>,
        link: &Rc<Link>,
        frame: ToSupervisor<'_>,
    ) -> Result<(), BadFrame> {
        match frame {
            ToSupervisor::Act(act) => match act.as_send() {
                Some(send) => self.on_send(link, send)?,
                None => self.on_act(link, act)?,
            },
            ToSupervisor::Commit { connection, seq } => {
                self.on_commit(link, connection, Some(seq))?
            }
            ToSupervisor::Publish { token, channel, kind, data } => {
                self.publish(link, token, channel, kind, data);
            }
            ToSupervisor::Subscribe { channel } => self.subscribe_worker(link, channel, true),
            ToSupervisor::Unsubscribe { channel } => self.subscribe_worker(link, channel, false),
            ToSupervisor::Released { connection, handled, started } => {
                self.on_released(link, connection, handled, started)?;
            }
            ToSupervisor::Adopted { connection, taken } => {
                self.on_adopted(link, connection, taken)?;
            }
            ToSupervisor::Pressed { connection } => self.on_pressed(link, connection),
            ToSupervisor::Upgrade { connection, upgrade, keep, effects } => {
                self.on_upgrade(link, connection, &upgrade, keep, effects);
            }
            ToSupervisor::Response { request, head, end } => {
                self.on_response(link, request, &head, end)?;
            }
            ToSupervisor::ResponseBody { request, data, end } => {
                self.on_body(link, request, data, end)?;
            }
            ToSupervisor::ResponseEnd { request, trailers } => {
                self.end_response(link, request, |download| match header_map(&trailers) {
                    Some(trailers) => download.finish(Some(trailers)),
                    None => download.abort("a trailer that is none"),
                });
            }
            ToSupervisor::Abort { request } => {
                self.end_response(link, request, |download| {
                    download.abort("the app broke off its response");
                });
            }
            ToSupervisor::Credit { request, bytes } => self.on_credit(link, request, bytes),
            ToSupervisor::Ready(_) | ToSupervisor::Pong { .. } | ToSupervisor::ShutdownComplete => {
            }
        }
        Ok(())
    }

    fn on_credit(&self, link: &Rc<Link>, request: RequestId, bytes: u32) {
        let requests = self.requests.borrow();
        let its = requests.get(request.0);
        let its = its.filter(|found| Rc::ptr_eq(found.holding.link(), link));
        if let Some(upload) = its.and_then(|found| found.upload.as_ref()) {
            upload.grant(bytes);
        }
    }

    // As docs/decisions/0019 has it.
    #[inline(always)]
    pub(super) fn on_send(
        self: &Rc<Self>,
        link: &Rc<Link>,
        send: WsSend<'_>,
    ) -> Result<(), BadFrame> {
        if send.when == When::Now {
            return self.send_now(link, send);
        }
        // Made of its parts, or the short way would have to put it into memory too.
        let WsSend { connection, when, kind, data, last } = send;
        let effect = Effect::Send { binary: kind.is_binary(), data };
        let act = Act { connection, when, effect, last };
        match (when, last) {
            (When::Staged, true) => self.commit_with(link, act),
            (_, _) => self.on_act(link, act),
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
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = accepted(&mut registry, id, link, Kind::WsSend)? else {
            return Ok(());
        };
        connection.send(link, send.kind, send.data);
        if !send.last {
            return Ok(());
        }
        let committed = connection.state.commit_next();
        let Committed { effects, left } =
            committed.map_err(|why| out_of_turn(Kind::WsCommit, why))?;
        if effects.is_empty() && connection.rests_after(left) {
            return Ok(());
        }
        drop(registry);
        self.do_effects(link, id.0.slot, Effects::new(&effects));
        self.go_on(link, id, left);
        Ok(())
    }

    /// Stages the last effect of a handler and commits it, without a copy of it.
    fn commit_with(self: &Rc<Self>, link: &Rc<Link>, last: Act<'_>) -> Result<(), BadFrame> {
        let id = last.connection;
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = accepted(&mut registry, id, link, Kind::WsSend)? else {
            return Ok(());
        };
        let staged = connection.state.staged().map_err(|why| out_of_turn(Kind::WsSend, why))?;
        if !staged.is_empty() {
            drop(registry);
            self.on_act(link, last)?;
            return self.on_commit(link, id, None);
        }
        let committed = connection.state.commit_next();
        let Committed { left, .. } = committed.map_err(|why| out_of_turn(Kind::WsSend, why))?;
        drop(registry);
        self.on_act(link, Act { when: When::Now, ..last })?;
        self.go_on(link, id, left);
        Ok(())
    }

    /// `seq` of `None` is the next.
    fn on_commit(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: LeaseId,
        seq: Option<u64>,
    ) -> Result<(), BadFrame> {
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = registry.of_owner(id, link) else {
            stranger(link, Kind::WsCommit);
            return Ok(());
        };
        let committed = match seq {
            Some(seq) => connection.state.commit(seq),
            None => connection.state.commit_next(),
        };
        let committed = committed.map_err(|why| out_of_turn(Kind::WsCommit, why))?;
        drop(registry);
        self.do_effects(link, id.0.slot, Effects::new(&committed.effects));
        self.go_on(link, id, committed.left);
        Ok(())
    }

    /// Goes on with a connection after a commit.
    fn go_on(self: &Rc<Self>, link: &Rc<Link>, id: LeaseId, left: Left) {
        let mut registry = self.registry.borrow_mut();
        if left == Left::Closed {
            registry.remove(id);
        }
        self.make_way(&mut registry, link, id);
        match left {
            Left::Closed => {}
            Left::Some { open: false } => self.pump(&mut registry, id),
            Left::Some { open: true } | Left::Nothing => {
                self.pump(&mut registry, id);
                let Some(connection) = registry.get_mut(id) else { return };
                if connection.socket.is_finishing() {
                    connection.socket.nudge();
                }
                if connection.held {
                    drop(registry);
                    self.look_at_hold(id);
                }
            }
        }
    }

    /// The commit of a fetch handler: the worker becomes the owner, and what the handler did
    /// happens, before the 101 goes out.
    fn on_upgrade(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: LeaseId,
        upgrade: &UpgradeHead<'_>,
        keep: bool,
        effects: Effects<'_>,
    ) {
        let request = RequestId::from_wire(upgrade.request);
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = registry.of_owner(id, link) else {
            if registry.get(id).is_none() {
                self.measures.tally.add(OfThread::LateUpgrade, 1);
            }
            let close = registry.late(id).close();
            drop(registry);
            link.send(&ToWorker::Gone { connection: id, close });
            return stranger(link, Kind::WsUpgrade);
        };
        if connection.request != Some(request) {
            // Accepted before, or another's request.
            return stranger(link, Kind::WsUpgrade);
        }
        let headers = header_map(&upgrade.headers);
        let protocol = upgrade.protocol.map(http::HeaderValue::from_str).transpose();
        let (Some(headers), Ok(protocol)) = (headers, protocol) else {
            drop(registry);
            return self.refuse_upgrade(link, request, id);
        };
        connection.request = None;
        let keep = keep && link.adopts();
        match &mut connection.handshake {
            Some(handshake) if keep => handshake.protocol = upgrade.protocol.map(Into::into),
            handshake => *handshake = None,
        }
        // Cannot fail: a request is offered as long as it has one.
        let _ = connection.state.accept(keep);
        link.tally.add(OfWorker::Upgrades, 1);
        let Some(route) = registry.route(id) else { return };
        drop(registry);
        self.do_effects(link, id.0.slot, effects);
        if let Some(mut request) = self.requests.borrow_mut().remove(request.0) {
            request.answer(Outcome::Accepted(Accepted { route, protocol, headers }));
        }
        if link.draining().is_some() {
            self.leave(route);
        }
    }

    fn refuse_upgrade(&self, link: &Link, request: RequestId, id: LeaseId) {
        if let Some(mut request) = self.take_request(request, Late::TimedOut) {
            request.answer(Outcome::Failed(Failure::BadGateway("an upgrade with a bad header")));
        }
        link.send(&ToWorker::Gone { connection: id, close: Late::TimedOut.close() });
    }
}

/// The connection that a frame is about, if it is its sender's.
///
/// # Errors
/// A connection that is only offered takes no such frame.
pub(super) fn accepted<'a>(
    registry: &'a mut Registry,
    id: LeaseId,
    link: &Rc<Link>,
    kind: Kind,
) -> Result<Option<&'a mut Connection>, BadFrame> {
    match registry.of_owner(id, link) {
        None => {
            stranger(link, kind);
            Ok(None)
        }
        Some(found) if found.state.phase() == Phase::Offered => {
            Err(out_of_turn(kind, OutOfTurn::Offered))
        }
        Some(found) => Ok(Some(found)),
    }
}

/// A frame about something that its sender does not have. It may just have lost it.
pub(super) fn stranger(link: &Link, kind: Kind) {
    if link.count_stranger() {
        tracing::debug!(worker = %link.worker, frame = kind.name(), "dropped: not its connection");
    }
}

pub(super) fn out_of_turn(kind: Kind, why: OutOfTurn) -> BadFrame {
    let why = match why {
        OutOfTurn::Offered => "the connection is only offered",
        OutOfTurn::Accepted => "the connection is accepted already",
        OutOfTurn::Beyond => "a commit beyond what was sent",
        OutOfTurn::Adopting => "the adoption is not answered yet",
        OutOfTurn::Unasked => "nobody asked for it",
        OutOfTurn::Disagrees => "it does not agree with the commits before it",
        OutOfTurn::NotKept => "the connection is not one that may move",
    };
    BadFrame::OutOfTurn { kind: kind.name(), why }
}
