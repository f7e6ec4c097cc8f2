//! What may wait between the driver and an I/O thread, and which news replace which.

use shovel_protocol::WorkerId;

use super::mailbox::{self, Letter, Receiver, Sender, mailbox};
use super::{FromThread, ToThread};
use crate::inspect::Inspect;

/// What an I/O thread says, and which one.
#[derive(Debug)]
pub struct News {
    /// The thread's place.
    pub thread: usize,
    /// What it says.
    pub what: FromThread,
}

/// The way to the driver.
#[derive(Clone, Debug)]
pub struct NewsSender {
    thread: usize,
    driver: Sender<News>,
}

/// All news, for the driver.
pub type NewsReceiver = Receiver<News>;

/// The way to the driver, and its end there.
pub fn news() -> (NewsSender, NewsReceiver) {
    let (driver, received) = mailbox();
    (NewsSender { thread: 0, driver }, received)
}

impl NewsSender {
    /// Those of another thread.
    pub fn of_thread(&self, thread: usize) -> Self {
        NewsSender { thread, driver: self.driver.clone() }
    }

    pub(crate) fn send(&self, what: FromThread) {
        // Without a driver the process is about to end.
        self.driver.send(News { thread: self.thread, what });
    }
}

/// What of a worker news are about; those of a thread name none.
#[derive(Debug, PartialEq, Eq)]
pub enum Topic {
    Alive,
    Ready,
    Refusal,
    Awaited,
    Pong,
    /// Its link. That it ended by a fault is not forgotten because it has ended too.
    End {
        has_fault: bool,
    },
    Gone,
    Drained,
    Shutdown,
    Idleness,
    WantOfWork,
    Emptiness,
    Stuck,
    Requests,
}

impl Letter for News {
    type Topic = (usize, Option<WorkerId>, Topic);

    fn topic(&self) -> Option<Self::Topic> {
        let (worker, topic) = match &self.what {
            FromThread::Alive => (None, Topic::Alive),
            FromThread::WorkWanted => (None, Topic::WantOfWork),
            FromThread::Emptied => (None, Topic::Emptiness),
            FromThread::Ready { worker } => (Some(*worker), Topic::Ready),
            FromThread::Refused { worker, .. } => (Some(*worker), Topic::Refusal),
            FromThread::Awaited { worker } => (Some(*worker), Topic::Awaited),
            FromThread::Ponged { worker } => (Some(*worker), Topic::Pong),
            FromThread::LinkEnded { worker, why } => {
                (Some(*worker), Topic::End { has_fault: why.is_some() })
            }
            FromThread::Gone { worker } => (Some(*worker), Topic::Gone),
            FromThread::Drained { worker } => (Some(*worker), Topic::Drained),
            FromThread::ShutdownCompleted { worker } => (Some(*worker), Topic::Shutdown),
            FromThread::Idle { worker } => (Some(*worker), Topic::Idleness),
            FromThread::Stuck { worker, .. } => (Some(*worker), Topic::Stuck),
            FromThread::HadItsRequests { worker } => (Some(*worker), Topic::Requests),
        };
        Some((self.thread, worker, topic))
    }
}

/// What a command is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    Offer,
    Ping(WorkerId),
    Drain(WorkerId),
    Cut(WorkerId),
    Shutdown(WorkerId),
    Reaped(WorkerId),
    Probe,
    Settings,
    StopAccepting,
    EndWaits,
    Finish,
}

impl Letter for ToThread {
    type Topic = Order;

    fn topic(&self) -> Option<Order> {
        match self {
            // Each has a link, and the process waits for it.
            ToThread::Join { .. } => None,
            // Each has somebody who waits for the answer.
            ToThread::Inspect(_) => None,
            ToThread::Offer { .. } => Some(Order::Offer),
            ToThread::Ping { worker } => Some(Order::Ping(*worker)),
            ToThread::Drain { worker, .. } => Some(Order::Drain(*worker)),
            ToThread::Cut { worker } => Some(Order::Cut(*worker)),
            ToThread::Shutdown { worker } => Some(Order::Shutdown(*worker)),
            ToThread::Reaped { worker, .. } => Some(Order::Reaped(*worker)),
            ToThread::Probe => Some(Order::Probe),
            ToThread::Configure { .. } => Some(Order::Settings),
            ToThread::StopAccepting => Some(Order::StopAccepting),
            ToThread::EndWaits => Some(Order::EndWaits),
            ToThread::Finish { .. } => Some(Order::Finish),
        }
    }

    fn is_moot(&self) -> bool {
        matches!(self, ToThread::Inspect(question) if nobody_waits(question))
    }
}

/// Whether nobody waits for the answer any more.
fn nobody_waits(question: &Inspect) -> bool {
    match question {
        Inspect::Numbers(answer) => answer.is_closed(),
        Inspect::Channels { answer, .. } => answer.is_closed(),
        Inspect::Connections { answer, .. } => answer.is_closed(),
        Inspect::Publish { answer, .. } => answer.is_closed(),
    }
}

pub(crate) type Commands = mailbox::Receiver<ToThread>;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: WorkerId = WorkerId(1);
    const OTHER: WorkerId = WorkerId(2);

    fn read(received: &mut NewsReceiver) -> Vec<String> {
        std::iter::from_fn(|| received.try_recv())
            .map(|News { thread, what }| format!("{thread} {what:?}"))
            .collect()
    }

    #[test]
    fn a_driver_that_does_not_read_finds_each_fact_once() {
        let (news, mut received) = news();
        let second = news.of_thread(1);
        for _ in 0..1000 {
            for worker in [ONE, OTHER] {
                news.send(FromThread::Idle { worker });
                news.send(FromThread::Stuck { worker, has_requests: true });
                second.send(FromThread::Ponged { worker });
            }
            second.send(FromThread::WorkWanted);
        }
        assert_eq!(read(&mut received).len(), 7);
    }

    #[test]
    fn why_a_link_ended_is_not_forgotten_because_it_has_ended() {
        let (news, mut received) = news();
        news.send(FromThread::LinkEnded { worker: ONE, why: Some("said nonsense".into()) });
        news.send(FromThread::LinkEnded { worker: ONE, why: None });
        assert_eq!(read(&mut received).len(), 2);
    }
}
