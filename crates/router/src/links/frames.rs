//! What frames about requests, connections and channels ask for, and whether they may.
//!
//! Frames about a connection count only over its owner's link and under its lease; others are
//! dropped and counted. Those that its state does not allow end the link.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use shovel_core::custody::{LateUpgrade, OutOfTurn};
use shovel_edge::{Accepted, Failure};
use shovel_protocol::control::UpgradeHead;
use shovel_protocol::head::Kind;
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::{BadFrame, Effect, LeaseId, RequestId, ToSupervisor, ToWorker};

use super::link::Link;
use crate::counts::{OfThread, OfWorker};
use crate::requests::head::{Unfit, header_map};
use crate::requests::response::tell_unfit;
use crate::requests::table::Outcome;
use crate::router::Router;

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
                check_length(link, Kind::ChannelPublish, data)?;
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
            ToSupervisor::Ask { connection, ask } => self.on_ask(link, connection, ask)?,
            ToSupervisor::Upgrade { connection, upgrade, portable, effects } => {
                effects
                    .flatten()
                    .try_for_each(|effect| check_effect(link, Kind::WsUpgrade, &effect))?;
                self.on_upgrade(link, connection, &upgrade, portable, effects);
            }
            ToSupervisor::Response { request, head, end } => {
                self.on_response(link, request, &head, end)?;
            }
            ToSupervisor::ResponseBody { request, data, end } => {
                self.on_body(link, request, data, end)?;
            }
            ToSupervisor::ResponseEnd { request, trailers } => {
                self.end_response(link, request, |download| match header_map(&trailers) {
                    Ok(trailers) => download.finish(Some(trailers)),
                    Err(unfit) => {
                        let why = unfit.of_trailers();
                        tell_unfit(link, why);
                        download.abort(why);
                    }
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
        let its = its.filter(|found| Rc::ptr_eq(&found.link, link));
        if let Some(upload) = its.and_then(|found| found.upload.as_ref()) {
            upload.grant(bytes);
        }
    }

    /// The worker has given a connection up.
    fn on_released(
        self: &Rc<Self>,
        link: &Rc<Link>,
        connection: LeaseId,
        handled: u64,
        started: u64,
    ) -> Result<(), BadFrame> {
        let (now, numbers) = (self.now(), (handled, started));
        let released = self.custody.borrow_mut().released(connection, link.worker, numbers, now);
        self.after_answer(link, Kind::WsReleased, released)
    }

    /// The worker has taken a connection over, or refuses it.
    fn on_adopted(
        self: &Rc<Self>,
        link: &Rc<Link>,
        connection: LeaseId,
        taken: bool,
    ) -> Result<(), BadFrame> {
        let now = self.now();
        let adopted = self.custody.borrow_mut().adopted(connection, link.worker, taken, now);
        self.after_answer(link, Kind::WsAdopted, adopted)
    }

    fn after_answer(
        self: &Rc<Self>,
        link: &Link,
        kind: Kind,
        answer: Result<bool, OutOfTurn>,
    ) -> Result<(), BadFrame> {
        match answer.map_err(|why| out_of_turn(kind, why))? {
            true => self.go_on(),
            false => count_stray(link, kind),
        }
        Ok(())
    }

    /// The commit of a fetch handler: the worker becomes the owner, and what the handler did
    /// happens, before the 101 goes out.
    fn on_upgrade(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: LeaseId,
        upgrade: &UpgradeHead<'_>,
        portable: bool,
        effects: Effects<'_>,
    ) {
        let request = RequestId::from_wire(upgrade.request);
        let worker = link.worker;
        let mut custody = self.custody.borrow_mut();
        let found = custody.of_owner(id, worker).map(|connection| connection.request());
        let Some(offered_by) = found else {
            if custody.get(id).is_none() {
                self.measures.tally.add(OfThread::LateUpgrade, 1);
            }
            let close = custody.late_upgrade(id).close();
            link.answer(&ToWorker::Gone { connection: id, close });
            return count_stray(link, Kind::WsUpgrade);
        };
        if offered_by != Some(request) {
            // Accepted before, or another's request.
            return count_stray(link, Kind::WsUpgrade);
        }
        let headers = header_map(&upgrade.headers);
        let protocol = upgrade.protocol.map(http::HeaderValue::from_str).transpose();
        let (headers, protocol) = match (headers, protocol) {
            (Ok(headers), Ok(protocol)) => (headers, protocol),
            (headers, _) => {
                drop(custody);
                let why = headers.map_or_else(Unfit::of_head, |_| "a subprotocol that is none");
                return self.refuse_upgrade(link, request, id, why);
            }
        };
        if !upgrade.protocol.is_none_or(|picked| self.offers(request, picked)) {
            drop(custody);
            let why = "an upgrade with a subprotocol that its client does not offer";
            return self.refuse_upgrade(link, request, id, why);
        }
        let is_portable = portable && link.cell.adopts.load(Ordering::Relaxed);
        let Some(route) = custody.accept(id, worker, request, is_portable) else { return };
        if let Some(client) = custody.client_mut(id) {
            match &mut client.handshake {
                Some(handshake) if is_portable => {
                    handshake.protocol = upgrade.protocol.map(Into::into);
                }
                Some(_) => client.forget_handshake(),
                None => {}
            }
        }
        drop(custody);
        link.tally.add(OfWorker::Upgrades, 1);
        self.do_acts(link, id.0.slot, effects);
        if let Some(mut request) = self.forget_request(request) {
            request.answer(Outcome::Accepted(Accepted { route, protocol, headers }));
        }
        self.go_on_if_needed();
    }

    /// Whether the client of a request offers this subprotocol (RFC 6455 §4.2.2).
    fn offers(&self, request: RequestId, protocol: &str) -> bool {
        let requests = self.requests.borrow();
        let offered = requests.get(request.0).map(|request| &request.protocols);
        offered.is_some_and(|offered| offered.iter().any(|its| its == protocol))
    }

    fn refuse_upgrade(
        self: &Rc<Self>,
        link: &Link,
        request: RequestId,
        id: LeaseId,
        why: &'static str,
    ) {
        if let Some(times) = link.faults.note(why) {
            let worker = link.worker;
            tracing::warn!(target: "refusals", %worker, why, times, "an upgrade cannot be passed on");
        }
        if let Some(mut request) = self.take_request(request, LateUpgrade::Refused) {
            request.answer(Outcome::Failed(Failure::BadGateway(why)));
        }
        link.send(&ToWorker::Gone { connection: id, close: LateUpgrade::Refused.close() });
    }
}

/// A frame about something that its sender does not have. It may just have lost it.
fn count_stray(link: &Link, kind: Kind) {
    if link.count_stray() {
        tracing::debug!(worker = %link.worker, frame = kind.name(), "dropped: not its connection");
    }
}

/// Drops a stray frame. The link stays open: the worker may have lost the connection a moment ago.
pub(crate) fn drop_stray(link: &Link, kind: Kind) -> Result<(), BadFrame> {
    count_stray(link, kind);
    Ok(())
}

/// Refuses a message that is longer than the worker was told it may be.
#[inline]
pub(crate) fn check_length(link: &Link, kind: Kind, data: &[u8]) -> Result<(), BadFrame> {
    let limit = link.max_message_bytes;
    match data.len() <= limit {
        true => Ok(()),
        false => Err(BadFrame::MessageTooLong { kind: kind.name(), limit }),
    }
}

/// The same of whatever an act sends or publishes.
pub(crate) fn check_effect(link: &Link, kind: Kind, effect: &Effect<'_>) -> Result<(), BadFrame> {
    match effect {
        Effect::Send { data, .. } | Effect::Publish { data, .. } => check_length(link, kind, data),
        Effect::Subscribe { .. }
        | Effect::Unsubscribe { .. }
        | Effect::Close { .. }
        | Effect::Attach { .. }
        | Effect::SlowConsumer { .. } => Ok(()),
    }
}

pub(crate) fn out_of_turn(kind: Kind, why: OutOfTurn) -> BadFrame {
    let why = match why {
        OutOfTurn::Offered => "the connection is only offered",
        OutOfTurn::Beyond => "a commit beyond what was sent",
        OutOfTurn::Adopting => "the adoption is not answered yet",
        OutOfTurn::Unasked => "nobody asked for it",
        OutOfTurn::Disagrees => "it does not agree with the commits before it",
        OutOfTurn::NotPortable => "the connection is not portable",
    };
    BadFrame::OutOfTurn { kind: kind.name(), why }
}
