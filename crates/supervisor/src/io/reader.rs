//! What workers say: reads one link and does what its frames ask for.

use std::rc::Rc;

use shovel_core::transfer::{Committed, OutOfTurn};
use shovel_edge::Accepted;
use shovel_link::{Filled, Incoming};
use shovel_protocol::control::{Effect, UpgradeHead};
use shovel_protocol::handshake::Greeting;
use shovel_protocol::head::Kind;
use shovel_protocol::limits::payload_bytes;
use shovel_protocol::pieces::Pieces;
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::{
    BadFrame, CloseCode, ConnectionId, MessageKind, PublishToken, RequestId, ToSupervisor, ToWorker,
};

use super::FromThread;
use super::body::{Download, ResponseBody};
use super::link::Link;
use super::registry::{Late, Pressure};
use super::requests::{Outcome, header_map, response_head};
use super::router::{BODY_WINDOW_BYTES, Router};

/// Reads a link until its worker is gone.
pub struct LinkReader {
    router: Rc<Router>,
    link: Rc<Link>,
    /// The first link also carries what is about the worker as a whole.
    is_first: bool,
    incoming: Incoming,
    pieces: Pieces,
    ready: bool,
}

/// Why reading stopped.
enum Stop {
    /// The other end has closed.
    End,
    /// The process is gone.
    Reaped,
    /// The worker broke the protocol, or the socket failed.
    Bad(BadFrame),
    Failed(std::io::Error),
}

impl LinkReader {
    pub fn new(router: Rc<Router>, link: Rc<Link>, is_first: bool) -> Self {
        let limit = payload_bytes(router.settings.ws.max_message_bytes as u64);
        let (incoming, pieces) = (Incoming::default(), Pieces::new(limit));
        LinkReader { router, link, is_first, incoming, pieces, ready: false }
    }

    /// Reads until the process is gone and nothing it said is left.
    pub async fn run(mut self) {
        let stop = self.read().await;
        if !matches!(stop, Stop::Reaped) {
            self.tell_end(&stop);
            // What a link brought after a bad frame is not looked at.
            self.link.end();
            self.link.reaped.notified().await;
        }
        if matches!(stop, Stop::Reaped) {
            self.read_rest();
        }
        self.router.bury(&self.link);
    }

    async fn read(&mut self) -> Stop {
        loop {
            // Cancel-safe: a read that did not return has taken nothing.
            let filled = tokio::select! {
                biased;
                () = self.link.reaped.notified() => return Stop::Reaped,
                filled = self.incoming.fill(&self.link.socket) => filled,
            };
            match filled {
                Ok(Filled::Bytes | Filled::Nothing) => {}
                Ok(Filled::End) => return Stop::End,
                Err(error) => return Stop::Failed(error),
            }
            if let Err(bad) = self.take_frames() {
                return Stop::Bad(bad);
            }
            self.router.publisher.room().await;
        }
    }

    /// A grandchild may hold the other end open, so that no end is ever read: nothing more to read
    /// is the end.
    fn read_rest(&mut self) {
        while let Ok(Filled::Bytes) = self.incoming.try_fill(&self.link.socket) {
            if self.take_frames().is_err() {
                return;
            }
        }
    }

    fn tell_end(&self, stop: &Stop) {
        let (worker, reports) = (self.link.worker, &self.router.reports);
        match stop {
            Stop::Bad(BadFrame::Handshake(refusal)) => {
                let why = refusal.to_string();
                reports.send(FromThread::Refused { worker, why });
            }
            Stop::Bad(bad) => {
                let why = Some(format!("broke the link protocol: {bad}"));
                reports.send(FromThread::LinkEnded { worker, why });
            }
            Stop::Failed(error) => {
                let why = Some(format!("has a link that failed: {error}"));
                reports.send(FromThread::LinkEnded { worker, why });
            }
            Stop::End | Stop::Reaped => {
                reports.send(FromThread::LinkEnded { worker, why: None });
            }
        }
    }

    fn take_frames(&mut self) -> Result<(), BadFrame> {
        while let Some(frame) = self.incoming.next_frame()? {
            let Some(whole) = self.pieces.push(frame)? else { continue };
            let Some(frame) = ToSupervisor::read(whole)? else { continue };
            let (router, link) = (&self.router, &self.link);
            match frame {
                ToSupervisor::Ready(_)
                | ToSupervisor::Pong { .. }
                | ToSupervisor::ShutdownComplete => {
                    about_worker(router, link, self.is_first, &mut self.ready, &frame)?;
                }
                frame => router.on_frame(link, frame)?,
            }
        }
        Ok(())
    }
}

