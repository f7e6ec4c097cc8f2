//! Queues between the driver and the I/O threads. Neither ever waits for the other's, or both might
//! wait for each other.
//!
//! They are bounded all the same: of news of one kind about one worker only the newest is kept, and a
//! question is kept only as long as somebody waits for its answer. So a queue is no longer than
//! workers times kinds, and one entry for each who asks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What a mailbox holds.
pub trait Letter {
    /// What it is about.
    type Topic: PartialEq;

    /// Of two letters with the same topic the older is removed, and the newer stands last. A letter
    /// without a topic replaces none.
    fn topic(&self) -> Option<Self::Topic>;

    /// Whether nobody is interested in it any more.
    fn is_moot(&self) -> bool {
        false
    }
}

struct Shared<T> {
    letters: Mutex<Letters<T>>,
    changed: Notify,
    senders: AtomicUsize,
}

struct Letters<T> {
    queue: VecDeque<T>,
    /// Nobody reads any more.
    is_closed: bool,
}

impl<T> Shared<T> {
    fn letters(&self) -> MutexGuard<'_, Letters<T>> {
        // It is whole between any two statements that hold it.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that is written to.
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that is read.
pub struct Receiver<T>(Arc<Shared<T>>);

/// A queue.
pub fn mailbox<T: Letter>() -> (Sender<T>, Receiver<T>) {
    let letters = Letters { queue: VecDeque::new(), is_closed: false };
    let shared = Arc::new(Shared {
        letters: Mutex::new(letters),
        changed: Notify::new(),
        senders: AtomicUsize::new(1),
    });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T: Letter> Sender<T> {
    /// Puts a letter there. `false` if nobody will read it.
    pub fn send(&self, letter: T) -> bool {
        let mut letters = self.0.letters();
        if letters.is_closed {
            return false;
        }
        let topic = letter.topic();
        letters.queue.retain(|other| {
            let is_outdated = topic.is_some() && other.topic() == topic;
            !is_outdated && !other.is_moot()
        });
        letters.queue.push_back(letter);
        drop(letters);
        self.0.changed.notify_one();
        true
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_one();
        }
    }
}

impl<T> Receiver<T> {
    /// The next letter; `None` when there is none and nobody can write any more.
    ///
    /// # Cancel safety
    /// No letter is lost.
    pub async fn recv(&mut self) -> Option<T> {
        loop {
            // Asked before looking: who ends has written before.
            let has_ended = self.0.senders.load(Ordering::Acquire) == 0;
            if let Some(letter) = self.try_recv() {
                return Some(letter);
            }
            if has_ended {
                return None;
            }
            self.0.changed.notified().await;
        }
    }

    /// The next letter, if there is one.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.letters().queue.pop_front()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut letters = self.0.letters();
        letters.is_closed = true;
        let unread = std::mem::take(&mut letters.queue);
        drop(letters);
        // They may hold what others wait for.
        drop(unread);
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A topic and what is said about it; without one it is a question.
    #[derive(Debug, PartialEq, Eq)]
    struct Note(Option<u32>, u32);

    const MOOT: Note = Note(None, 99);

    impl Letter for Note {
        type Topic = u32;

        fn topic(&self) -> Option<u32> {
            self.0
        }

        fn is_moot(&self) -> bool {
            *self == MOOT
        }
    }

    #[test]
    fn only_the_newest_about_a_topic_is_kept_and_stands_last() {
        let (sender, mut receiver) = mailbox();
        for note in [Note(Some(1), 1), Note(Some(2), 1), Note(None, 5), Note(None, 5)] {
            assert!(sender.send(note));
        }
        sender.send(Note(Some(1), 2));
        let read = std::iter::from_fn(|| receiver.try_recv()).collect::<Vec<_>>();
        assert_eq!(read, [Note(Some(2), 1), Note(None, 5), Note(None, 5), Note(Some(1), 2)]);
    }

    #[test]
    fn what_is_moot_is_forgotten() {
        let (sender, mut receiver) = mailbox();
        for note in [Note(Some(1), 1), MOOT, Note(Some(2), 1)] {
            sender.send(note);
        }
        let read = std::iter::from_fn(|| receiver.try_recv()).collect::<Vec<_>>();
        assert_eq!(read, [Note(Some(1), 1), Note(Some(2), 1)]);
    }

    #[tokio::test]
    async fn it_ends_when_nobody_writes_any_more_and_takes_nothing_when_nobody_reads() {
        let (sender, mut receiver) = mailbox();
        let other = sender.clone();
        let reading = tokio::spawn(async move {
            let read = receiver.recv().await;
            (read, receiver.recv().await, receiver)
        });
        sender.send(Note(Some(1), 1));
        drop(sender);
        drop(other);
        let (read, end, receiver) = reading.await.unwrap();
        assert_eq!((read, end), (Some(Note(Some(1), 1)), None));
        let sender = Sender(receiver.0.clone());
        drop(receiver);
        assert!(!sender.send(Note(Some(1), 1)));
    }
}
