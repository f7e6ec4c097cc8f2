//! Trials: what its workers have died with is done alone, so that the next death has one culprit.
//!
//! Which events and adoptions are suspects is decided by `core::transfer`. A worker has one trial at
//! a time, on whichever thread: it is known by a number that all threads see. While there is one,
//! nothing else of connections that may move is begun with that worker; it is put off. The suspect
//! is handed over once all that was under way has ended. Neither lasts longer than it may: a handler
//! that takes long, or that waits for another connection, would hold up all of them for ever.
//!
//! The walk: [`Router::may_begin`] -> put off -> [`Router::look_at_put_off`], when a trial of this
//! thread ends or its company does, and every [`RETRY`] -> handed over -> [`Router::settle`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shovel_core::channels::Slot;
use shovel_core::transfer::{Blame, Phase};
use shovel_protocol::LeaseId;
use tokio::time::Instant;

use super::link::Link;
use super::moves::Kind;
use super::registry::{Connection, Registry, Route};
use super::router::Router;

/// How soon to look again at what was put off: the trial may be another thread's.
pub(super) const RETRY: Duration = Duration::from_millis(10);

/// How long a suspect waits for what is under way with its worker. Then it goes in company.
const COMPANY_ENDS_IN: Duration = Duration::from_millis(250);

/// Something that a worker has under way, and that may end it.
pub struct Doing(Rc<Link>);

