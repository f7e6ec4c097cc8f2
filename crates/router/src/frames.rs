//! What frames about requests, connections and channels ask for, and whether they may.
//!
//! Frames about a connection count only over its owner's link and under its lease; others are
//! dropped and counted. Those that its state does not allow end the link.

use std::rc::Rc;

use shovel_core::transfer::{Committed, OutOfTurn};
use shovel_edge::{Accepted, Failure};
use shovel_protocol::control::{Effect, UpgradeHead};
use shovel_protocol::head::Kind;
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::{
    BadFrame, CloseCode, ConnectionId, MessageKind, PublishToken, RequestId, ToSupervisor, ToWorker,
};

use super::counts::OfWorker;
use super::link::Link;
use super::registry::{Connection, Late, Pressure, Registry};
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
            ToSupervisor::Send { connection, kind, data, last } => {
                self.on_send(link, connection, kind, data, last)?;
            }
            ToSupervisor::Commit { connection, seq } => {
                self.on_commit(link, connection, Some(seq))?
            }
            ToSupervisor::Publish { token, channel, kind, data } => {
                self.publish(link, token, channel, kind, data);
            }
            ToSupervisor::Close { connection, code, reason } => {
                self.on_close(link, connection, code, reason)?;
            }
            ToSupervisor::Subscribe { connection, channel } => {
                self.on_subscribe(link, connection, channel)?;
            }
            ToSupervisor::Unsubscribe { connection, channel } => {
                self.on_unsubscribe(link, connection, channel)?;
            }
            ToSupervisor::Pressed { connection } => self.on_pressed(link, connection),
            ToSupervisor::Upgrade { connection, upgrade, effects } => {
                self.on_upgrade(link, connection, &upgrade, effects);
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
            ToSupervisor::Credit { request, bytes } => {
                let requests = self.requests.borrow();
                let its = requests.get(request.0);
                let its = its.filter(|found| Rc::ptr_eq(found.holding.link(), link));
                if let Some(upload) = its.and_then(|found| found.upload.as_ref()) {
                    upload.grant(bytes);
                }
            }
            ToSupervisor::Ready(_) | ToSupervisor::Pong { .. } | ToSupervisor::ShutdownComplete => {
            }
        }
        Ok(())
    }

    pub(super) fn on_send(
        &self,
        link: &Rc<Link>,
        id: ConnectionId,
        kind: MessageKind,
        data: &[u8],
        last: bool,
    ) -> Result<(), BadFrame> {
        // Anything published before must reach a subscriber first.
        self.share_channels_of(id);
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = accepted(&mut registry, id, link, Kind::WsSend)? else {
            return Ok(());
        };
        let patient = !connection.socket.is_over() || connection.pressure.forgives(data.len());
        if patient {
            connection.socket.send(kind, data);
            link.tally.add_sized(OfWorker::MessagesSent, OfWorker::MessageBytesSent, data.len());
        } else if connection.socket.is_open() {
            link.tally.add(OfWorker::SlowConsumers, 1);
            connection.socket.close_slow(CloseCode::POLICY, "client reads too slowly");
        }
        drop(registry);
        if last { self.on_commit(link, id, None) } else { Ok(()) }
    }

    /// `seq` of `None` is the next.
    fn on_commit(
        &self,
        link: &Rc<Link>,
        id: ConnectionId,
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
        match committed.map_err(|why| out_of_turn(Kind::WsCommit, why))? {
            Committed::Closed => {
                registry.remove(id);
            }
            Committed::Some { open: false } => {}
            Committed::Some { open: true } | Committed::All => {
                if connection.socket.is_finishing() {
                    connection.socket.nudge();
                }
                if connection.held {
                    drop(registry);
                    self.look_at_hold(id);
                }
            }
        }
        Ok(())
    }

    fn on_close(
        &self,
        link: &Rc<Link>,
        id: ConnectionId,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), BadFrame> {
        self.share_channels_of(id);
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = accepted(&mut registry, id, link, Kind::WsClose)? else {
            return Ok(());
        };
        connection.socket.close(code, reason);
        self.channels.borrow_mut().unsubscribe_all(id.0.slot, &mut *registry);
        Ok(())
    }

    fn on_subscribe(
        &self,
        link: &Rc<Link>,
        id: Option<ConnectionId>,
        channel: &str,
    ) -> Result<(), BadFrame> {
        let Some(id) = id else {
            self.channels.borrow_mut().subscribe_worker(channel, link.worker);
            return Ok(());
        };
        self.share_channel(channel);
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = accepted(&mut registry, id, link, Kind::ChannelSubscribe)? else {
            return Ok(());
        };
        if connection.socket.is_open() {
            let places = &mut connection.subscriptions;
            self.channels.borrow_mut().subscribe(channel, id.0.slot, places);
        }
        Ok(())
    }

    fn on_unsubscribe(
        &self,
        link: &Rc<Link>,
        id: Option<ConnectionId>,
        channel: &str,
    ) -> Result<(), BadFrame> {
        let Some(id) = id else {
            self.channels.borrow_mut().unsubscribe_worker(channel, link.worker);
            return Ok(());
        };
        self.share_channel(channel);
        let mut registry = self.registry.borrow_mut();
        if accepted(&mut registry, id, link, Kind::ChannelUnsubscribe)?.is_none() {
            return Ok(());
        }
        self.channels.borrow_mut().unsubscribe(channel, id.0.slot, &mut *registry);
        Ok(())
    }

    fn on_pressed(&self, link: &Rc<Link>, id: ConnectionId) {
        let mut registry = self.registry.borrow_mut();
        if let Some(connection) = registry.of_owner(id, link)
            && let Pressure::Told { .. } = connection.pressure
        {
            connection.pressure = Pressure::Known;
        }
    }

    /// The commit of a fetch handler: the worker becomes the owner, and what the handler did
    /// happens, before the 101 goes out.
    fn on_upgrade(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: ConnectionId,
        upgrade: &UpgradeHead<'_>,
        effects: Effects<'_>,
    ) {
        let request = RequestId::from_wire(upgrade.request);
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = registry.of_owner(id, link) else {
            let close = registry.late(id).close();
            drop(registry);
            link.send(&ToWorker::Gone { connection: id, close });
            return stranger(link, Kind::WsUpgrade);
        };
        if connection.request != Some(request) {
            // Accepted before, or another's request.
            return stranger(link, Kind::WsUpgrade);
        }
        let Some(headers) = header_map(&upgrade.headers) else {
            drop(registry);
            return self.refuse_upgrade(link, request, id);
        };
        let protocol = upgrade.protocol.map(http::HeaderValue::from_str);
        let Ok(protocol) = protocol.transpose() else {
            drop(registry);
            return self.refuse_upgrade(link, request, id);
        };
        connection.request = None;
        // Cannot fail: a request is offered as long as it has one.
        let _ = connection.state.accept();
        link.tally.add(OfWorker::Upgrades, 1);
        drop(registry);
        self.apply(link, id, effects);
        if let Some(mut request) = self.requests.borrow_mut().remove(request.0) {
            request.answer(Outcome::Accepted(Accepted { route: id, protocol, headers }));
        }
        if let Some(why) = link.draining() {
            self.say_farewell(id, why);
        }
    }

    fn apply(&self, link: &Rc<Link>, id: ConnectionId, effects: Effects<'_>) {
        // All were checked when the frame was read, and the connection is owned by now.
        for effect in effects.flatten() {
            let _ = match effect {
                Effect::Send { binary, data } => {
                    let kind = if binary { MessageKind::Binary } else { MessageKind::Text };
                    self.on_send(link, id, kind, data, false)
                }
                Effect::Subscribe { channel } => self.on_subscribe(link, Some(id), channel),
                Effect::Unsubscribe { channel } => self.on_unsubscribe(link, Some(id), channel),
                Effect::Publish { token, channel, binary, data } => {
                    let kind = if binary { MessageKind::Binary } else { MessageKind::Text };
                    self.publish(link, PublishToken::from_wire(token), channel, kind, data);
                    Ok(())
                }
                Effect::Close { code, reason } => self.on_close(link, id, CloseCode(code), reason),
            };
        }
    }

    fn refuse_upgrade(&self, link: &Link, request: RequestId, id: ConnectionId) {
        if let Some(mut request) = self.take_request(request, Late::TimedOut) {
            request.answer(Outcome::Failed(Failure::BadGateway("an upgrade with a bad header")));
        }
        link.send(&ToWorker::Gone { connection: id, close: Late::TimedOut.close() });
    }
}

