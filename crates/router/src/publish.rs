//! Fan-out: one published message to all subscribers, wherever they are.
//!
//! A worker's publish is shared out by the thread that reads it, before the worker's next frame is
//! read, so that a publish and a later send keep their order. Each message is encoded once per
//! thread, into the channel's batch of this turn, which all subscribers' outboxes share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use shovel_core::channels::{ChannelIndex, Slot};
use shovel_edge::Turn;
use shovel_edge::turn::Flush;
use shovel_edge::ws::Fanout;
use shovel_protocol::control::Published;
use shovel_protocol::{CloseCode, MessageKind, PublishToken, ToWorker, WorkerId};
use tokio::sync::oneshot;

use super::counts::{OfThread, OfWorker};
use super::crossing::{Crossing, Message, Receiver, Sender};
use super::link::{CHANNEL_LIMIT_BYTES, Link};
use super::router::Router;

/// Who publishes for an operator. No worker is meant, since a token that names no object leaves
/// nobody out.
const NOBODY: WorkerId = WorkerId(0);

/// What was published on a thread and not yet shared out.
pub struct Publisher {
    crossing: Sender,
    batches: RefCell<BTreeMap<ChannelIndex, Fanout>>,
    questions: RefCell<Questions>,
    marker: Rc<Marker>,
    turn: Turn,
}

/// Shares everything out at the end of the turn.
struct Marker {
    router: Weak<Router>,
    marked: Cell<bool>,
}

#[derive(Default)]
struct Questions {
    next: u32,
    open: BTreeMap<u32, Question>,
}

/// A publish whose publisher wants to know what became of it.
struct Question {
    asker: Asker,
    missing: usize,
    published: Published,
}

enum Asker {
    Worker { link: Rc<Link>, token: PublishToken },
    Operator(oneshot::Sender<Published>),
}

impl Asker {
    fn answer(self, published: Published) {
        match self {
            Asker::Worker { link, token } => link.send(&ToWorker::Published { token, published }),
            // Whoever does not wait any more does not want to know.
            Asker::Operator(answer) => drop(answer.send(published)),
        }
    }
}

impl Publisher {
    pub fn new(router: Weak<Router>, turn: Turn, crossing: Sender) -> Self {
        let marker = Rc::new(Marker { router, marked: Cell::new(false) });
        let (batches, questions) = (RefCell::default(), RefCell::default());
        Publisher { crossing, batches, questions, marker, turn }
    }

    /// Which thread this is.
    pub fn thread(&self) -> usize {
        self.crossing.thread
    }

    /// Waits until other threads have room for what is published next.
    pub async fn room(&self) {
        if self.crossing.others() > 0 {
            self.crossing.room().await;
        }
    }

