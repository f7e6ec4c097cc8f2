//! Who gets the next request: the snapshot of ready workers, and those who wait for one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shovel_core::fleet::Rotation;
use shovel_edge::Failure;
use tokio::sync::Notify;

use super::link::Link;

/// Requests of one thread that may wait for a ready worker.
const WAITING_LIMIT: usize = 1024;

/// What a client without an answer is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Added to the load of a worker that is to be left alone if there is another.
const LEFT_ALONE: u32 = 1 << 30;

/// Who could take a connection over.
pub enum Adopter {
    /// This worker.
    Ready(Rc<Link>),
    /// Nobody now.
    None,
    /// Nobody ever: the workers that serve do not know how to.
    Unable,
}

/// The workers that take new work.
#[derive(Default)]
pub struct Offer {
    links: RefCell<Vec<Rc<Link>>>,
    rotation: RefCell<Rotation>,
    loads: RefCell<Vec<u32>>,
    changed: Notify,
    waiting: Cell<usize>,
    ended: Cell<bool>,
}

impl Offer {
    /// Replaces the snapshot.
    pub fn set(&self, links: Vec<Rc<Link>>) {
        *self.links.borrow_mut() = links;
        self.changed.notify_waiters();
    }

    /// No more workers will come, so nobody waits for one any longer.
    pub fn end(&self) {
        self.ended.set(true);
        self.changed.notify_waiters();
    }

    /// Requests that wait for a ready worker.
    pub fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Whether [`Offer::end`] was called: the pool ends.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// The ready worker with the fewest connections and requests; waits for one if there is none.
    ///
    /// # Errors
    /// [`Failure::Crowded`] if too many wait already, [`Failure::Unavailable`] if none comes in time
    /// or at all.
    pub async fn pick(&self, timeout: Duration) -> Result<Rc<Link>, Failure> {
        if let Some(link) = self.pick_now() {
            return Ok(link);
        }
        if self.waiting.get() >= WAITING_LIMIT {
            return Err(Failure::Crowded { retry_after: RETRY_AFTER });
        }
        let unavailable = Failure::Unavailable { retry_after: RETRY_AFTER };
        let _waiting = Waiting::new(&self.waiting);
        let picked = async {
            loop {
                // Registered before the look, so that no change is missed.
                let changed = self.changed.notified();
                if let Some(link) = self.pick_now() {
                    return Some(link);
                }
                if self.ended.get() {
                    return None;
                }
                changed.await;
            }
        };
        tokio::time::timeout(timeout, picked).await.ok().flatten().ok_or(unavailable)
    }

    /// Whether nobody would take anything now.
    pub fn is_empty(&self) -> bool {
        !self.links.borrow().iter().any(|link| link.takes_work())
    }

    /// Who would take a connection over now: `rather` this one. All workers that serve run the same
    /// program.
    pub fn adopter(&self, rather: Option<&Rc<Link>>) -> Adopter {
        let is_offered = |wanted: &&Rc<Link>| {
            wanted.takes_work() && self.links.borrow().iter().any(|link| Rc::ptr_eq(link, wanted))
        };
        let picked = rather.filter(is_offered).cloned();
        match picked.or_else(|| self.pick_now()) {
            None => Adopter::None,
            Some(link) if link.adopts() => Adopter::Ready(link),
            Some(_) => Adopter::Unable,
        }
    }

    fn pick_now(&self) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        let mut loads = self.loads.borrow_mut();
        loads.clear();
        loads.extend(links.iter().map(|link| {
            let load = link.counters.load.load(Ordering::Relaxed);
            match link.takes_work() {
                true if link.has_trial() => load | LEFT_ALONE,
                true => load,
                false => u32::MAX,
            }
        }));
        let link = &links[self.rotation.borrow_mut().pick(&loads)?];
        link.takes_work().then(|| link.clone())
    }
}

struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
