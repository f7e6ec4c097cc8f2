//! Pings, pongs, closes and looks at progress on time, for all connections of a thread.
//!
//! Each kind of deadline lies a constant time ahead of the moment at which it is set, so a queue
//! for each kind is sorted by itself: no timer per connection, no heap.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::progress::LOOKS;
use super::socket::{Due, WeakSocket};
use super::{CLOSE_TIMEOUT, Settings};
use crate::transport::LOOK_FOR_ENDS;

/// The deadlines of a thread's connections; clones are the same.
#[derive(Clone, Debug)]
pub struct Deadlines(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    queues: [Queue; 7],
    close_timeout: Cell<Duration>,
    changed: Notify,
}

#[derive(Debug)]
struct Queue {
    due: Due,
    after: Cell<Duration>,
    waiting: RefCell<VecDeque<(Instant, WeakSocket)>>,
}

/// In the order of their numbers.
const DUES: [Due; 7] =
    [Due::Ping, Due::Pong, Due::Close, Due::Settle, Due::Taken, Due::Message, Due::Unread];

/// How long after it is set this is due.
fn after(due: Due, settings: &Settings) -> Duration {
    match due {
        Due::Ping => settings.ping_interval,
        Due::Pong => settings.pong_timeout / LOOKS,
        Due::Close => CLOSE_TIMEOUT / LOOKS,
        Due::Settle => CLOSE_TIMEOUT,
        Due::Taken => settings.write_timeout / LOOKS,
        Due::Message => settings.read_timeout / LOOKS,
        Due::Unread => LOOK_FOR_ENDS,
    }
}

impl Deadlines {
    /// Without connections.
    pub fn new(settings: &Settings) -> Self {
        let queues = DUES.map(|due| Queue {
            due,
            after: Cell::new(after(due, settings)),
            waiting: RefCell::default(),
        });
        let close_timeout = Cell::new(settings.close_timeout);
        Deadlines(Rc::new(Shared { queues, close_timeout, changed: Notify::new() }))
    }

    /// Other settings, for what is awaited already too if that is earlier.
    pub(crate) fn configure(&self, settings: &Settings) {
        self.0.queues.iter().for_each(|queue| queue.set_after(after(queue.due, settings)));
        self.0.close_timeout.set(settings.close_timeout);
        self.0.changed.notify_one();
    }

    /// When a client that is closed from now on has had enough time.
    pub(crate) fn end_of_close(&self) -> Instant {
        Instant::now() + self.0.close_timeout.get()
    }

    /// Calls the socket back when the time of this kind is over.
    pub(crate) fn set(&self, due: Due, socket: WeakSocket) {
        let queue = &self.0.queues[due as usize];
        let mut waiting = queue.waiting.borrow_mut();
        if waiting.is_empty() {
            self.0.changed.notify_one();
        }
        waiting.push_back((Instant::now() + queue.after.get(), socket));
    }

    /// The task that keeps the time; one per thread. Never ends.
    pub async fn run(self) {
        loop {
            let next = self.0.queues.iter().filter_map(Queue::next).min();
            let Some(next) = next else {
                self.0.changed.notified().await;
                continue;
            };
            // Cancel-safe: both only wait.
            tokio::select! {
                () = sleep_until(next) => self.call(),
                () = self.0.changed.notified() => {}
            }
        }
    }

    fn call(&self) {
        let now = Instant::now();
        for queue in &self.0.queues {
            while let Some(socket) = queue.pop(now) {
                let next = socket.upgrade().and_then(|socket| socket.on_due(queue.due));
                if let Some((due, socket)) = next {
                    self.set(due, socket);
                }
            }
        }
    }
}

impl Queue {
    /// What waits longer than what is set from now on is drawn forward: the queue stays sorted.
    fn set_after(&self, after: Duration) {
        self.after.set(after);
        let latest = Instant::now() + after;
        self.waiting.borrow_mut().iter_mut().for_each(|(at, _)| *at = latest.min(*at));
    }

    fn next(&self) -> Option<Instant> {
        self.waiting.borrow().front().map(|(at, _)| *at)
    }

    fn pop(&self, now: Instant) -> Option<WeakSocket> {
        let mut waiting = self.waiting.borrow_mut();
        let due = waiting.front().is_some_and(|(at, _)| *at <= now);
        due.then(|| waiting.pop_front()).flatten().map(|(_, socket)| socket)
    }
}
