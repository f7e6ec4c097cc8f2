//! What may go wrong next, as long as the world has such faults left.

use shovel_core::fleet::DrainReason;

use crate::sdk::Running;
use crate::steps::{Action, is_poisonous};
use crate::witness::Holder;
use crate::world::{Config, Life, Socket, World};

impl World {
    pub fn faults(&self, config: &Config, actions: &mut Vec<Action>) {
        if self.faults.reloads > 0 && !self.fleet.is_ending {
            actions.push(Action::Reload);
        }
        if self.faults.ends > 0 {
            actions.push(Action::Terminate);
        }
        // Otherwise it passes by itself.
        if self.faults.times > 0 && !actions.is_empty() && self.custody.poll_timeout().is_some() {
            actions.push(Action::TimeIsUp);
        }
        for connection in 0..config.connections {
            self.faults_of_client(connection, actions);
        }
        for place in 0..self.workers.len() {
            self.faults_of_worker(config, place, actions);
        }
    }

    fn faults_of_client(&self, connection: u8, actions: &mut Vec<Action>) {
        let client = self.client(connection);
        if client.route.is_none() {
            return;
        }
        let is_offered = matches!(client.witness.holder, Holder::Offered(_));
        if self.faults.late_upgrades > 0 && is_offered {
            actions.push(Action::TimeOut(connection));
        }
        let is_open = matches!(client.socket, Socket::Open | Socket::Leaving);
        if self.faults.client_closes > 0 && is_open {
            actions.push(Action::ClientCloses(connection));
        }
        let may_press = self.faults.presses > 0 && is_open && !client.pressure.is_on;
        if may_press && client.witness.is_accepted {
            actions.push(Action::Press(connection));
        }
    }

    fn faults_of_worker(&self, config: &Config, place: usize, actions: &mut Vec<Action>) {
        let worker = &self.workers[place];
        let at = place as u8;
        if !worker.is_alive() || worker.life == Life::Starting {
            return;
        }
        for arrives in 0..=worker.up.len() as u8 {
            if self.faults.crashes > 0 {
                actions.push(Action::Crash(at, arrives));
            }
            if self.faults.kills > 0 {
                actions.push(Action::Kill(at, arrives));
            }
            if self.faults.outside > 0 {
                actions.push(Action::KillOutside(at, arrives));
            }
        }
        self.faults_of_fleet(place, actions);
        if worker.is_blocked {
            return;
        }
        if self.faults.hangs > 0 && worker.objects.iter().any(|its| its.running.is_some()) {
            actions.push(Action::Block(at));
        }
        for (its, object) in worker.objects.iter().enumerate() {
            let its = its as u8;
            let poison = object.running.is_some_and(|running| {
                is_poisonous(config, worker.is_poisonous, object.connection, running)
            });
            let is_there = object.tenure.was_accepted() && object.tenure.attachment().is_some();
            if self.faults.ticks > 0 && is_there {
                actions.push(Action::Tick(at, its));
            }
            if self.faults.refusals > 0 && object.running == Some(Running::Adopt) && !poison {
                actions.push(Action::Refuse(at, its));
            }
            let is_message = matches!(object.running, Some(Running::Message(_)));
            if self.faults.panics > 0 && is_message && !poison && !object.must_wait() {
                actions.push(Action::Panic(at, its));
            }
        }
    }

    fn faults_of_fleet(&self, place: usize, actions: &mut Vec<Action>) {
        let worker = &self.workers[place];
        let at = place as u8;
        match worker.life {
            Life::Ready if !self.fleet.is_ending => {
                let has_others = self.fleet.offered.len() > 1;
                if self.faults.recycles > 0 && has_others {
                    actions.push(Action::Recycle(at));
                }
                if self.faults.sleeps > 0 && self.has_rest(place) {
                    actions.push(Action::Look(at));
                }
            }
            Life::Draining(why) if self.faults.time_ups > 0 && why != DrainReason::Sleep => {
                actions.push(Action::TimeUp(at));
            }
            Life::Absent
            | Life::Starting
            | Life::Ready
            | Life::Draining(_)
            | Life::Stopping
            | Life::Dead(_)
            | Life::LinkEnded(_) => {}
        }
    }

    /// All that it has has nothing to do.
    fn has_rest(&self, place: usize) -> bool {
        self.clients.iter().all(|client| {
            let is_its = client.witness.place() == Some(place);
            let is_owned = matches!(client.witness.holder, Holder::Owner(_));
            !is_its || (is_owned && client.witness.done >= client.read)
        })
    }
}
