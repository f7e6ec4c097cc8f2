//! What handlers do to connections and channels: at once, or with the commit that they end with.

use std::collections::{BTreeSet, VecDeque};

use shovel_core::transfer::{Attachment, OutOfTurn};
use shovel_protocol::control::{self, Effect};
use shovel_protocol::to_supervisor::{Effects, put_effect};
use shovel_protocol::{
    Close, CloseCode, LeaseId, MessageKind, PublishToken, ToWorker, When, WorkerId,
};

use super::State;
use crate::{Message, Published};

impl State {
    /// An effect came of a worker: it takes place now, or is staged.
    pub(super) fn effect(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
        when: When,
        effect: &Effect<'_>,
    ) -> Result<(), OutOfTurn> {
        let Some(client) = self.of_owner(worker, connection) else { return Ok(()) };
        match when {
            When::Now => {}
            When::During => client.state.act(true)?,
            When::Staged => {
                put_effect(client.state.staged()?, effect);
                return Ok(());
            }
        }
        self.take_effect(connection.0.slot, effect);
        Ok(())
    }

    /// A handler has ended: that of `seq`, or of the next event.
    pub(super) fn commit(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
        seq: Option<u64>,
    ) -> Result<(), OutOfTurn> {
        let Some(client) = self.of_owner(worker, connection) else { return Ok(()) };
        let seq = seq.unwrap_or(client.state.acked() + 1);
        let effects = client.state.commit(seq)?.effects;
        self.take_effects(connection.0.slot, &effects);
        Ok(())
    }

    /// Does what was staged, in order. Each was read once already, when its frame was.
    pub(super) fn take_effects(&mut self, slot: u32, effects: &[u8]) {
        Effects::new(effects).flatten().for_each(|effect| self.take_effect(slot, &effect));
    }

    pub(super) fn take_effect(&mut self, slot: u32, effect: &Effect<'_>) {
        match *effect {
            Effect::Send { binary, data } => {
                if let Some(client) = self.clients.get_mut(&slot)
                    && client.closed.is_none()
                {
                    client.received.extend(Message::copied(kind(binary), data));
                }
            }
            Effect::Subscribe { channel } => {
                if let Some(channels) = self.subscriptions_of(slot) {
                    channels.insert(channel.into());
                }
            }
            Effect::Unsubscribe { channel } => {
                if let Some(channels) = self.subscriptions_of(slot) {
                    channels.remove(channel);
                }
            }
            Effect::Publish { token, channel, binary, data } => {
                self.publish(None, PublishToken::from_wire(token), channel, kind(binary), data);
            }
            Effect::Close { code, reason } => {
                let (code, reason) = (CloseCode(code), reason.to_owned());
                self.close(slot, Close { code, reason, was_clean: true });
            }
            Effect::Attach { version, data } => {
                if let Some(client) = self.clients.get_mut(&slot) {
                    client.state.attach(Attachment { version, data: data.into() });
                }
            }
        }
    }

    /// A worker publishes, or by one of its connections.
    pub(super) fn publish(
        &mut self,
        worker: Option<WorkerId>,
        token: PublishToken,
        channel: &str,
        kind: MessageKind,
        data: &[u8],
    ) {
        // Text was checked when the frame was read.
        let Some(message) = Message::copied(kind, data) else { return };
        let publisher = worker.map(|worker| (worker, token));
        let Published { delivered, dropped, closed } = self.fan_out(publisher, channel, &message);
        self.published(channel).push_back(message);
        if let Some((worker, token)) = publisher.filter(|(_, token)| token.question != 0) {
            let published = control::Published { delivered, dropped, closed };
            self.tell(worker, &ToWorker::Published { token, published });
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
        for client in self.clients.values_mut() {
            if client.subscriptions.contains(channel) {
                client.received.push_back(message.clone());
                published.delivered += 1;
            }
        }
        let (kind, data) = (message.kind(), message.as_bytes());
        for (id, worker) in &mut self.workers {
            if worker.subscriptions.contains(channel) {
                let own = publisher.filter(|(publisher, _)| publisher == id);
                let token = own.map_or(PublishToken::NONE, |(_, token)| token);
                worker.tell(&ToWorker::ChannelMessage { token, channel, kind, data });
            }
        }
        published
    }

    /// A worker subscribes itself, or no longer.
    pub(super) fn subscribe_worker(&mut self, worker: WorkerId, channel: &str, is_on: bool) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            match is_on {
                true => drop(worker.subscriptions.insert(channel.into())),
                false => drop(worker.subscriptions.remove(channel)),
            }
        }
    }

    /// What workers have published and was not taken yet.
    pub(in crate::testing) fn published(&mut self, channel: &str) -> &mut VecDeque<Message> {
        self.published.entry(channel.into()).or_default()
    }

    /// The channels of an open connection.
    fn subscriptions_of(&mut self, slot: u32) -> Option<&mut BTreeSet<Box<str>>> {
        let client = self.clients.get_mut(&slot)?;
        client.closed.is_none().then_some(&mut client.subscriptions)
    }
}

fn kind(binary: bool) -> MessageKind {
    if binary { MessageKind::Binary } else { MessageKind::Text }
}
