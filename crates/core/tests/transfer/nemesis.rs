//! What may go wrong next, as long as the world has such faults left.

use shovel_core::transfer::Phase;

use crate::sdk::Running;
use crate::steps::Action;
use crate::world::{Config, Life, Socket, World};

impl World {
    pub fn faults(&self, config: &Config, actions: &mut Vec<Action>) {
        if self.faults.reloads > 0 {
            actions.push(Action::Reload);
        }
        for connection in 0..self.slots.len() {
            self.faults_of_connection(connection, actions);
        }
        for worker in 0..self.workers.len() {
            self.faults_of_worker(config, worker, actions);
        }
    }

    fn faults_of_connection(&self, place: usize, actions: &mut Vec<Action>) {
        let slot = &self.slots[place];
        let Some(state) = &slot.state else { return };
        let at = place as u8;
        let phase = state.phase();
        if self.faults.late_upgrades > 0 && phase == Phase::Offered {
            actions.push(Action::TimeOut(at));
        }
        if self.faults.client_closes > 0 && slot.socket == Socket::Open {
            actions.push(Action::ClientCloses(at));
        }
        if self.faults.revokes > 0 && state.clone().revoke() {
            actions.push(Action::Revoke(at));
        }
        if self.faults.waits > 0 && phase == Phase::Unowned && !state.is_idle() {
            actions.push(Action::GiveUpWaiting(at));
        }
        let may_move = phase == Phase::Owned
            && slot.socket == Socket::Open
            && state.is_portable()
            && !state.is_closed();
        if self.faults.rebalances > 0 && may_move {
            let others = (0..self.workers.len())
                .filter(|worker| self.is_ready(*worker) && state.owner() != Some(worker));
            actions.extend(others.map(|target| Action::Rebalance(at, target as u8)));
        }
    }

    fn faults_of_worker(&self, config: &Config, place: usize, actions: &mut Vec<Action>) {
        let worker = &self.workers[place];
        let at = place as u8;
        if !matches!(worker.life, Life::Ready | Life::Draining { .. }) {
            return;
        }
        if self.faults.lapses > 0 && worker.trial.is_some() {
            actions.push(Action::Lapse(at));
        }
        for arrives in 0..=worker.up.len() as u8 {
            if self.faults.crashes > 0 {
                actions.push(Action::Crash(at, arrives));
            }
            if self.faults.kills > 0 {
                actions.push(Action::Kill(at, arrives));
            }
        }
        for (its, object) in worker.sides.iter().enumerate() {
            let Some(object) = &object.object else { continue };
            let can_attach = object.has_attached && object.is_upgraded;
            if self.faults.ticks > 0 && can_attach {
                actions.push(Action::Tick(at, its as u8));
            }
            let adopts = object.running == Some(Running::Adopt);
            if self.faults.refusals > 0 && adopts && config.poison_adopt != Some(its) {
                actions.push(Action::Refuse(at, its as u8));
            }
        }
        let may_sleep = worker.life == Life::Ready
            && self.owned_by(place).all(|its| {
                let state = self.slots[its].state.as_ref();
                state.is_some_and(|state| state.is_portable() && state.is_idle())
            });
        if self.faults.sleeps > 0 && may_sleep {
            actions.push(Action::Sleep(at));
        }
    }
}
