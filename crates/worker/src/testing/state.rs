//! What a supervisor knows of its worker: requests, connections, channels. No IO.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use shovel_link::Outgoing;
use shovel_protocol::control::{self, Effect, UpgradeHead, Welcome};
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::{
    Close, CloseCode, ConnectionId, MessageKind, PublishToken, RequestId, ToSupervisor, ToWorker,
};
use tokio::sync::Semaphore;

use super::exchange::{Answer, Chunk, Exchange, WINDOW_BYTES, read_headers};
use crate::{Message, Published};

/// The supervisor's default of `--max-message-size`.
pub(super) const MAX_MESSAGE_BYTES: u64 = 16 * 1024 * 1024;

/// All that the app has been told and has told.
///
/// What a test does not look at is kept until its end; bodies of responses are bounded by their
/// window.
#[derive(Default)]
pub(super) struct State {
    pub(super) outgoing: Outgoing,
    life: Life,
    exchanges: HashMap<RequestId, Exchange>,
    clients: HashMap<ConnectionId, Client>,
    /// The channels that the worker itself is subscribed to.
    subscriptions: BTreeSet<Box<str>>,
    published: HashMap<Box<str>, VecDeque<Message>>,
}

#[derive(Default, PartialEq, Eq)]
enum Life {
    #[default]
    Starting,
    Ready,
    Ended,
}

/// The client of a connection that was accepted.
#[derive(Default)]
struct Client {
    subscriptions: BTreeSet<Box<str>>,
    received: VecDeque<Message>,
    /// How many events the app was given, and how many it has finished.
    given: u64,
    finished: u64,
    closed: Option<(u16, String)>,
}

impl State {
    pub(super) fn say_hello(&mut self) {
        let welcome = Welcome {
            worker: 1,
            index: 0,
            generation: 1,
            link: 0,
            links: 1,
            max_message_bytes: MAX_MESSAGE_BYTES,
            body_window_bytes: WINDOW_BYTES,
            dev: false,
        };
        self.tell(&ToWorker::hello(Capabilities::default(), welcome));
    }

    /// Whether the app takes work, once that is known.
    pub(super) fn started(&self) -> Option<bool> {
        (self.life != Life::Starting).then_some(self.life == Life::Ready)
    }

    pub(super) fn shut_down(&mut self) {
        self.tell(&ToWorker::Shutdown);
    }

