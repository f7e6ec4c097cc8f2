//! Fan-out: one published message to all subscribers, wherever they are.
//!
//! A worker's publish is shared out by the thread that reads it, before the worker's next frame is
//! read, so that a publish and a later send keep their order. Each message is encoded once per
//! thread, into the channel's batch of this turn, which all subscribers' outboxes share.

use std::rc::Rc;

use bytes::Bytes;
use shovel_core::channels::ChannelIndex;
use shovel_core::slots::Slot;
use shovel_edge::ws::{Fanout, Takes};
use shovel_protocol::control::Published;
use shovel_protocol::{CloseCode, MessageKind, PublishToken, ToWorker, WorkerId};
use tokio::sync::oneshot;

use super::crossing::{Crossing, Message, Receiver};
use super::publisher::{Asker, Share};
use crate::counts::{OfThread, OfWorker};
use crate::links::link::{CHANNEL_LIMIT_BYTES, Link};
use crate::router::Router;

/// Who publishes for an operator. No worker is meant, since a token that names no object leaves
/// nobody out.
const NOBODY: WorkerId = WorkerId(0);

/// What becomes of a message on this thread.
#[derive(Default)]
struct Counted {
    published: Published,
    /// Some subscribers do not take it, or give up older ones for it.
    has_drops: bool,
}

impl Router {
    /// Publishes what a worker sent over `link`.
    pub fn publish(
        &self,
        link: &Rc<Link>,
        token: PublishToken,
        channel: &str,
        kind: MessageKind,
        data: &[u8],
    ) {
        link.tally.add(OfWorker::Published, 1);
        let asker = (token.question != 0).then(|| Asker::Worker { link: link.clone(), token });
        let published = self.fan_out(link.worker, token, channel, kind, data);
        if self.publisher.is_alone() {
            return asker.into_iter().for_each(|asker| asker.answer(published));
        }
        let data = Bytes::copy_from_slice(data);
        let (from, channel) = (link.worker, channel.into());
        let message = Message { channel, kind, data, from, token, receipt: None };
        self.publisher.send_to_others(asker, published, message);
    }

    /// Publishes what an operator wants published.
    pub fn publish_for_operator(
        &self,
        channel: &str,
        kind: MessageKind,
        data: Bytes,
        answer: oneshot::Sender<Published>,
    ) {
        let (from, token) = (NOBODY, PublishToken::NONE);
        let published = self.fan_out(from, token, channel, kind, &data);
        let asker = Asker::Operator(answer);
        if self.publisher.is_alone() {
            return asker.answer(published);
        }
        let channel = channel.into();
        let message = Message { channel, kind, data, from, token, receipt: None };
        self.publisher.send_to_others(Some(asker), published, message);
    }

    /// Shares out what waits on the channels of a connection, before anything that must come
    /// behind it.
    #[inline]
    pub fn share_channels_of(&self, slot: Slot) {
        if !self.publisher.is_empty() {
            self.share_waiting_channels_of(slot);
        }
    }

    fn share_waiting_channels_of(&self, slot: Slot) {
        let custody = self.custody.borrow();
        let Some(connection) = custody.at(slot) else { return };
        let (its, waiting) = (&connection.client.subscriptions, self.publisher.waiting());
        // A connection may have many channels, and sends often.
        let channels: Vec<_> = match its.len() < waiting.len() {
            true => its.channels().collect(),
            false => waiting.into_iter().filter(|channel| its.contains(*channel)).collect(),
        };
        drop(custody);
        channels.into_iter().for_each(|channel| self.share(channel));
    }

    /// Shares out what waits on a channel, before somebody joins it.
    pub fn share_channel(&self, name: &str) {
        if self.publisher.is_empty() {
            return;
        }
        let channel = self.channels.borrow().find(name);
        if let Some(channel) = channel {
            self.share(channel);
        }
    }

