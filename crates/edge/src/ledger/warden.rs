//! Sees to it that the bound is kept, while memory is short: lets clients be read again, has the
//! greediest closed, and tells the operator.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::policy::{Holder, Level, STALLED};
use super::{Entry, Ledger};

/// How often to look while memory is short.
const TICK: Duration = Duration::from_millis(250);

/// And at most so often.
const PAUSE: Duration = Duration::from_millis(10);

/// So many clients are closed at once, or read again, and the next after a pause. Each takes time, in
/// which nobody else is served.
const AT_ONCE: usize = 64;

/// So many clients at once may finish what they have begun, although each holds more than its share.
/// If none could, all might wait for ever for what the others hold.
const PERMITS: usize = 4;

/// The operator is told of the end when it has been calm for so long, and of a beginning once until
/// then.
const CALM_AGAIN: Duration = Duration::from_secs(5);

/// What the operator was told.
#[derive(Default)]
struct Told {
    worst: Level,
    calm_since: Option<Instant>,
}

impl Ledger {
    /// The warden; one task per thread. Never ends.
    pub async fn run(self) {
        loop {
            self.0.changed.notified().await;
            let mut told = Told::default();
            while !self.tell(&mut told) || !self.0.waiting.borrow().is_empty() {
                self.look_after();
                sleep(PAUSE).await;
                // Cancel-safe: both only wait.
                tokio::select! {
                    () = self.0.changed.notified() => {}
                    () = sleep(TICK) => {}
                }
            }
        }
    }

    /// Does what is due.
    pub(super) fn look_after(&self) {
        // Parcels have come and gone without a word.
        self.look();
        if self.0.level.get() == Level::Full {
            self.evict();
        } else {
            self.0.refuses.set(false);
        }
        self.let_go_on();
        self.permit();
    }

    fn evict(&self) {
        let now = Instant::now();
        let holders = self.0.holders.borrow();
        let looked_at: Vec<_> = holders
            .iter()
            .map(|entry| Holder {
                bytes: entry.bytes(),
                idle: now.saturating_duration_since(entry.moved.get()),
                is_evicted: entry.is_evicted.get(),
            })
            .collect();
        let evictions = self.policy().evict(self.held_bytes(), &looked_at);
        for place in evictions.places.iter().take(AT_ONCE) {
            holders[*place].is_evicted.set(true);
            holders[*place].wake();
        }
        if evictions.places.len() > AT_ONCE {
            self.0.changed.notify_one();
        }
        self.0.refuses.set(evictions.is_not_enough);
    }

    /// Wakes those that may be read again.
    fn let_go_on(&self) {
        let (mut waiting, mut woken) = (self.0.waiting.borrow_mut(), 0);
        waiting.retain(|entry| {
            let holds = entry.bytes() > 0;
            let waits = holds && (woken == AT_ONCE || !self.lets_read(entry));
            if !waits {
                woken += usize::from(holds);
                entry.is_waiting.set(false);
                entry.wake();
            }
            waits
        });
        if woken == AT_ONCE {
            self.0.changed.notify_one();
        }
        let left = waiting.len();
        waiting.shrink_to(2 * left);
    }

    /// Lets a few of those that wait go on, and others when these have done or stand still.
    fn permit(&self) {
        let (now, mut permitted) = (Instant::now(), self.0.permitted.borrow_mut());
        // The next would add to what this one holds.
        let is_tight = !self.policy().has_room(self.held_bytes(), 0);
        let patience = if is_tight { 3 * STALLED } else { STALLED };
        permitted.retain(|entry| {
            let is_idle = now.saturating_duration_since(entry.moved.get()) >= patience;
            let goes_on = entry.incoming_bytes.get() > 0 && !is_idle;
            entry.is_permitted.set(goes_on);
            goes_on
        });
        if self.0.level.get() != Level::Pressed {
            return;
        }
        let mut waiting = self.0.waiting.borrow_mut();
        while permitted.len() < PERMITS
            && let Some(place) = waiting.iter().position(|entry| self.finishes_by_reading(entry))
            && self.has_room_to_finish(&permitted, &waiting[place])
            && let Some(entry) = waiting.remove(place)
        {
            entry.is_waiting.set(false);
            entry.is_permitted.set(true);
            // From now on it is to show progress.
            entry.moved.set(now);
            entry.wake();
            permitted.push(entry);
        }
    }

    /// Whether a client may bring as much again as it has, besides those that may already. If there is
    /// no room for that, one of them may all the same: else none would ever end.
    fn has_room_to_finish(&self, others: &[Rc<Entry>], entry: &Entry) -> bool {
        let all = others.iter().map(|entry| entry.incoming_bytes.get()).sum::<usize>();
        let needed = all + entry.incoming_bytes.get();
        others.is_empty() || self.policy().has_room(self.held_bytes(), needed)
    }

    fn finishes_by_reading(&self, entry: &Entry) -> bool {
        let fair = self.policy().fair_bytes(self.0.count.get());
        let others = entry.bytes() - entry.incoming_bytes.get();
        entry.incoming_bytes.get() > 0 && others <= fair
    }

    /// Tells the operator what has changed. Whether it is over.
    fn tell(&self, told: &mut Told) -> bool {
        let (level, held_bytes) = (self.0.level.get(), self.held_bytes());
        let limit_bytes = self.limit_bytes();
        if level > told.worst {
            told.worst = level;
            match level {
                Level::Calm => {}
                Level::Pressed => tracing::warn!(
                    held_bytes,
                    limit_bytes,
                    "clients hold much of what --max-client-memory lets them: the greediest are not \
                     read"
                ),
                Level::Full => tracing::warn!(
                    held_bytes,
                    limit_bytes,
                    "clients hold what --max-client-memory lets them: those that hold most are \
                     closed"
                ),
            }
        }
        if level != Level::Calm {
            told.calm_since = None;
            return false;
        }
        let calm_since = *told.calm_since.get_or_insert_with(Instant::now);
        let is_over = calm_since.elapsed() >= CALM_AGAIN;
        if is_over && told.worst > Level::Calm {
            tracing::info!(held_bytes, limit_bytes, "clients hold little memory again");
        }
        is_over
    }
}
