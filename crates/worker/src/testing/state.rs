//! What a supervisor knows of its worker: requests, connections, channels. No IO.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use shovel_link::Outgoing;
use shovel_protocol::control::{self, Effect, UpgradeHead, Welcome};
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::to_supervisor::{Effects, put_effect};
use shovel_protocol::{
    Again, Close, CloseCode, ConnectionId, MessageKind, PublishToken, Publisher, RequestId,
    ToSupervisor, ToWorker, When,
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
    /// What its handler has done and not committed.
    staged: Vec<u8>,
    attached: Option<(u32, Vec<u8>)>,
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
        self.tell(&ToWorker::hello(Capabilities::ADOPT, welcome));
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
        let again = Again::default();
        self.tell(&ToWorker::Message { connection, seq, again, kind, data });
        Ok(seq)
    }

    /// What is attached to a connection: version and bytes.
    pub(super) fn attached(&self, connection: ConnectionId) -> Option<(u32, Vec<u8>)> {
        self.clients.get(&connection)?.attached.clone()
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
        let again = Again::default();
        self.tell(&ToWorker::Closed { connection, seq, again, close });
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
            ToSupervisor::Upgrade { connection, upgrade, effects, .. } => {
                self.upgrade(connection, &upgrade, effects);
            }
            ToSupervisor::Send { connection, when, kind, data, last } => {
                let effect = Effect::Send { binary: kind.is_binary(), data };
                self.stage(connection, when, effect);
                if last {
                    let finished = self.clients.get(&connection).map(|client| client.finished + 1);
                    finished.into_iter().for_each(|seq| self.commit(connection, seq));
                }
            }
            ToSupervisor::Commit { connection, seq } => self.commit(connection, seq),
            ToSupervisor::Close { connection, when, code, reason } => {
                self.stage(connection, when, Effect::Close { code: code.0, reason });
            }
            ToSupervisor::Attach { connection, when, version, data } => {
                self.stage(connection, when, Effect::Attach { version, data });
            }
            ToSupervisor::Subscribe { connection, when, channel } => match connection {
                Some(connection) => self.stage(connection, when, Effect::Subscribe { channel }),
                None => drop(self.subscriptions.insert(channel.into())),
            },
            ToSupervisor::Unsubscribe { connection, when, channel } => match connection {
                Some(connection) => self.stage(connection, when, Effect::Unsubscribe { channel }),
                None => drop(self.subscriptions.remove(channel)),
            },
            ToSupervisor::Publish { publisher, channel, kind, data } => match publisher {
                Publisher::Token(token) => self.publish(token, channel, kind, data),
                Publisher::Handler { connection, when } => {
                    let binary = kind.is_binary();
                    let effect = Effect::Publish { token: 0, channel, binary, data };
                    self.stage(connection, when, effect);
                }
            },
            ToSupervisor::Credit { request, bytes } => {
                self.with(request, |exchange| exchange.credit.add_permits(bytes as usize));
            }
            // Neither pinged nor pressed, nor are connections moved; and the end of the link follows
            // the last one.
            ToSupervisor::Pong { .. }
            | ToSupervisor::Released { .. }
            | ToSupervisor::Adopted { .. }
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

    fn stage(&mut self, connection: ConnectionId, when: When, effect: Effect<'_>) {
        match (when, self.clients.get_mut(&connection)) {
            (When::Staged, Some(client)) => put_effect(&mut client.staged, &effect),
            (_, _) => self.take_effect(connection, effect),
        }
    }

    fn commit(&mut self, connection: ConnectionId, seq: u64) {
        let Some(client) = self.clients.get_mut(&connection) else { return };
        client.finished = seq;
        let staged = std::mem::take(&mut client.staged);
        Effects::new(&staged).flatten().for_each(|effect| self.take_effect(connection, effect));
    }

    fn take_effect(&mut self, connection: ConnectionId, effect: Effect<'_>) {
        match effect {
            Effect::Send { binary, data } => self.send(connection, kind(binary), data),
            Effect::Subscribe { channel } => {
                if let Some(channels) = self.subscriptions_of(connection) {
                    channels.insert(channel.into());
                }
            }
            Effect::Unsubscribe { channel } => {
                if let Some(channels) = self.subscriptions_of(connection) {
                    channels.remove(channel);
                }
            }
            Effect::Publish { token, channel, binary, data } => {
                self.publish(PublishToken::from_wire(token), channel, kind(binary), data);
            }
            Effect::Close { code, reason } => {
                let (code, reason) = (CloseCode(code), reason.to_owned());
                self.close(connection, Close { code, reason, was_clean: true });
            }
            Effect::Attach { version, data } => {
                if let Some(client) = self.clients.get_mut(&connection) {
                    client.attached = Some((version, data.to_vec()));
                }
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

    /// The channels of an open connection.
    fn subscriptions_of(&mut self, connection: ConnectionId) -> Option<&mut BTreeSet<Box<str>>> {
        let client = self.clients.get_mut(&connection)?;
        client.closed.is_none().then_some(&mut client.subscriptions)
    }
}

fn kind(binary: bool) -> MessageKind {
    if binary { MessageKind::Binary } else { MessageKind::Text }
}
