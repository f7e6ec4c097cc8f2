//! Publishes on their way from one I/O thread to the others: once per thread.
//!
//! The queue of a thread holds at most 8 MiB; then the links of those that publish into
//! it are not read until it has been emptied by half. A thread empties its queue whatever else it
//! waits for, so two threads cannot wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use shovel_protocol::control::Published;
use shovel_protocol::{MessageKind, PublishToken, WorkerId};
use tokio::sync::{Notify, mpsc};

/// Bytes that may wait for one thread.
const LIMIT_BYTES: usize = 8 * 1024 * 1024;

/// What an entry counts beside its payload.
const OVERHEAD_BYTES: usize = 128;

/// What crosses from one thread to another.
#[derive(Clone, Debug)]
pub(crate) enum Crossing {
    /// A message to everyone on a channel.
    Publish(Message),
    /// What became of one there.
    Answer {
        /// As in [`Message::receipt`].
        receipt: u32,
        /// Of that thread alone.
        published: Published,
    },
}

/// A published message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub channel: Arc<str>,
    pub kind: MessageKind,
    pub data: Bytes,
    /// The worker that published it.
    pub from: WorkerId,
    pub token: PublishToken,
    /// Where and under which number an answer is wanted.
    pub receipt: Option<(usize, u32)>,
}

/// One thread's way to all others, and from them.
#[derive(Debug)]
pub struct Crossings {
    sender: Sender,
    receiver: Receiver,
}

/// The way to the other threads.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// Which thread this is.
    pub thread: usize,
    queues: Arc<[Queue]>,
}

/// The way from the other threads.
#[derive(Debug)]
pub(crate) struct Receiver {
    entries: mpsc::UnboundedReceiver<Crossing>,
    fill: Arc<Fill>,
}

#[derive(Debug)]
struct Queue {
    entries: mpsc::UnboundedSender<Crossing>,
    fill: Arc<Fill>,
}

#[derive(Debug, Default)]
struct Fill {
    bytes: AtomicUsize,
    emptied: Notify,
}

impl Crossings {
    /// The ways between so many threads, in the order of the threads.
    pub fn between(threads: usize) -> Vec<Crossings> {
        let (queues, receivers): (Vec<_>, Vec<_>) = (0..threads)
            .map(|_| {
                let ((entries, receiver), fill) =
                    (mpsc::unbounded_channel(), Arc::<Fill>::default());
                let receiver = Receiver { entries: receiver, fill: fill.clone() };
                (Queue { entries, fill }, receiver)
            })
            .unzip();
        let queues: Arc<[Queue]> = queues.into();
        let numbered = receivers.into_iter().enumerate();
        numbered
            .map(|(thread, receiver)| Crossings {
                sender: Sender { thread, queues: queues.clone() },
                receiver,
            })
            .collect()
    }

    /// The ways of a thread that is alone.
    pub fn alone() -> Crossings {
        let (entries, receiver) = mpsc::unbounded_channel();
        let fill = Arc::<Fill>::default();
        let receiver = Receiver { entries: receiver, fill: fill.clone() };
        let sender = Sender { thread: 0, queues: Arc::new([Queue { entries, fill }]) };
        Crossings { sender, receiver }
    }