impl Pressure {
    /// Whether a send over the limit is forgiven, since the owner did not know when it sent it.
    fn forgives(&mut self, bytes: usize) -> bool {
        match self {
            // Not told yet: that happens at the end of the turn.
            Pressure::None => true,
            Pressure::Told { grace_bytes } => {
                let left = grace_bytes.checked_sub(bytes);
                *grace_bytes = left.unwrap_or(0);
                left.is_some()
            }
            Pressure::Known => false,
        }
    }
}

/// The connection that a frame is about, if it is its sender's.
///
/// # Errors
/// A connection that is only offered takes no such frame.
fn accepted<'a>(
    registry: &'a mut Registry,
    id: ConnectionId,
    link: &Rc<Link>,
    kind: Kind,
) -> Result<Option<&'a mut Connection>, BadFrame> {
    match registry.of_owner(id, link) {
        None => {
            stranger(link, kind);
            Ok(None)
        }
        Some(found) if found.state.is_owned() => Ok(Some(found)),
        Some(_) => Err(out_of_turn(kind, OutOfTurn::Offered)),
    }
}

/// A frame about something that its sender does not have. It may just have lost it.
fn stranger(link: &Link, kind: Kind) {
    if link.count_stranger() {
        tracing::debug!(worker = %link.worker, frame = kind.name(), "dropped: not its connection");
    }
}

fn out_of_turn(kind: Kind, why: OutOfTurn) -> BadFrame {
    let why = match why {
        OutOfTurn::Offered => "the connection is only offered",
        OutOfTurn::Accepted => "the connection is accepted already",
        OutOfTurn::Beyond => "a commit beyond what was sent",
    };
    BadFrame::OutOfTurn { kind: kind.name(), why }
}
