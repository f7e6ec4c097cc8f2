//! What handlers do to connections and channels: at once, or with the commit that they end with.

use std::collections::VecDeque;

use shovel_core::custody::{Attachment, Committed, Left, OutOfTurn, Route};
use shovel_protocol::control::{self, Effect};
use shovel_protocol::to_supervisor::{Effects, put_effect};
use shovel_protocol::{
    Act, Close, CloseCode, LeaseId, MessageKind, PublishToken, ToWorker, When, WorkerId,
};

use super::State;
use crate::{Message, Published};

/// Who hears of what is published on a channel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subscriber {
    Client(Route),
    Worker(WorkerId),
}

impl State {
    /// A worker acts on a connection: now, or it is staged.
    pub(super) fn act(&mut self, worker: WorkerId, act: &Act<'_>) -> Result<(), OutOfTurn> {
        let connection = act.connection;
        if act.when == When::Staged {
            if let Some(staged) = self.custody.stage(connection, worker)? {
                put_effect(staged, &act.effect);
            }
        } else if self.custody.act(connection, worker, act.when == When::During)?
            && let Some(route) = self.custody.route(connection)
        {
            self.do_one(route, &act.effect);
        }
        if act.last { self.commit(worker, connection, None) } else { Ok(()) }
    }

    /// A handler has ended: that of `seq`, or of the next event.
    pub(super) fn commit(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
        seq: Option<u64>,
    ) -> Result<(), OutOfTurn> {
        let Some(committed) = self.custody.commit(connection, worker, seq)? else { return Ok(()) };
        let Committed { acts, left } = committed;
        let Some(route) = self.custody.route(connection) else { return Ok(()) };
        self.do_all(route, &acts);
        match left {
            Left::Closed => self.take_out(route),
            Left::Nothing => self.finish_if_idle(route),
            Left::Some { .. } => self.pump(connection),
        }
        Ok(())
    }

    /// Does what was staged, in order. Each was read once already, when its frame was.
    pub(super) fn do_all(&mut self, route: Route, acts: &[u8]) {
        Effects::new(acts).flatten().for_each(|effect| self.do_one(route, &effect));
    }

    pub(super) fn do_one(&mut self, route: Route, effect: &Effect<'_>) {
        let is_open = self.client(route).is_some_and(|client| client.closed.is_none());
        match *effect {
            Effect::Send { binary, data } => {
                let message = Message::copied(MessageKind::of(binary), data);
                if let Some(message) = message.filter(|_| is_open) {
                    self.send(route, message);
                }
            }
            Effect::Subscribe { channel } => {
                self.subscribe(Subscriber::Client(route), channel, is_open);
            }
            Effect::Unsubscribe { channel } => {
                self.subscribe(Subscriber::Client(route), channel, false);
            }
            Effect::Publish { token: _, channel, binary, data } => {
                self.publish(None, channel, MessageKind::of(binary), data);
            }
            Effect::Close { code, reason } => {
                let (code, reason) = (CloseCode(code), reason.to_owned());
                self.close(route, Close { code, reason, was_clean: true });
            }
            Effect::Attach { version, data } => {
                if let Some((_, connection)) = self.custody.on_route_mut(route) {
                    connection.attach(Attachment { version, data: data.into() });
                }
            }
            Effect::SlowConsumer { policy } => {
                if let Some(client) = self.client(route) {
                    client.outbox.slow_consumer = policy.unwrap_or_default();
                }
            }
        }
    }

    /// A worker publishes, or one of its connections does.
    pub(super) fn publish(
        &mut self,
        publisher: Option<(WorkerId, PublishToken)>,
        channel: &str,
        kind: MessageKind,
        data: &[u8],
    ) {
        // Text was checked when the frame was read.
        let Some(message) = Message::copied(kind, data) else { return };
        let Published { delivered, dropped, closed } = self.fan_out(publisher, channel, &message);
        self.published(channel).push_back(message);
        if let Some((worker, token)) = publisher.filter(|(_, token)| token.question != 0) {
            let published = control::Published { delivered, dropped, closed };
            self.workers.tell(worker, &ToWorker::Published { token, published });
        }
    }

    /// Shares a message out. Counts connections only, as the supervisor does. The token is for its
    /// publisher alone.
    pub(in crate::testing) fn fan_out(
        &mut self,
        publisher: Option<(WorkerId, PublishToken)>,
        channel: &str,
        message: &Message,
    ) -> Published {
        let mut published = Published::default();
        for subscriber in self.subscriptions.get(channel).cloned().unwrap_or_default() {
            match subscriber {
                Subscriber::Client(route) => {
                    self.send_published(route, message.clone(), &mut published);
                }
                Subscriber::Worker(worker) => {
                    let own = publisher.filter(|(publisher, _)| *publisher == worker);
                    let token = own.map_or(PublishToken::NONE, |(_, token)| token);
                    let (kind, data) = (message.kind(), message.as_bytes());
                    self.workers
                        .tell(worker, &ToWorker::ChannelMessage { token, channel, kind, data });
                }
            }
        }
        published
    }

    /// What workers have published and was not taken yet.
    pub(in crate::testing) fn published(&mut self, channel: &str) -> &mut VecDeque<Message> {
        self.published.entry(channel.into()).or_default()
    }

    pub(super) fn subscribe(&mut self, who: Subscriber, channel: &str, is_on: bool) {
        let subscribers = self.subscriptions.entry(channel.into()).or_default();
        let _has_changed = if is_on { subscribers.insert(who) } else { subscribers.remove(&who) };
    }

    pub(super) fn unsubscribe_all(&mut self, who: Subscriber) {
        self.subscriptions.values_mut().for_each(|subscribers| {
            subscribers.remove(&who);
        });
    }
}
