//! How long a client may keep its connection waiting.
//!
//! One timer per connection. It is not moved each time the client does something: it looks when it
//! rings, and is set again if there is time left.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::stall;

/// What a client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its next request, or its first.
    Request,
    /// The rest of a head.
    Head,
    /// More of a body.
    Body,
    /// That it reads what is written.
    Reading,
    /// Its end, after ours.
    End,
}

/// What a client is waited for, and since when.
#[derive(Debug, Default)]
pub(super) struct Clock {
    waits: Option<(Wait, Instant)>,
    /// After a stall: for the same, until then.
    respite: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// It is waited for this, from now on if that is new.
    pub(super) fn wait_for(&mut self, wait: Wait) {
        if self.waits.is_none_or(|(before, _)| before != wait) {
            self.waits = Some((wait, Instant::now()));
            self.respite = None;
        }
    }

    /// The client has done something.
    pub(super) fn note_progress(&mut self) {
        (self.waits, self.respite) = (None, None);
    }

    /// For what it is waited.
    pub(super) fn waits(&self) -> Option<Wait> {
        self.waits.map(|(wait, _)| wait)
    }

    /// Ready when it has taken too long for what it is waited for; `patience` is for that.
    pub(super) fn poll(&mut self, patience: Duration, context: &mut Context<'_>) -> Poll<Wait> {
        let Some((wait, since)) = self.waits else { return Poll::Pending };
        let mut due = self.respite.unwrap_or(since + patience);
        loop {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            // One that rings sooner only looks once more than it would have to.
            if timer.deadline() > due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() < due {
                timer.as_mut().reset(due);
            } else if let Some(respite) = stall::respite(due).filter(|_| self.respite.is_none()) {
                (due, self.respite) = (respite, Some(respite));
                timer.as_mut().reset(due);
            } else {
                (self.timer, self.respite) = (None, None);
                return Poll::Ready(wait);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// B21.
    #[tokio::test(start_paused = true)]
    async fn after_a_stall_it_rings_when_what_has_come_meanwhile_is_read() {
        let mut clock = Clock::default();
        let second = Duration::from_secs(1);
        clock.wait_for(Wait::Body);
        let look = async |clock: &mut Clock| {
            poll_fn(|context| Poll::Ready(clock.poll(second, context).is_ready())).await
        };
        assert!(!look(&mut clock).await);
        tokio::time::advance(10 * second).await;
        assert!(!look(&mut clock).await, "nothing that came in these ten seconds was read");
        let begun = Instant::now();
        poll_fn(|context| clock.poll(second, context)).await;
        assert!(begun.elapsed() < second, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_when_the_same_has_been_waited_for_long_enough() {
        let mut clock = Clock::default();
        let begun = Instant::now();
        clock.wait_for(Wait::Head);
        let second = Duration::from_secs(1);
        tokio::time::advance(second / 2).await;
        clock.wait_for(Wait::Head);
        let wait = poll_fn(|context| clock.poll(second, context)).await;
        assert_eq!((wait, begun.elapsed().as_millis() / 10), (Wait::Head, 100));
        // Progress begins anew, also if it is waited for less than before.
        clock.wait_for(Wait::Request);
        let slow = poll_fn(|context| Poll::Ready(clock.poll(second * 60, context))).await;
        assert!(slow.is_pending());
        clock.note_progress();
        clock.wait_for(Wait::Head);
        let begun = Instant::now();
        poll_fn(|context| clock.poll(second, context)).await;
        assert_eq!(begun.elapsed().as_millis() / 10, 100);
    }
}
