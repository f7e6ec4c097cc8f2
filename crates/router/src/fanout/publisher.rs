//! What was published on a thread and is not shared out yet, and who wants to know what became of
//! it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use shovel_core::channels::ChannelIndex;
use shovel_edge::Turn;
use shovel_edge::turn::WriteOut;
use shovel_edge::ws::Fanout;
use shovel_protocol::control::Published;
use shovel_protocol::{MessageKind, PublishToken, ToWorker};
use tokio::sync::oneshot;

use super::crossing::{Message, Sender};
use crate::links::link::Link;

/// What was published on a thread and not yet shared out.
pub struct Publisher {
    crossing: Sender,
    batches: RefCell<BTreeMap<ChannelIndex, Fanout>>,
    open: RefCell<OpenPublishes>,
    marker: Rc<Marker>,
    turn: Turn,
}

/// Whoever shares out what waits.
pub trait Share {
    /// Shares out all that waits.
    fn share_all(&self);
}

/// Has everything shared out at the end of the turn.
struct Marker {
    share: Weak<dyn Share>,
    marked: Cell<bool>,
}

#[derive(Default)]
struct OpenPublishes {
    next: u32,
    open: BTreeMap<u32, OpenPublish>,
}

/// A publish whose publisher wants to know what became of it.
struct OpenPublish {
    asker: Asker,
    missing: usize,
    published: Published,
}

/// Whoever wants to know what became of a publish.
pub enum Asker {
    Worker { link: Rc<Link>, token: PublishToken },
    Operator(oneshot::Sender<Published>),
}

impl Asker {
    pub fn answer(self, published: Published) {
        match self {
            Asker::Worker { link, token } => link.answer(&ToWorker::Published { token, published }),
            // Whoever has stopped waiting wants no answer.
            Asker::Operator(answer) => drop(answer.send(published)),
        }
    }
}

impl Publisher {
    pub fn new(share: Weak<dyn Share>, turn: Turn, crossing: Sender) -> Self {
        let marker = Rc::new(Marker { share, marked: Cell::new(false) });
        let (batches, open) = (RefCell::default(), RefCell::default());
        Publisher { crossing, batches, open, marker, turn }
    }

    /// Whether there is no other thread.
    pub fn is_alone(&self) -> bool {
        self.crossing.others() == 0
    }

    /// Waits until other threads have room for what is published next.
    pub async fn room(&self) {
        if !self.is_alone() {
            self.crossing.room().await;
        }
    }

    /// Bytes from other threads that wait for this one.
    pub fn crossing_bytes(&self) -> usize {
        self.crossing.waiting_bytes()
    }

    /// Whether nothing waits to be shared out.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.batches.borrow().is_empty()
    }

    /// The channels on which something waits.
    pub fn waiting(&self) -> Vec<ChannelIndex> {
        self.batches.borrow().keys().copied().collect()
    }

    /// Takes what waits on a channel.
    pub fn take(&self, channel: ChannelIndex) -> Option<Fanout> {
        self.batches.borrow_mut().remove(&channel)
    }

    /// Puts a message to what waits on its channel. `true` if that is much by now, and should not
    /// wait for the end of the turn.
    pub fn put(&self, channel: ChannelIndex, kind: MessageKind, data: &[u8]) -> bool {
        let is_much = self.batches.borrow_mut().entry(channel).or_default().put(kind, data);
        if !is_much && !self.marker.marked.replace(true) {
            self.turn.mark(self.marker.clone());
        }
        is_much
    }

    /// Sends a message to all other threads. What became of it on this one is `published`.
    pub fn send_to_others(&self, asker: Option<Asker>, published: Published, mut message: Message) {
        let missing = self.crossing.others();
        message.receipt = asker.map(|asker| {
            let publish = OpenPublish { asker, missing, published };
            (self.crossing.thread, self.open.borrow_mut().ask(publish))
        });
        self.crossing.send_to_others(&message);
    }

    /// Tells another thread what became of its message on this one.
    pub fn answer(&self, thread: usize, receipt: u32, published: Published) {
        self.crossing.answer(thread, receipt, published);
    }

    /// Takes in what became of a message on another thread.
    pub fn take_answer(&self, receipt: u32, published: Published) {
        self.open.borrow_mut().answer(receipt, published);
    }
}

impl WriteOut for Marker {
    fn write_out(self: Rc<Self>) {
        self.marked.set(false);
        if let Some(share) = self.share.upgrade() {
            share.share_all();
        }
    }
}

impl OpenPublishes {
    fn ask(&mut self, publish: OpenPublish) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.open.insert(self.next, publish);
        self.next
    }

    fn answer(&mut self, id: u32, published: Published) {
        let Some(publish) = self.open.get_mut(&id) else { return };
        publish.published += published;
        publish.missing -= 1;
        if publish.missing == 0
            && let Some(OpenPublish { asker, published, .. }) = self.open.remove(&id)
        {
            asker.answer(published);
        }
    }
}