    /// Nothing comes of the app any more.
    pub(super) fn end(&mut self) {
        self.life = Life::Ended;
        for exchange in self.exchanges.values_mut() {
            exchange.end(Chunk::CutOff);
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.life == Life::Ended
    }

    pub(super) fn tell(&mut self, frame: &ToWorker<'_>) {
        self.outgoing.put(frame.lane(), |batch| frame.put(batch));
    }

    /// Begins a request; returns the credit for its body.
    pub(super) fn begin(
        &mut self,
        request: RequestId,
        head: control::RequestHead<'_>,
        end: bool,
    ) -> Arc<Semaphore> {
        let offered = head.offer.map(|offer| ConnectionId::from_wire(offer.connection));
        let exchange = Exchange::new(offered);
        let credit = exchange.credit.clone();
        self.exchanges.insert(request, exchange);
        self.tell(&ToWorker::Request { request, head, end });
        credit
    }

    pub(super) fn take_answer(&mut self, request: RequestId) -> Option<Answer> {
        self.exchanges.get_mut(&request)?.answer.take()
    }

    /// The body of a request has failed: its client is gone.
    pub(super) fn fail(&mut self, request: RequestId, error: axum::Error) {
        if let Some(exchange) = self.exchanges.get_mut(&request)
            && !exchange.is_answered
        {
            exchange.is_answered = true;
            exchange.answer.get_or_insert(Answer::NoBody(error));
            exchange.end(Chunk::CutOff);
            self.tell(&ToWorker::Cancel { request });
        }
    }

    /// Nobody asks for the answer any more.
    pub(super) fn forget(&mut self, request: RequestId) {
        let forgotten = self.exchanges.remove(&request);
        if forgotten.is_some_and(|exchange| !exchange.is_answered) {
            self.tell(&ToWorker::Cancel { request });
        }
    }

    /// Hands a message over; returns its number, or why the connection has closed.
    pub(super) fn hand_over(
        &mut self,
        connection: ConnectionId,
        message: &Message,
    ) -> Result<u64, (u16, String)> {
        let client = self.clients.entry(connection).or_default();
        if let Some(closed) = &client.closed {
            return Err(closed.clone());
        }
        client.given += 1;
        let (seq, kind, data) = (client.given, message.kind(), message.as_bytes());
        self.tell(&ToWorker::Message { connection, seq, kind, data });
        Ok(seq)
    }

    /// Whether the app has finished an event.
    pub(super) fn has_finished(&self, connection: ConnectionId, seq: u64) -> Option<()> {
        self.clients.get(&connection).filter(|client| client.finished >= seq).map(|_| ())
    }

    /// Closes a connection, whichever end wants it; the first to do so decides.
    pub(super) fn close(&mut self, connection: ConnectionId, close: Close) {
        let Some(client) = self.clients.get_mut(&connection) else { return };
        if client.closed.is_some() {
            return;
        }
        client.closed = Some((close.code.0, close.reason.clone()));
        client.subscriptions.clear();
        client.given += 1;
        let seq = client.given;
        self.tell(&ToWorker::Closed { connection, seq, close });
    }

    pub(super) fn close_all(&mut self) {
        let connections: Vec<_> = self.clients.keys().copied().collect();
        for connection in connections {
            let (code, reason) = (CloseCode::GOING_AWAY, "server shutting down".to_owned());
            self.close(connection, Close { code, reason, was_clean: true });
        }
    }

    /// How a connection has closed, once it has.
    pub(super) fn closed(&self, connection: ConnectionId) -> Option<(u16, String)> {
        self.clients.get(&connection)?.closed.clone()
    }

    /// The same, once its close handler has ended.
    pub(super) fn settled(&self, connection: ConnectionId) -> Option<(u16, String)> {
        let client = self.clients.get(&connection)?;
        client.closed.clone().filter(|_| client.finished == client.given)
    }

    /// Whether every close handler has ended.
    pub(super) fn all_settled(&self) -> Option<()> {
        let mut all = self.clients.values();
        all.all(|client| client.closed.is_some() && client.finished == client.given).then_some(())
    }

    /// What was sent to a client and not taken yet.
    pub(super) fn received(&mut self, connection: ConnectionId) -> &mut VecDeque<Message> {
        &mut self.clients.entry(connection).or_default().received
    }

    /// What the app has published and was not taken yet.
    pub(super) fn published(&mut self, channel: &str) -> &mut VecDeque<Message> {
        self.published.entry(channel.into()).or_default()
    }

    /// Shares a message out. Counts connections only, as the supervisor does.
    pub(super) fn fan_out(
        &mut self,
        token: PublishToken,
        channel: &str,
        message: &Message,
    ) -> Published {
        let mut published = Published::default();
        for client in self.clients.values_mut() {
            if client.subscriptions.contains(channel) {
                client.received.push_back(message.clone());
                published.delivered += 1;
            }
        }
        if self.subscriptions.contains(channel) {
            let (kind, data) = (message.kind(), message.as_bytes());
            self.tell(&ToWorker::ChannelMessage { token, channel, kind, data });
        }
        published
    }

    /// Takes in what the app says. What is about a request or connection that has ended is
    /// dropped: it may have been under way.
    pub(super) fn handle(&mut self, frame: ToSupervisor<'_>) {
        match frame {
            ToSupervisor::Ready(_) => self.life = Life::Ready,
            ToSupervisor::Response { request, head, end } => {
                self.with(request, |exchange| exchange.respond(&head, end));
            }
            ToSupervisor::ResponseBody { request, data, end } => {
                let chunk = Chunk::Data(Bytes::copy_from_slice(data));
                self.with(request, |exchange| match end {
                    true => exchange.end(chunk),
                    false => exchange.send(chunk),
                });
            }
            ToSupervisor::ResponseEnd { request, trailers } => {
                let trailers = Chunk::Trailers(read_headers(&trailers));
                self.with(request, |exchange| exchange.end(trailers));
            }
            ToSupervisor::Abort { request } => {
                self.with(request, |exchange| exchange.end(Chunk::CutOff));
            }
            ToSupervisor::Upgrade { connection, upgrade, effects } => {
                self.upgrade(connection, &upgrade, effects);
            }
            ToSupervisor::Send { connection, kind, data, last } => {
                self.send(connection, kind, data);
                if last && let Some(client) = self.clients.get_mut(&connection) {
                    client.finished += 1;
                }
            }
            ToSupervisor::Commit { connection, seq } => {
                if let Some(client) = self.clients.get_mut(&connection) {
                    client.finished = seq;
                }
            }
            ToSupervisor::Close { connection, code, reason } => {
                self.close(connection, Close { code, reason: reason.to_owned(), was_clean: true });
            }
            ToSupervisor::Subscribe { connection, channel } => {
                if let Some(channels) = self.subscriptions_of(connection) {
                    channels.insert(channel.into());
                }
            }
            ToSupervisor::Unsubscribe { connection, channel } => {
                if let Some(channels) = self.subscriptions_of(connection) {
                    channels.remove(channel);
                }
            }
            ToSupervisor::Publish { token, channel, kind, data } => {
                self.publish(token, channel, kind, data);
            }
            ToSupervisor::Credit { request, bytes } => {
                self.with(request, |exchange| exchange.credit.add_permits(bytes as usize));
            }
            // Neither pinged nor pressed; and the end of the link follows the last one.
            ToSupervisor::Pong { .. }
            | ToSupervisor::Pressed { .. }
            | ToSupervisor::ShutdownComplete => {}
        }
    }

    fn with(&mut self, request: RequestId, act: impl FnOnce(&mut Exchange)) {
        if let Some(exchange) = self.exchanges.get_mut(&request) {
            act(exchange);
        }
    }

    fn upgrade(
        &mut self,
        connection: ConnectionId,
        upgrade: &UpgradeHead<'_>,
        effects: Effects<'_>,
    ) {
        let exchange = self.exchanges.get_mut(&RequestId::from_wire(upgrade.request));
        let Some(exchange) = exchange.filter(|exchange| exchange.offered == Some(connection))
        else {
            let reason = "client went away before the upgrade".to_owned();
            let close = Close { code: CloseCode::ABNORMAL, reason, was_clean: false };
            self.tell(&ToWorker::Gone { connection, close });
            return;
        };
        exchange.upgrade(upgrade);
        self.clients.insert(connection, Client::default());
        // Read once already, when the frame was.
        effects.flatten().for_each(|effect| self.take_effect(connection, effect));
    }

    fn take_effect(&mut self, connection: ConnectionId, effect: Effect<'_>) {
        match effect {
            Effect::Send { binary, data } => self.send(connection, kind(binary), data),
            Effect::Subscribe { channel } => {
                self.handle(ToSupervisor::Subscribe { connection: Some(connection), channel });
            }
            Effect::Unsubscribe { channel } => {
                self.handle(ToSupervisor::Unsubscribe { connection: Some(connection), channel });
            }
            Effect::Publish { token, channel, binary, data } => {
                self.publish(PublishToken::from_wire(token), channel, kind(binary), data);
            }
            Effect::Close { code, reason } => {
                self.handle(ToSupervisor::Close { connection, code: CloseCode(code), reason });
            }
        }
    }

    fn send(&mut self, connection: ConnectionId, kind: MessageKind, data: &[u8]) {
        if let Some(client) = self.clients.get_mut(&connection)
            && client.closed.is_none()
        {
            client.received.extend(Message::copied(kind, data));
        }
    }

    fn publish(&mut self, token: PublishToken, channel: &str, kind: MessageKind, data: &[u8]) {
        // Text was checked when the frame was read.
        let Some(message) = Message::copied(kind, data) else { return };
        let Published { delivered, dropped, closed } = self.fan_out(token, channel, &message);
        self.published(channel).push_back(message);
        if token.question != 0 {
            let published = control::Published { delivered, dropped, closed };
            self.tell(&ToWorker::Published { token, published });
        }
    }

    /// The channels of an open connection, or of the worker itself.
    fn subscriptions_of(
        &mut self,
        connection: Option<ConnectionId>,
    ) -> Option<&mut BTreeSet<Box<str>>> {
        let Some(connection) = connection else { return Some(&mut self.subscriptions) };
        let client = self.clients.get_mut(&connection)?;
        client.closed.is_none().then_some(&mut client.subscriptions)
    }
}

fn kind(binary: bool) -> MessageKind {
    if binary { MessageKind::Binary } else { MessageKind::Text }
}