    /// Bytes from other threads that wait for this one.
    pub fn crossing_bytes(&self) -> usize {
        self.crossing.waiting_bytes()
    }
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
        let others = self.publisher.crossing.others();
        if others == 0 {
            return asker.into_iter().for_each(|asker| asker.answer(published));
        }
        let data = Bytes::copy_from_slice(data);
        let (from, channel) = (link.worker, channel.into());
        self.send_to_others(
            asker,
            published,
            Message { channel, kind, data, from, token, question: None },
        );
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
        if self.publisher.crossing.others() == 0 {
            return asker.answer(published);
        }
        let channel = channel.into();
        let message = Message { channel, kind, data, from, token, question: None };
        self.send_to_others(Some(asker), published, message);
    }

    fn send_to_others(&self, asker: Option<Asker>, published: Published, mut message: Message) {
        let publisher = &self.publisher;
        let missing = publisher.crossing.others();
        message.question = asker.map(|asker| {
            let question = Question { asker, missing, published };
            (publisher.crossing.thread, publisher.questions.borrow_mut().ask(question))
        });
        publisher.crossing.send_to_others(&message);
    }

    /// Shares out what waits on the channels of a connection, before anything that must come
    /// behind it.
    #[inline]
    pub fn share_channels_of(&self, slot: Slot) {
        if !self.publisher.batches.borrow().is_empty() {
            self.share_waiting_channels_of(slot);
        }
    }

    fn share_waiting_channels_of(&self, slot: Slot) {
        let registry = self.registry.borrow();
        let Some(connection) = registry.at(slot) else { return };
        let channels: Vec<_> = connection.subscriptions.channels().collect();
        drop(registry);
        channels.into_iter().for_each(|channel| self.share(channel));
    }

    /// Shares out what waits on a channel, before somebody joins it.
    pub fn share_channel(&self, name: &str) {
        if self.publisher.batches.borrow().is_empty() {
            return;
        }
        let channel = self.channels.borrow().find(name);
        if let Some(channel) = channel {
            self.share(channel);
        }
    }

    fn share(&self, channel: ChannelIndex) {
        let batch = self.publisher.batches.borrow_mut().remove(&channel);
        let Some(mut batch) = batch else { return };
        let (registry, channels) = (self.registry.borrow(), self.channels.borrow());
        let subscribers = channels.connections(channel).iter();
        batch.share(subscribers.filter_map(|slot| registry.at(*slot)).map(|found| &found.socket));
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
        let published = self.count(channel);
        if published.delivered > 0 {
            self.put(channel, kind, data);
            let tally = &self.measures.tally;
            tally.add(OfThread::Delivered, published.delivered);
            tally.add(OfThread::DeliveredBytes, published.delivered * data.len() as u64);
        }
        for worker in self.channels.borrow().workers(channel) {
            let Some(link) = self.link(*worker) else { continue };
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
    fn count(&self, channel: ChannelIndex) -> Published {
        let mut published = Published::default();
        let (registry, channels) = (self.registry.borrow(), self.channels.borrow());
        for slot in channels.connections(channel) {
            let Some(connection) = registry.at(*slot) else { continue };
            if !connection.socket.is_over() {
                published.delivered += u64::from(connection.socket.is_open());
            } else if connection.socket.is_open() {
                connection.socket.close_slow(CloseCode::POLICY, "client reads too slowly");
                published.closed += 1;
                if let Some(link) = connection.link() {
                    link.tally.add(OfWorker::SlowConsumers, 1);
                }
            }
        }
        published
    }

    fn put(&self, channel: ChannelIndex, kind: MessageKind, data: &[u8]) {
        let publisher = &self.publisher;
        let is_much = publisher.batches.borrow_mut().entry(channel).or_default().put(kind, data);
        if is_much {
            self.share(channel);
        } else if !publisher.marker.marked.replace(true) {
            publisher.turn.mark(publisher.marker.clone());
        }
    }
}

impl Flush for Marker {
    fn flush(self: Rc<Self>) {
        self.marked.set(false);
        let Some(router) = self.router.upgrade() else { return };
        let channels: Vec<_> = router.publisher.batches.borrow().keys().copied().collect();
        channels.into_iter().for_each(|channel| router.share(channel));
    }
}

/// Takes in what other threads publish; one task per thread.
pub async fn receive(router: Rc<Router>, mut receiver: Receiver) {
    while let Some(crossing) = receiver.recv().await {
        match crossing {
            Crossing::Publish(message) => {
                let Message { channel, kind, data, from, token, question } = message;
                let published = router.fan_out(from, token, &channel, kind, &data);
                if let Some((thread, question)) = question {
                    router.publisher.crossing.answer(thread, question, published);
                }
            }
            Crossing::Answer { question, published } => {
                router.publisher.questions.borrow_mut().answer(question, published);
            }
        }
    }
}

impl Questions {
    fn ask(&mut self, question: Question) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.open.insert(self.next, question);
        self.next
    }

    fn answer(&mut self, id: u32, published: Published) {
        let Some(question) = self.open.get_mut(&id) else { return };
        question.published += published;
        question.missing -= 1;
        if question.missing == 0
            && let Some(Question { asker, published, .. }) = self.open.remove(&id)
        {
            asker.answer(published);
        }
    }
}