impl Doing {
    pub fn new(link: &Rc<Link>) -> Self {
        link.counters.doing.fetch_add(1, Ordering::AcqRel);
        Doing(link.clone())
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        // What a worker had under way when it died stays counted, for the other threads.
        if !self.0.is_buried() {
            self.0.counters.doing.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// That one connection is the only one of its worker with which anything is begun.
pub struct Trial {
    link: Rc<Link>,
    me: u64,
    has_begun: bool,
    until: Instant,
}

impl Trial {
    fn seek(link: &Rc<Link>, me: u64) -> Option<Box<Self>> {
        let trial = &link.counters.trial;
        trial.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire).ok()?;
        let until = Instant::now() + COMPANY_ENDS_IN;
        Some(Box::new(Trial { link: link.clone(), me, has_begun: false, until }))
    }

    /// Whether the suspect may be handed over: nothing else is under way, or that takes too long.
    fn may_begin(&self) -> bool {
        let is_alone = self.link.counters.doing.load(Ordering::Acquire) == 0;
        !self.has_begun && (is_alone || self.until <= Instant::now())
    }

    /// With which worker.
    pub fn link(&self) -> &Rc<Link> {
        &self.link
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // Nobody else changes it meanwhile.
        let trial = &self.link.counters.trial;
        let _ = trial.compare_exchange(self.me, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// What waits until a worker has no trial, on one thread.
#[derive(Default)]
pub struct PutOff {
    /// To have a trial themselves.
    suspects: RefCell<VecDeque<Route>>,
    others: RefCell<Vec<Route>>,
}

impl PutOff {
    fn is_empty(&self) -> bool {
        self.suspects.borrow().is_empty() && self.others.borrow().is_empty()
    }
}

impl Router {
    /// Whether what is next with a connection may be begun with this worker now. If not, it is put
    /// off.
    pub(super) fn may_begin(
        &self,
        connection: &mut Connection,
        (id, route): (LeaseId, Route),
        link: &Rc<Link>,
    ) -> bool {
        let suspect = connection.state.suspect();
        if connection.trial.is_none() && suspect.is_some() {
            connection.trial = Trial::seek(link, self.on_trial(route.slot));
        }
        let may = match (&mut connection.trial, suspect) {
            (Some(trial), Some(lasts)) if trial.may_begin() => {
                trial.has_begun = true;
                trial.until = Instant::now() + lasts;
                self.moves.set_deadline(lasts, route, id, Kind::Trial);
                true
            }
            // Looked at again as long as it has not begun.
            (Some(trial), _) => return trial.has_begun,
            (None, None) => !link.has_trial(),
            (None, Some(_)) => false,
        };
        if !may && !mem::replace(&mut connection.is_put_off, true) {
            match suspect {
                Some(_) => link.put_off.suspects.borrow_mut().push_back(route),
                None => link.put_off.others.borrow_mut().push(route),
            }
            self.moves.look_again();
        }
        may
    }

    /// Notes what a worker has under way of a connection, after that has changed.
    pub(super) fn settle(&self, link: &Rc<Link>, connection: &mut Connection) {
        match connection.state.is_under_way() {
            false => connection.doing = None,
            true if connection.doing.is_none() => connection.doing = Some(Doing::new(link)),
            true => {}
        }
        connection.trial.take_if(|trial| match trial.has_begun {
            true => !connection.state.carries_suspect(),
            false => connection.state.suspect().is_none(),
        });
    }

    /// Something of a connection has ended: goes on with what waited for that.
    pub(super) fn make_way(&self, registry: &mut Registry, link: &Rc<Link>, id: LeaseId) {
        if let Some(connection) = registry.get_mut(id) {
            self.settle(link, connection);
        }
        self.look_at_put_off(registry, link);
    }

    /// A trial may have lasted as long as it may: others need not wait any more.
    pub(super) fn on_trial_over(&self, registry: &mut Registry, route: Route) {
        let Some((_, connection)) = registry.on_route(route) else { return };
        let now = Instant::now();
        let is_over = |trial: &mut Box<Trial>| trial.has_begun && trial.until <= now;
        let Some(over) = connection.trial.take_if(is_over) else { return };
        let link = over.link.clone();
        drop(over);
        // Suspects wait a little longer, or they would leave the others no time.
        self.begin_others(registry, &link);
    }

    /// Whether this thread has a trial, or anything that waits for the end of one.
    pub(super) fn has_put_off(&self) -> bool {
        self.links.borrow().values().any(|link| self.is_concerned(link))
    }

    /// Goes on with what was put off, as far as it may.
    pub(super) fn look_at_all_put_off(&self) {
        let links: Vec<_> = self.links.borrow().values().cloned().collect();
        for link in links {
            self.look_at_put_off(&mut self.registry.borrow_mut(), &link);
        }
    }

    /// The same, of one worker.
    pub(super) fn look_at_put_off(&self, registry: &mut Registry, link: &Rc<Link>) {
        if !self.is_concerned(link) {
            return;
        }
        if let Some(slot) = self.on_trial_here(link)
            && let Some(connection) = registry.at(slot)
            && connection.trial.as_ref().is_some_and(|trial| trial.may_begin())
            && let Some(route) = registry.route_at(slot)
        {
            self.begin_put_off(registry, route);
        }
        // None twice: those that may not begin come back.
        let suspects = link.put_off.suspects.borrow().len();
        for _ in 0..suspects {
            if link.has_trial() {
                return;
            }
            let Some(route) = link.put_off.suspects.borrow_mut().pop_front() else { break };
            self.begin_put_off(registry, route);
        }
        self.begin_others(registry, link);
    }

    /// The worker is dead, and has nothing any more: what waited for it goes elsewhere, and so does
    /// the suspect that was to have its trial there and had not begun it.
    pub(super) fn forget_put_off(&self, link: &Rc<Link>) {
        let mut registry = self.registry.borrow_mut();
        let on_trial = self.on_trial_here(link).and_then(|slot| registry.route_at(slot));
        let suspects = link.put_off.suspects.take();
        let others = link.put_off.others.take();
        on_trial.into_iter().chain(suspects).chain(others).for_each(|route| {
            self.begin_put_off(&mut registry, route);
        });
    }

    /// Counts the messages that a dead worker had under way of connections that end with it. While
    /// it lives they are not counted, since that would cost something for each; so a thread that
    /// learns of the death later knows of those of this one, and not the other way round.
    pub(super) fn count_plain_company(&self, link: &Link, connections: &[Route]) {
        let mut registry = self.registry.borrow_mut();
        let is_company = |route: &&Route| {
            registry.on_route(**route).is_some_and(|(_, connection)| {
                let state = &connection.state;
                state.phase() == Phase::Owned && !state.is_kept() && !state.is_idle()
            })
        };
        let company = connections.iter().filter(is_company).count();
        link.counters.doing.fetch_add(company as u32, Ordering::AcqRel);
    }

    /// Whose fault a worker's death is.
    pub(super) fn blame(&self, link: &Link) -> Blame {
        match link.counters.doing.load(Ordering::Acquire) {
            _ if !link.is_at_fault() => Blame::None,
            0 | 1 => Blame::Alone,
            _ => Blame::InCompany,
        }
    }

    fn begin_others(&self, registry: &mut Registry, link: &Link) {
        if !link.has_trial() {
            let others = link.put_off.others.take();
            others.into_iter().for_each(|route| self.begin_put_off(registry, route));
        }
    }

    fn begin_put_off(&self, registry: &mut Registry, route: Route) {
        let Some((id, connection)) = registry.on_route(route) else { return };
        connection.is_put_off = false;
        match connection.state.phase() {
            Phase::Owned => self.pump(registry, id),
            Phase::Unowned if connection.asked => self.moves.seek(route),
            Phase::Unowned | Phase::Offered | Phase::Releasing | Phase::Adopting => {}
        }
    }

    fn is_concerned(&self, link: &Link) -> bool {
        !link.put_off.is_empty() || self.on_trial_here(link).is_some()
    }

    /// The connection of this thread that has a trial with a worker.
    fn on_trial_here(&self, link: &Link) -> Option<Slot> {
        let trial = link.counters.trial.load(Ordering::Acquire);
        let slot = trial as u32;
        (trial == self.on_trial(slot)).then_some(slot)
    }

    /// A connection's name among all threads; never 0.
    fn on_trial(&self, slot: Slot) -> u64 {
        (self.publisher.thread() as u64 + 1) << 32 | u64::from(slot)
    }
}

#[cfg(test)]
mod tests;