    /// A message that not all subscribers take: by itself, before any of them is written to.
    fn share_with_takers(&self, channel: ChannelIndex, kind: MessageKind, data: &[u8]) {
        let mut batch = Fanout::default();
        batch.put(kind, data);
        let (custody, channels) = (self.custody.borrow(), self.channels.borrow());
        let subscribers = channels.connections(channel).iter();
        let subscribers = subscribers.filter_map(|slot| custody.at(*slot));
        let sockets = subscribers.map(|found| &found.client.socket);
        let dropped = batch.share_with_takers(sockets, self.turn.ledger());
        self.measures.tally.add(OfThread::DroppedForClients, dropped);
    }

    fn share(&self, channel: ChannelIndex) {
        let Some(mut batch) = self.publisher.take(channel) else { return };
        let (custody, channels) = (self.custody.borrow(), self.channels.borrow());
        let subscribers = channels.connections(channel).iter();
        let subscribers = subscribers.filter_map(|slot| custody.at(*slot));
        batch.share(subscribers.map(|found| &found.client.socket), self.turn.ledger());
    }

    /// To the subscribers of this thread.
    fn fan_out(
        &self,
        from: WorkerId,
        token: PublishToken,
        name: &str,
        kind: MessageKind,
        data: &[u8],
    ) -> Published {
        let channel = self.channels.borrow().find(name);
        let Some(channel) = channel else { return Published::default() };
        let Counted { published, has_drops } = self.count(channel);
        if has_drops {
            self.share(channel);
            self.share_with_takers(channel, kind, data);
        } else if published.delivered > 0 {
            self.put(channel, kind, data);
        }
        if published.delivered > 0 {
            let tally = &self.measures.tally;
            tally.add(OfThread::Delivered, published.delivered);
            tally.add(OfThread::DeliveredBytes, published.delivered * data.len() as u64);
        }
        for worker in self.channels.borrow().workers(channel) {
            let custody = self.custody.borrow();
            let Some(link) = custody.worker(*worker) else { continue };
            if link.waiting_bytes() > CHANNEL_LIMIT_BYTES {
                self.measures.tally.add(OfThread::DroppedForWorkers, 1);
                tracing::debug!(worker = %worker, channel = name, "message for a slow worker dropped");
                continue;
            }
            let token = if *worker == from { token } else { PublishToken::NONE };
            link.send(&ToWorker::ChannelMessage { token, channel: name, kind, data });
        }
        published
    }

    /// Counts who will get the next message of a channel, and closes those who are too slow.
    fn count(&self, channel: ChannelIndex) -> Counted {
        let mut counted = Counted::default();
        let (custody, channels) = (self.custody.borrow(), self.channels.borrow());
        for slot in channels.connections(channel) {
            let Some(connection) = custody.at(*slot) else { continue };
            let (published, socket) = (&mut counted.published, &connection.client.socket);
            match socket.takes() {
                Takes::Whole => published.delivered += 1,
                Takes::InPlaceOfOlder => {
                    published.delivered += 1;
                    counted.has_drops = true;
                }
                Takes::Nothing => {
                    published.dropped += 1;
                    counted.has_drops = true;
                }
                Takes::NoMore => {
                    socket.close_slow(CloseCode::POLICY, "client reads too slowly");
                    published.closed += 1;
                    let owner = connection.owner();
                    if let Some(link) = owner.and_then(|owner| custody.worker(owner)) {
                        link.tally.add(OfWorker::SlowConsumers, 1);
                    }
                }
                Takes::Closed => {}
            }
        }
        counted
    }

    fn put(&self, channel: ChannelIndex, kind: MessageKind, data: &[u8]) {
        if self.publisher.put(channel, kind, data) {
            self.share(channel);
        }
    }
}

impl Share for Router {
    fn share_all(&self) {
        self.publisher.waiting().into_iter().for_each(|channel| self.share(channel));
    }
}

/// Takes in what other threads publish; one task per thread.
pub async fn receive(router: Rc<Router>, mut receiver: Receiver) {
    while let Some(crossing) = receiver.recv().await {
        match crossing {
            Crossing::Publish(message) => {
                let Message { channel, kind, data, from, token, receipt } = message;
                let published = router.fan_out(from, token, &channel, kind, &data);
                if let Some((thread, receipt)) = receipt {
                    router.publisher.answer(thread, receipt, published);
                }
            }
            Crossing::Answer { receipt, published } => {
                router.publisher.take_answer(receipt, published);
            }
        }
    }
}