/// Frames about the worker as a whole: on its first link only.
fn about_worker(
    router: &Router,
    link: &Link,
    is_first: bool,
    ready: &mut bool,
    frame: &ToSupervisor<'_>,
) -> Result<(), BadFrame> {
    let worker = link.worker;
    let (kind, report) = match frame {
        ToSupervisor::Ready(Greeting { .. }) => (Kind::Ready, FromThread::Ready { worker }),
        ToSupervisor::Pong { .. } => (Kind::Pong, FromThread::Ponged { worker }),
        _ => (Kind::ShutdownComplete, FromThread::ShutdownCompleted { worker }),
    };
    let out_of_turn = |why| Err(BadFrame::OutOfTurn { kind: kind.name(), why });
    if !is_first {
        return out_of_turn("it belongs on the first link");
    }
    if kind == Kind::Ready && std::mem::replace(ready, true) {
        return out_of_turn("the worker is ready already");
    }
    router.reports.send(report);
    Ok(())
}

impl Router {
    /// Does what a frame about a request, connection or channel asks for.
    fn on_frame(self: &Rc<Self>, link: &Rc<Link>, frame: ToSupervisor<'_>) -> Result<(), BadFrame> {
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

    fn on_send(
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
        let Some(connection) = registry.of_owner(id, link) else {
            stranger(link, Kind::WsSend);
            return Ok(());
        };
        if !connection.state.is_owned() {
            return Err(out_of_turn(Kind::WsSend, OutOfTurn::Offered));
        }
        let patient = !connection.socket.is_over() || connection.pressure.forgives(data.len());
        if patient {
            connection.socket.send(kind, data);
        } else {
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
        let Some(connection) = registry.of_owner(id, link) else {
            stranger(link, Kind::WsClose);
            return Ok(());
        };
        if !connection.state.is_owned() {
            return Err(out_of_turn(Kind::WsClose, OutOfTurn::Offered));
        }
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
        let Some(connection) = registry.of_owner(id, link) else {
            stranger(link, Kind::ChannelSubscribe);
            return Ok(());
        };
        if !connection.state.is_owned() {
            return Err(out_of_turn(Kind::ChannelSubscribe, OutOfTurn::Offered));
        }
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
        let Some(connection) = registry.of_owner(id, link) else {
            stranger(link, Kind::ChannelUnsubscribe);
            return Ok(());
        };
        if !connection.state.is_owned() {
            return Err(out_of_turn(Kind::ChannelUnsubscribe, OutOfTurn::Offered));
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
            request.answer(Outcome::Bad("an upgrade with a header that is none"));
        }
        link.send(&ToWorker::Gone { connection: id, close: Late::TimedOut.close() });
    }

    fn on_response(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: RequestId,
        head: &shovel_protocol::control::ResponseHead<'_>,
        end: bool,
    ) -> Result<(), BadFrame> {
        let mut requests = self.requests.borrow_mut();
        let request = requests.get_mut(id.0).filter(|found| Rc::ptr_eq(found.holding.link(), link));
        // Cancelled, or timed out.
        let Some(request) = request else { return Ok(()) };
        if request.download.is_some() {
            let why = "the response has begun already";
            return Err(BadFrame::OutOfTurn { kind: Kind::HttpResponse.name(), why });
        }
        let (response, length) = match response_head(head, request.is_head) {
            Ok(read) => read,
            Err(why) => {
                drop(requests);
                tracing::warn!(worker = %link.worker, why, "a response cannot be passed on");
                self.fail(id, why);
                return Ok(());
            }
        };
        let download = Download::new(length, BODY_WINDOW_BYTES);
        request.download = Some(download.clone());
        let connection = request.connection.take();
        let body = ResponseBody::new(download, link.clone(), self.clone(), id);
        request.answer(Outcome::Response(response.map(|()| body)));
        drop(requests);
        if let Some(connection) = connection {
            self.registry.borrow_mut().give_up(connection, Late::TimedOut);
        }
        if end {
            self.end_response(link, id, |download| download.finish(None));
        }
        Ok(())
    }

    fn on_body(
        &self,
        link: &Rc<Link>,
        id: RequestId,
        data: &[u8],
        end: bool,
    ) -> Result<(), BadFrame> {
        let requests = self.requests.borrow();
        let request = requests.get(id.0).filter(|found| Rc::ptr_eq(found.holding.link(), link));
        let Some(request) = request else { return Ok(()) };
        let out_of_turn =
            |why| Err(BadFrame::OutOfTurn { kind: Kind::HttpResponseBody.name(), why });
        let Some(download) = request.download.clone() else {
            return out_of_turn("the response has not begun");
        };
        drop(requests);
        if !download.push(data) {
            return out_of_turn("there is no credit for it");
        }
        if end {
            self.end_response(link, id, |download| download.finish(None));
        }
        Ok(())
    }

    fn end_response(&self, link: &Rc<Link>, id: RequestId, end: impl FnOnce(&Download)) {
        let mut requests = self.requests.borrow_mut();
        let request = requests.get(id.0).filter(|found| Rc::ptr_eq(found.holding.link(), link));
        let Some(request) = request else { return };
        let Some(download) = request.download.clone() else {
            drop(requests);
            return self.fail(id, "the response ended before it began");
        };
        let request = requests.remove(id.0);
        drop(requests);
        drop(request);
        end(&download);
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
