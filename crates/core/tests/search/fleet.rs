//! What the fleet does with workers, as far as custody can tell: they come, drain, are told to leave
//! only once custody says that nothing is left of them, leave or die.

use shovel_core::custody::{Death, Event, LateUpgrade, LoneCell};
use shovel_core::fleet::DrainReason;
use shovel_protocol::WorkerId;

use crate::frames::ToWorker;
use crate::witness::{Holder, Step, demand};
use crate::world::{Config, Life, NOW, Socket, Worker, World, id_of};

impl World {
    pub(super) fn free_place(&self) -> Option<usize> {
        self.workers.iter().position(|worker| worker.life == Life::Absent)
    }

    fn places_where(&self, is_wanted: impl Fn(&Worker) -> bool) -> Vec<usize> {
        (0..self.workers.len()).filter(|place| is_wanted(&self.workers[*place])).collect()
    }

    /// Tells who takes new work, if that has changed.
    pub(super) fn tell_offered(&mut self) -> bool {
        let is_ending = self.fleet.is_ending;
        let takes = |place: &usize| {
            let worker = &self.workers[*place];
            let was_offered = self.fleet.offered.contains(&id_of(*place));
            match worker.life {
                Life::Ready => true,
                // Clients that are connected already are served until their worker stops.
                Life::Draining(_) => is_ending && was_offered,
                Life::Absent | Life::Starting | Life::Stopping => false,
                // It is not known yet that it is dead.
                Life::Dead(_) | Life::LinkEnded(_) => was_offered,
            }
        };
        let offered: Vec<WorkerId> = (0..self.workers.len()).filter(takes).map(id_of).collect();
        if offered == self.fleet.offered {
            return false;
        }
        self.fleet.offered.clone_from(&offered);
        self.custody.handle_event(Event::Offered { workers: offered }, NOW);
        true
    }

    fn spawn(&mut self, config: &Config, place: usize, is_newer: bool) {
        let adopts =
            if self.is_renewed(config) || is_newer { config.newer_adopts } else { config.adopts };
        let is_poisonous = config.poison_program && (self.is_renewed(config) || is_newer);
        let life = Life::Starting;
        self.workers[place] = Worker { life, is_newer, adopts, is_poisonous, ..Worker::absent() };
    }

    /// A reload has taken place.
    fn is_renewed(&self, config: &Config) -> bool {
        self.faults.reloads < config.faults.reloads
            && !self.workers.iter().any(|worker| worker.is_newer)
    }

    /// Whether somebody is needed and nobody comes.
    pub(super) fn needs_worker(&self, config: &Config) -> bool {
        let is_wanted =
            self.fleet.is_wanted || self.clients.iter().any(|client| client.socket == Socket::Idle);
        let is_there = |worker: &Worker| {
            matches!(worker.life, Life::Ready)
                || (worker.life == Life::Starting && !worker.is_newer)
        };
        let is_coming = self.workers.iter().any(is_there);
        let may_come = match self.fleet.is_ending {
            false => !config.barren,
            true => self.may_come_at_the_end(),
        };
        is_wanted && !is_coming && may_come
    }

    fn may_come_at_the_end(&self) -> bool {
        self.fleet.is_needed && self.fleet.offered.is_empty()
    }

    /// Nobody comes though somebody is needed, and the pool gives that up.
    pub(super) fn may_end_waits(&self, config: &Config) -> bool {
        let is_wanted = self.fleet.is_ending && self.fleet.is_wanted;
        config.barren && is_wanted && self.may_come_at_the_end()
    }

    pub(super) fn end_waits(&mut self) {
        self.fleet.is_needed = false;
        self.fleet.has_ended_waits = true;
        self.custody.handle_event(Event::WaitsEnded, NOW);
        self.settle_end();
    }

    /// Nothing is left that a worker would have to be started for.
    pub(super) fn on_emptied(&mut self) -> Step {
        demand(self.fleet.is_ending && self.fleet.is_needed, "nobody asks whether it is empty")?;
        let has_none = self.clients.iter().all(|client| client.route.is_none());
        demand(has_none, "it is empty and has connections")?;
        self.fleet.is_needed = false;
        self.dismiss_starting(|_| true);
        self.settle_end();
        Ok(())
    }

    fn dismiss_starting(&mut self, is_needless: impl Fn(&Worker) -> bool) {
        let is_starting = |worker: &Worker| worker.life == Life::Starting;
        for place in self.places_where(|worker| is_starting(worker) && is_needless(worker)) {
            self.workers[place] = Worker::absent();
        }
    }

    pub(super) fn start(&mut self, config: &Config) {
        self.fleet.is_wanted = false;
        if let Some(place) = self.free_place() {
            self.spawn(config, place, false);
        }
    }

    pub(super) fn reload(&mut self, config: &Config) {
        self.faults.reloads -= 1;
        self.fleet.reload_again = true;
        self.reload_again(config);
    }

    /// Begins a reload that was asked for, once no other is under way and there is a place.
    pub(super) fn reload_again(&mut self, config: &Config) {
        let is_reloading = self
            .workers
            .iter()
            .any(|worker| worker.is_newer || worker.life == Life::Draining(DrainReason::Reload));
        if !self.fleet.reload_again || is_reloading || self.fleet.is_ending {
            return;
        }
        if let Some(place) = self.free_place() {
            self.fleet.reload_again = false;
            self.spawn(config, place, true);
        }
    }

