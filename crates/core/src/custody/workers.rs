//! What a thread knows of its workers: who takes work, what each has, when one has nothing left.

use serde::{Deserialize, Serialize};
use shovel_protocol::WorkerId;

use super::rest::Rest;
use super::route_queue::RouteQueue;
use super::trials::Trial;
use super::{ClientHandle, Command, Custody, Ending, Event, Moment, Route, WorkerCell};
use crate::fleet::{Death, DrainReason};

/// Added to the load of a worker that is to be left alone if there is another.
const LEFT_ALONE: u32 = 1 << 30;

/// Added to that of one that is full.
const FULL: u32 = 1 << 31;

/// A worker that has a link to this thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Worker<W> {
    pub(super) cell: W,
    pub(super) life: Life,
    /// Connections of this thread that it has or is offered.
    pub(super) connections: u32,
    /// Requests of this thread that it has.
    pub(super) requests: u32,
    /// The one connection of this thread that is tried with it.
    pub(super) trial: Option<Trial>,
    /// Connections that it owns and that wait to be tried.
    pub(super) suspects: RouteQueue,
    /// Connections that it owns and that wait for the end of a trial.
    pub(super) others: RouteQueue,
    pub(super) rest: Rest,
    /// It was asked for its generation's first adoption, and has not answered.
    pub(super) is_proving: bool,
}

/// What may be given to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Life {
    /// Anything, if it is offered.
    Serving,
    /// It gives up what it has. It may still be needed to take a connection over.
    Draining(DrainReason),
    /// The fleet was told that it has nothing left: nothing is given to it any more.
    Drained(DrainReason),
    /// Its link has ended.
    Gone,
}

/// Who could take a connection over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopter {
    /// This worker.
    Ready(WorkerId),
    /// Nobody now.
    None,
    /// Nobody ever: the workers that serve do not know how to.
    Unable,
}

impl<W> Worker<W> {
    pub(super) fn takes_work(&self) -> bool {
        matches!(self.life, Life::Serving | Life::Draining(_))
    }

    pub(super) fn draining(&self) -> Option<DrainReason> {
        match self.life {
            Life::Draining(why) | Life::Drained(why) => Some(why),
            Life::Serving | Life::Gone => None,
        }
    }

