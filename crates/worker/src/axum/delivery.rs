//! How the events of a connection reach the task that holds its socket.
//!
//! The walk: message handler -> [`Delivery::deliver`] -> [`Event`] -> the task, which says when it
//! has handled the message -> the handler ends, and so commits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shovel_protocol::{Again, Close};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use crate::Message;
use crate::lock::lock;

/// How long a worker waits for the task of a connection that has closed.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// The sending end, which the connection keeps.
pub(crate) struct Delivery {
    /// Holds one message while the connection is open, for the next handler starts when this one
    /// ends; then what was waiting for a handler, which the supervisor's window bounds.
    events: mpsc::UnboundedSender<Event>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// The task is dropped because its connection goes to another worker.
    moves: AtomicBool,
}

/// The end of the task.
pub(super) type Events = mpsc::UnboundedReceiver<Event>;

/// What happens to a socket, in order.
pub(super) enum Event {
    Message {
        message: Message,
        position: Position,
        /// To be dropped when the message has been handled.
        handled: Handled,
    },
    /// The last.
    Closed(Close),
}

/// Where a message stands among the events of its connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    pub(super) seq: u64,
    pub(super) again: Again,
}

/// While it lives, its message is being handled.
pub(super) struct Handled(#[expect(dead_code, reason = "dropping it tells")] oneshot::Sender<()>);

impl Delivery {
    pub(super) fn new() -> (Delivery, Events) {
        let (events, receiver) = mpsc::unbounded_channel();
        (Delivery { events, task: Mutex::default(), moves: AtomicBool::new(false) }, receiver)
    }

    /// The task that takes the events.
    pub(super) fn set_task(&self, task: JoinHandle<()>) {
        *lock(&self.task) = Some(task);
    }

    /// Delivers a message, and waits until it has been handled.
    ///
    /// # Cancel safety
    /// Cancelled, it was delivered all the same.
    pub(super) async fn deliver(&self, message: Message, position: Position) {
        let (handled, until_handled) = oneshot::channel();
        let event = Event::Message { message, position, handled: Handled(handled) };
        // Without a receiver the app has dropped the socket, and its messages with it.
        if self.events.send(event).is_ok() {
            // It is never sent, only dropped.
            let _ = until_handled.await;
        }
    }

    /// Drops the task, since its connection goes to another worker, and waits until nothing of it is
    /// left.
    pub(super) async fn abort(&self) {
        self.moves.store(true, Ordering::Release);
        let task = lock(&self.task).take();
        if let Some(task) = task {
            task.abort();
            // An error says that it was dropped, or that dropping it panicked: both end it.
            let _ = task.await;
        }
    }

    /// Whether the socket is dropped only because its connection goes to another worker.
    pub(super) fn moves(&self) -> bool {
        self.moves.load(Ordering::Acquire)
    }

    /// Tells the task that the connection has closed, and waits some time for its end.
    ///
    /// # Errors
    /// The task panicked.
    pub(super) async fn close(&self, close: Close) -> Result<(), JoinError> {
        // Without a receiver there is nobody to tell.
        let _ = self.events.send(Event::Closed(close));
        let task = lock(&self.task).take();
        match task {
            // One that lives on is on its own.
            Some(task) => timeout(GRACE, task).await.unwrap_or(Ok(())),
            None => Ok(()),
        }
    }
}