    pub(super) fn become_ready(&mut self, config: &Config, place: usize) {
        let first = !self.is_renewed(config) && !self.workers[place].is_newer;
        if first {
            self.workers[place].adopts = config.adopts;
        }
        let adopts = self.workers[place].adopts;
        let mut cell = LoneCell::default();
        cell.adopts = adopts;
        self.custody.join(id_of(place), cell, NOW);
        self.workers[place].life = Life::Ready;
        self.fleet.is_wanted = false;
        if !std::mem::take(&mut self.workers[place].is_newer) {
            self.tell_offered();
            if self.fleet.is_ending {
                self.drain(place, DrainReason::Terminate);
            }
            return;
        }
        let old = self.places_where(|worker| worker.life == Life::Ready);
        let old: Vec<_> = old.into_iter().filter(|other| *other != place).collect();
        for other in &old {
            self.workers[*other].life = Life::Draining(DrainReason::Reload);
        }
        self.tell_offered();
        for other in 0..self.workers.len() {
            match self.workers[other].life {
                Life::Draining(DrainReason::Sleep) => self.drain(other, DrainReason::Reload),
                Life::Starting => {
                    self.workers[other].adopts = config.newer_adopts;
                    self.workers[other].is_poisonous = config.poison_program;
                }
                Life::Absent
                | Life::Ready
                | Life::Draining(_)
                | Life::Stopping
                | Life::Dead(_)
                | Life::LinkEnded(_) => {}
            }
        }
        old.into_iter().for_each(|other| self.drain(other, DrainReason::Reload));
    }

    /// Takes new work away from a worker, then has it give up what it has.
    pub(super) fn drain(&mut self, place: usize, why: DrainReason) {
        self.workers[place].life = Life::Draining(why);
        self.workers[place].is_sleepy = why == DrainReason::Sleep;
        self.tell_offered();
        self.custody.handle_event(Event::DrainWanted { worker: id_of(place), why }, NOW);
    }

    pub(super) fn on_idle(&mut self, worker: WorkerId) {
        let place = crate::world::place_of(worker);
        if self.workers[place].life == Life::Ready && !self.fleet.is_ending {
            self.drain(place, DrainReason::Sleep);
        }
    }

    pub(super) fn on_drained(&mut self, worker: WorkerId) -> Step {
        let its = self.worker(worker);
        let is_draining = matches!(its.life, Life::Draining(_));
        let is_dead = matches!(its.life, Life::Dead(_) | Life::LinkEnded(_));
        demand(is_draining || is_dead, "nothing is left of one that does not drain")?;
        its.is_empty = is_draining;
        if is_draining && !self.fleet.is_ending {
            self.shut_down(crate::world::place_of(worker));
        }
        self.settle_end();
        let place = crate::world::place_of(worker);
        let mut witnesses = self.clients.iter().map(|client| &client.witness);
        let has_any = witnesses.any(|witness| {
            witness.place() == Some(place) && !matches!(witness.holder, Holder::Nobody)
        });
        demand(!has_any, "nothing is left of one that has a connection")
    }

    fn shut_down(&mut self, place: usize) {
        self.workers[place].life = Life::Stopping;
        self.workers[place].down.push(ToWorker::Shutdown);
    }

    /// While the pool ends all leave together: nobody is needed, and none has anything left.
    fn settle_end(&mut self) {
        let is_done = |worker: &Worker| match worker.life {
            Life::Absent | Life::Stopping => true,
            Life::Draining(_) => worker.is_empty,
            Life::Starting | Life::Ready | Life::Dead(_) | Life::LinkEnded(_) => false,
        };
        let may_leave = self.fleet.is_ending && !self.fleet.is_needed;
        if may_leave && self.workers.iter().all(is_done) {
            let draining = |worker: &Worker| matches!(worker.life, Life::Draining(_));
            self.places_where(draining).into_iter().for_each(|place| self.shut_down(place));
        }
    }

    /// Whether a worker that was told to has left.
    pub(super) fn may_stop(&self, place: usize) -> bool {
        let worker = &self.workers[place];
        worker.life == Life::Stopping
            && worker.down.is_empty()
            && worker.up.is_empty()
            && worker.objects.is_empty()
    }

    pub(super) fn is_gone(&mut self, config: &Config, place: usize, death: Death) -> Step {
        self.judge_death(place, death);
        for connection in 0..config.connections {
            let client = self.client(connection);
            let was_offered = client.route.is_some() && !client.witness.is_accepted;
            if was_offered && client.witness.place().is_none() {
                self.withdraw(connection, LateUpgrade::TimedOut)?;
            }
        }
        self.bury(id_of(place), death);
        self.workers[place] = Worker::absent();
        self.settle_end();
        self.tell_offered();
        self.reload_again(config);
        Ok(())
    }

    /// SIGTERM.
    pub(super) fn terminate(&mut self) {
        self.faults.ends -= 1;
        self.fleet.is_ending = true;
        self.fleet.reload_again = false;
        for client in &mut self.clients {
            if client.socket == Socket::Idle {
                client.socket = Socket::Closed;
            }
        }
        self.fleet.is_needed = true;
        let serves = !self.fleet.offered.is_empty();
        self.dismiss_starting(|worker| serves || worker.is_newer);
        self.custody.handle_event(Event::EndBegan, NOW);
        for place in self.places_where(Worker::is_serving) {
            self.drain(place, DrainReason::Terminate);
        }
    }
}