    fn holds_nothing(&self) -> bool {
        self.connections == 0 && self.requests == 0
    }
}

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// A new worker's link. A worker has one to each thread.
    pub fn join(&mut self, worker: WorkerId, cell: W, now: Moment) {
        if self.workers.contains_key(&worker) {
            return;
        }
        let rest = Rest::new(now);
        let joined = Worker {
            cell,
            life: Life::Serving,
            connections: 0,
            requests: 0,
            trial: None,
            suspects: RouteQueue::default(),
            others: RouteQueue::default(),
            rest,
            is_proving: false,
        };
        self.workers.insert(worker, joined);
    }

    /// What all threads know of a worker, as the caller keeps it.
    pub fn worker(&self, worker: WorkerId) -> Option<&W> {
        self.workers.get(&worker).map(|worker| &worker.cell)
    }

    /// All workers that have a link.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, &W)> {
        self.workers.iter().map(|(id, worker)| (*id, &worker.cell))
    }

    /// Connections and requests of this thread that a worker has or is offered.
    pub fn holdings(&self, worker: WorkerId) -> (u32, u32) {
        self.workers.get(&worker).map_or((0, 0), |its| (its.connections, its.requests))
    }

    /// Why a worker is to give everything up, if it is.
    pub fn draining(&self, worker: WorkerId) -> Option<DrainReason> {
        self.workers.get(&worker)?.draining()
    }

    /// Whether [`Event::EndBegan`] has come.
    pub fn is_ending(&self) -> bool {
        self.ending != Ending::No
    }

    /// Whether nobody would take a request now.
    pub fn nobody_takes_work(&self) -> bool {
        !self.offered.iter().any(|worker| self.takes_work(*worker))
    }

    /// The ready worker with the fewest connections and requests, for a request. `None` if there is
    /// none, or all are full. Asks for one more worker if even that one has much to do.
    pub fn pick(&mut self, now: Moment) -> Option<WorkerId> {
        let picked = self.pick_least_busy()?;
        if self.worker(picked).is_some_and(WorkerCell::is_full) {
            return None;
        }
        self.want_help(picked, now);
        Some(picked)
    }

    /// A client has begun to ask for something. Until [`Custody::end_asking`] a worker may have to be
    /// started for it.
    pub fn begin_asking(&mut self) {
        self.askers += 1;
    }

    /// It has got all that it asked for, or will not.
    pub fn end_asking(&mut self) {
        self.askers = self.askers.saturating_sub(1);
        self.is_unsettled |= self.is_ending();
    }

    /// A worker is given a request.
    pub fn begin_request(&mut self, worker: WorkerId) {
        if let Some(its) = self.workers.get_mut(&worker) {
            its.requests += 1;
            its.cell.note_load(true);
            its.cell.begin();
        }
    }

    /// The head of a response has come, or will not. Requests that were not answered when their link
    /// ended stay counted: the worker may have died of one.
    pub fn answer_request(&mut self, worker: WorkerId) {
        if self.workers.get(&worker).is_some_and(|its| its.life != Life::Gone) {
            self.end_company(worker);
        }
        self.note_change(worker);
    }

    /// A worker has done with a request whose answer was noted.
    pub fn end_request(&mut self, worker: WorkerId) {
        if let Some(its) = self.workers.get_mut(&worker)
            && its.requests > 0
        {
            its.requests -= 1;
            its.cell.note_load(false);
        }
        self.note_change(worker);
    }

    /// Takes in something that has happened.
    pub fn handle_event(&mut self, event: Event, now: Moment) {
        self.now = now;
        match event {
            Event::Offered { workers } => self.offered = workers,
            Event::DrainWanted { worker, why } => self.drain(worker, why, now),
            Event::LinkEnded { worker } => {
                if let Some(its) = self.workers.get_mut(&worker) {
                    its.life = Life::Gone;
                }
            }
            Event::Died { worker, death } => self.bury(worker, death, now),
            Event::TimeUp { worker } => self.end_time(worker),
            Event::ActivityTold { worker, activity } => self.look_for_rest(worker, activity, now),
            Event::EndBegan => self.begin_end(),
            Event::WaitsEnded => self.ending = Ending::Last,
        }
        self.settle(now);
    }

    pub(super) fn takes_work(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(Worker::takes_work)
    }

    pub(super) fn is_offered(&self, worker: WorkerId) -> bool {
        self.offered.contains(&worker) && self.takes_work(worker)
    }

    /// Who would take a connection over now, `preferred` if it can. All workers that serve run the same
    /// program.
    pub(super) fn adopter(&mut self, preferred: Option<WorkerId>) -> Adopter {
        let preferred = preferred.filter(|worker| self.is_offered(*worker));
        match preferred.or_else(|| self.pick_least_busy()) {
            None => Adopter::None,
            Some(worker) if self.worker(worker).is_some_and(WorkerCell::adopts) => {
                Adopter::Ready(worker)
            }
            Some(_) => Adopter::Unable,
        }
    }

    fn pick_least_busy(&mut self) -> Option<WorkerId> {
        self.loads.clear();
        self.loads.extend(self.offered.iter().map(|worker| match self.workers.get(worker) {
            Some(its) if its.takes_work() => {
                let left_alone = if its.cell.has_trial() { LEFT_ALONE } else { 0 };
                let full = if its.cell.is_full() { FULL } else { 0 };
                its.cell.load() | left_alone | full
            }
            Some(_) | None => u32::MAX,
        }));
        let picked = self.rotation.pick(&self.loads).map(|place| self.offered[place]);
        // It is room to work in, not state.
        self.loads.clear();
        picked.filter(|worker| self.takes_work(*worker))
    }

    pub(super) fn begin_company(&mut self, worker: WorkerId) {
        if let Some(its) = self.workers.get_mut(&worker) {
            its.cell.begin();
        }
    }

    /// One thing less is under way. A worker that was buried is not in the table any more, so what it
    /// had under way stays counted for the other threads.
    pub(super) fn end_company(&mut self, worker: WorkerId) {
        if let Some(its) = self.workers.get_mut(&worker) {
            its.cell.end();
        }
    }

    /// Something of a worker has ended; others may have waited for that.
    pub(super) fn note_change(&mut self, worker: WorkerId) {
        let Some(its) = self.workers.get(&worker) else { return };
        self.is_unsettled |= its.draining().is_some()
            || its.trial.is_some()
            || !its.suspects.is_empty()
            || !its.others.is_empty();
    }

    fn drain(&mut self, worker: WorkerId, why: DrainReason, now: Moment) {
        let Some(its) = self.workers.get_mut(&worker) else { return };
        its.life = match its.life {
            Life::Serving | Life::Draining(_) => Life::Draining(why),
            Life::Drained(_) => Life::Drained(why),
            Life::Gone => return,
        };
        let connections = self.routes_of(worker);
        let (movable, others): (Vec<_>, Vec<_>) = connections
            .into_iter()
            .partition(|route| self.on_route(*route).is_some_and(|(_, its)| its.can_move()));
        movable.into_iter().for_each(|route| self.leaving.push(route));
        self.plan_farewells(others, why, now);
    }

    /// Connections that sleep end now: for what they have nobody is woken.
    fn begin_end(&mut self) {
        if self.is_ending() {
            return;
        }
        self.ending = Ending::Began;
        // There is nothing to come back to, and no time.
        let farewells = std::mem::take(&mut self.farewells);
        farewells.into_iter().for_each(|(_, route)| self.leaving.push(route));
        for route in self.routes_where(|its| its.is_unowned() && its.is_idle()) {
            if self.is_seeking(route) {
                // It was on its way: somebody is to hear of its close.
                self.commands.push_back(Command::Finish { route, why: DrainReason::Terminate });
            } else {
                self.lose(route, super::Loss::End);
            }
        }
    }

    fn end_time(&mut self, worker: WorkerId) {
        let why = self.draining(worker).unwrap_or(DrainReason::Reload);
        for route in self.routes_of(worker) {
            let can_move = self.on_route(route).is_some_and(|(_, its)| its.can_move());
            // One that can move is not closed: a worker that does not let go of it is killed.
            if !can_move || why == DrainReason::Terminate {
                self.commands.push_back(Command::CutOff { route, loss: super::Loss::TimeUp(why) });
            }
        }
    }

    fn bury(&mut self, worker: WorkerId, death: Death, now: Moment) {
        let connections = self.routes_of(worker);
        self.count_plain_company(worker, &connections);
        let Some(mut dead) = self.workers.remove(&worker) else { return };
        if dead.is_proving {
            dead.cell.prove(false);
        }
        let trial = dead.end_trial(self.thread);
        let is_alone = dead.cell.company() <= 1;
        for route in connections {
            let on_trial = trial == Some(route);
            self.orphan(route, super::strikes::Blame { death, is_alone, on_trial }, now);
        }
        // A suspect that was to be tried there, and had no owner yet.
        trial.into_iter().for_each(|route| self.seek(route));
    }

    /// Tells which workers have nothing left. While the pool ends, a worker that may be needed to take
    /// a connection over, to hear of its close or to answer a request counts as having something until
    /// this thread has none of them left.
    pub(super) fn tell_drained(&mut self) {
        let (has_connections, has_askers) = (!self.connections.is_empty(), self.askers > 0);
        if self.ending == Ending::Began && !has_connections && !has_askers {
            self.ending = Ending::Last;
            self.commands.push_back(Command::Emptied);
        }
        let is_ending = self.is_ending();
        for (id, worker) in self.workers.iter_mut() {
            let Life::Draining(why) = worker.life else { continue };
            let may_be_needed = is_ending
                && self.offered.contains(id)
                && (has_askers || (has_connections && worker.cell.adopts()));
            if worker.holds_nothing() && !may_be_needed {
                worker.life = Life::Drained(why);
                self.commands.push_back(Command::Drained { worker: *id });
            }
        }
    }

    /// What a worker has or is offered. Looks at all connections.
    pub fn routes_of(&self, worker: WorkerId) -> Vec<Route> {
        self.routes_where(|connection| connection.owner() == Some(worker))
    }
}