    /// Both ways.
    pub(crate) fn into_parts(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

impl Sender {
    /// How many other threads there are.
    pub fn others(&self) -> usize {
        self.queues.len() - 1
    }

    /// Sends to all other threads. Wait for [`Sender::room`] before more is taken in.
    pub fn send_to_others(&self, message: &Message) {
        for (thread, queue) in self.queues.iter().enumerate() {
            if thread != self.thread {
                queue.send(Crossing::Publish(message.clone()));
            }
        }
    }

    /// Bytes that wait for this thread.
    pub fn waiting_bytes(&self) -> usize {
        self.queues[self.thread].fill.bytes.load(Ordering::Relaxed)
    }

    /// Tells another thread what became of its publish here.
    pub fn answer(&self, thread: usize, receipt: u32, published: Published) {
        if let Some(queue) = self.queues.get(thread) {
            queue.send(Crossing::Answer { receipt, published });
        }
    }

    /// Waits until every other thread's queue has room.
    ///
    /// # Cancel safety
    /// Safe: only waits.
    pub async fn room(&self) {
        for (thread, queue) in self.queues.iter().enumerate() {
            while thread != self.thread && queue.fill.bytes.load(Ordering::Acquire) > LIMIT_BYTES {
                let emptied = queue.fill.emptied.notified();
                if queue.fill.bytes.load(Ordering::Acquire) > LIMIT_BYTES {
                    emptied.await;
                }
            }
        }
    }
}

impl Queue {
    fn send(&self, entry: Crossing) {
        let bytes = entry.bytes();
        self.fill.bytes.fetch_add(bytes, Ordering::AcqRel);
        // A thread that has ended has no subscribers, and nobody waits for it.
        if self.entries.send(entry).is_err() {
            self.fill.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
    }
}

impl Receiver {
    /// What comes next; `None` once all other threads have ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn recv(&mut self) -> Option<Crossing> {
        let entry = self.entries.recv().await?;
        let before = self.fill.bytes.fetch_sub(entry.bytes(), Ordering::AcqRel);
        let after = before - entry.bytes();
        if before > LIMIT_BYTES / 2 && after <= LIMIT_BYTES / 2 {
            self.fill.emptied.notify_waiters();
        }
        Some(entry)
    }
}

impl Drop for Receiver {
    /// What is left goes nowhere, and nobody waits for it. Closed first: what comes from then on is
    /// taken off by its sender.
    fn drop(&mut self) {
        self.entries.close();
        while let Ok(entry) = self.entries.try_recv() {
            self.fill.bytes.fetch_sub(entry.bytes(), Ordering::AcqRel);
        }
        self.fill.emptied.notify_waiters();
    }
}

impl Crossing {
    fn bytes(&self) -> usize {
        match self {
            Crossing::Publish(message) => {
                message.channel.len() + message.data.len() + OVERHEAD_BYTES
            }
            Crossing::Answer { .. } => OVERHEAD_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Message {
        Message {
            channel: "news".into(),
            kind: MessageKind::Binary,
            data: vec![0; bytes].into(),
            from: WorkerId(1),
            token: PublishToken::default(),
            receipt: None,
        }
    }

    /// Whether others may publish: what has room says so at once.
    fn has_room(sender: &Sender) -> bool {
        use std::future::Future as _;
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(sender.room()).poll(&mut context).is_ready()
    }

    #[test]
    fn nobody_waits_for_a_thread_that_has_ended() {
        let mut ways = Crossings::between(2).into_iter().map(Crossings::into_parts);
        let (Some((sender, _own)), Some((_, receiver))) = (ways.next(), ways.next()) else {
            panic!("there are two threads");
        };
        sender.send_to_others(&message(LIMIT_BYTES));
        assert!(!has_room(&sender));
        drop(receiver);
        assert!(has_room(&sender), "what it left is waited for");
        sender.send_to_others(&message(LIMIT_BYTES));
        assert!(has_room(&sender), "what comes after its end is");
    }

    #[test]
    fn who_waits_for_a_thread_is_woken_by_its_end() {
        let mut ways = Crossings::between(2).into_iter().map(Crossings::into_parts);
        let (Some((sender, _own)), Some((_, receiver))) = (ways.next(), ways.next()) else {
            panic!("there are two threads");
        };
        sender.send_to_others(&message(LIMIT_BYTES));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let waits = tokio::spawn(async move { sender.room().await });
            tokio::task::yield_now().await;
            assert!(!waits.is_finished());
            drop(receiver);
            waits.await.unwrap();
        });
    }
}
