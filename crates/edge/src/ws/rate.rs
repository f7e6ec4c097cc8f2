//! How many messages a client may send in a second. One that sends more is read no further for so long:
//! TCP holds it back, and nothing of what it sent is lost.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

/// Nobody is woken more often, so that a client with a high rate costs no turn for each message.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// What a client may send: so many messages a second, and as many at once after a quiet second.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u32,
    /// When it may send all of a second's messages at once again, if it sends none until then.
    full_at: Instant,
    /// Wakes its reader once it may send again.
    wake: Option<Pin<Box<Sleep>>>,
}

impl Rate {
    /// Of a client that has sent nothing yet.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Rate { per_second: per_second.max(1), full_at: now, wake: None }
    }

    /// How many messages it may send now.
    pub(super) fn left(&self, now: Instant) -> u32 {
        let owed = self.full_at.saturating_duration_since(now);
        let left = SECOND.saturating_sub(owed).as_nanos() / self.each().as_nanos();
        u32::try_from(left).map_or(self.per_second, |left| left.min(self.per_second))
    }

    /// It has sent so many.
    pub(super) fn take(&mut self, messages: u32, now: Instant) {
        self.full_at = self.full_at.max(now) + self.each() * messages;
    }

    /// Has the reader woken when it may send the next. `false` if it waits for that already.
    pub(super) fn wake_later(&mut self, now: Instant) -> bool {
        let at = self.full_at + self.each() - SECOND;
        let wake = Box::pin(sleep_until(at.max(now + SHORTEST_WAIT)));
        self.wake.replace(wake).is_none()
    }

    /// Wakes the reader if it is time.
    pub(super) fn poll_wake(&mut self, context: &mut Context<'_>) {
        if let Some(wake) = &mut self.wake
            && wake.as_mut().poll(context) == Poll::Ready(())
        {
            self.wake = None;
            context.waker().wake_by_ref();
        }
    }

    /// What one message takes of a second.
    fn each(&self) -> Duration {
        (SECOND / self.per_second).max(Duration::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_messages_may_come_at_once_and_then_one_by_one() {
        let begin = Instant::now();
        let mut rate = Rate::new(10, begin);
        assert_eq!(rate.left(begin), 10);
        rate.take(10, begin);
        assert_eq!(rate.left(begin), 0);
        assert_eq!(rate.left(begin + Duration::from_millis(99)), 0);
        assert_eq!(rate.left(begin + Duration::from_millis(100)), 1);
        rate.take(1, begin + Duration::from_millis(100));
        assert_eq!(rate.left(begin + Duration::from_millis(199)), 0);
        assert_eq!(rate.left(begin + Duration::from_millis(500)), 4);
        // A long silence saves up no more than a second's.
        assert_eq!(rate.left(begin + Duration::from_secs(60)), 10);
    }

    #[test]
    fn in_the_long_run_it_is_the_rate_whatever_that_is() {
        for per_second in [1, 3, 7, 1000, 300_000, 1_000_000] {
            let begin = Instant::now();
            let mut rate = Rate::new(per_second, begin);
            let mut taken = 0;
            for tick in 0..=500 {
                let now = begin + Duration::from_millis(10 * tick);
                let left = rate.left(now);
                rate.take(left, now);
                taken += u64::from(left);
            }
            let expected = u64::from(per_second) * 6;
            // Of a nanosecond's fraction something is left over.
            assert!(taken.abs_diff(expected) <= 1 + expected / 500, "{per_second}: {taken}");
        }
    }

    #[test]
    fn what_was_begun_before_is_owed() {
        let begin = Instant::now();
        let mut rate = Rate::new(2, begin);
        rate.take(3, begin);
        assert_eq!(rate.left(begin + Duration::from_millis(999)), 0);
        assert_eq!(rate.left(begin + Duration::from_millis(1000)), 1);
    }
}
