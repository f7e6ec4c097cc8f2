//! A worker as its supervisor knows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use shovel_link::Outgoing;
use shovel_protocol::ToWorker;
use shovel_protocol::control::Welcome;
use shovel_protocol::handshake::Capabilities;
use tokio::sync::Notify;

use super::MAX_MESSAGE_BYTES;
use crate::testing::exchange::WINDOW_BYTES;

/// One worker, from its start to its end.
#[derive(Default)]
pub(super) struct Worker {
    pub(super) outgoing: Outgoing,
    /// Told when there is something to write.
    pub(super) filled: Arc<Notify>,
    pub(super) life: Life,
    /// It takes connections over that another worker had.
    pub(super) adopts: bool,
    /// It is to give up what it has, and was perhaps told already that nothing more comes.
    pub(super) leaving: Option<Leaving>,
    /// The channels that it is subscribed to itself.
    pub(super) subscriptions: BTreeSet<Box<str>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Life {
    #[default]
    Starting,
    Ready,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    Draining,
    Stopping,
}

impl Worker {
    pub(super) fn tell(&mut self, frame: &ToWorker<'_>) {
        self.outgoing.put(frame.lane(), |batch| frame.put(batch));
        self.filled.notify_one();
    }

    pub(super) fn say_hello(&mut self, worker: u32, generation: u32) {
        let welcome = Welcome {
            worker,
            index: 0,
            generation,
            link: 0,
            links: 1,
            max_message_bytes: MAX_MESSAGE_BYTES,
            body_window_bytes: WINDOW_BYTES,
            dev: false,
        };
        self.tell(&ToWorker::hello(Capabilities::ADOPT, welcome));
    }
}
