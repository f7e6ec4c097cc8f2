//! What may happen next, what comes of it, and what must hold when nothing is left to happen.

use shovel_core::transfer::Phase;

use crate::frames::{AppState, Down};
use crate::sdk::{Running, control_place};
use crate::witness::{Seen, Step, Violation, demand};
use crate::world::{Config, Life, Socket, Worker, World};

/// One thing that happens. Fields are a connection, a worker, or how much of a link arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Connect(u8, u8),
    TimeOut(u8),
    ReadMessage(u8),
    EndSocket(u8),
    /// The client goes by itself.
    ClientCloses(u8),
    Begin(u8, u8),
    End(u8, u8),
    Flush(u8, u8),
    Refuse(u8, u8),
    Tick(u8, u8),
    Obey(u8, u8),
    Receive(u8),
    Release(u8),
    Close1012(u8),
    Rebalance(u8, u8),
    Revoke(u8),
    Adopt(u8, u8),
    GiveUpWaiting(u8),
    Spawn(u8),
    Reload,
    BecomeReady(u8),
    Sleep(u8),
    Stop(u8),
    Crash(u8, u8),
    Kill(u8, u8),
    /// What it runs kills it.
    Poisoned(u8, u8),
    IsGone(u8),
    Lapse(u8),
}

impl World {
    /// What happens by itself. Empty when everything has settled.
    pub fn progress(&self, config: &Config, actions: &mut Vec<Action>) {
        for worker in 0..self.workers.len() {
            self.progress_of_worker(config, worker, actions);
        }
        let mut is_needed = false;
        for connection in 0..self.slots.len() {
            is_needed |= self.progress_of_connection(config, connection, actions);
        }
        let is_coming = self.workers.iter().any(|worker| worker.life == Life::Starting);
        if is_needed && !is_coming && !(0..self.workers.len()).any(|worker| self.is_ready(worker)) {
            actions.extend(self.free_place().map(|place| Action::Spawn(place as u8)));
        }
    }

    fn progress_of_worker(&self, config: &Config, place: usize, actions: &mut Vec<Action>) {
        let worker = &self.workers[place];
        let at = place as u8;
        if !worker.up.is_empty() {
            actions.push(Action::Receive(at));
        }
        match worker.life {
            Life::Absent => return,
            Life::Starting => actions.push(Action::BecomeReady(at)),
            Life::Dead { .. } if worker.up.is_empty() => actions.push(Action::IsGone(at)),
            Life::Draining { .. } if self.may_stop(place) => actions.push(Action::Stop(at)),
            Life::Dead { .. } | Life::Ready | Life::Draining { .. } => {}
        }
        for (connection, side) in worker.sides.iter().enumerate() {
            let its = connection as u8;
            let running = side.object.as_ref().and_then(|object| object.running);
            match running {
                Some(running) if is_poisonous(config, connection, running) => {
                    // If the commit before it is lost each time, the event before it is blamed,
                    // and while that is the suspect, the poison itself is a stranger.
                    let all = worker.up.len() as u8;
                    let is_first = running == Running::Message(1) || running == Running::Adopt;
                    let arrives = if is_first { 0..=all } else { all..=all };
                    actions.extend(arrives.map(|arrives| Action::Poisoned(at, arrives)));
                }
                Some(running) => {
                    actions.push(Action::End(at, its));
                    let has_flushed = side.object.as_ref().is_some_and(|its| its.has_flushed);
                    if config.flushes && !has_flushed && matches!(running, Running::Message(_)) {
                        actions.push(Action::Flush(at, its));
                    }
                }
                None => {
                    if side.down.first().is_some_and(|first| is_event(first.frame)) {
                        actions.push(Action::Begin(at, its));
                    }
                }
            }
            if let Some(control) = control_place(&side.down) {
                let is_first = control == 0;
                let may = match side.down[control].frame {
                    Down::Revoke => true,
                    Down::Release => running.is_none(),
                    Down::Gone => is_first && running.is_none(),
                    Down::Cancel => true,
                    Down::Offer | Down::Message(_) | Down::Close(_) | Down::Adopt { .. } => false,
                };
                if may {
                    actions.push(Action::Obey(at, its));
                }
            }
        }
    }

    /// Returns whether it needs a worker.
    fn progress_of_connection(
        &self,
        config: &Config,
        place: usize,
        actions: &mut Vec<Action>,
    ) -> bool {
        let slot = &self.slots[place];
        let at = place as u8;
        let mut ready = (0..self.workers.len()).filter(|worker| self.is_ready(*worker));
        let Some(state) = &slot.state else {
            let is_idle = slot.socket == Socket::Idle;
            if let Some(worker) = ready.next().filter(|_| is_idle) {
                actions.push(Action::Connect(at, worker as u8));
            }
            return is_idle;
        };
        if slot.socket == Socket::Open && state.is_open() && slot.read < config.messages {
            actions.push(Action::ReadMessage(at));
        }
        if slot.socket == Socket::Closing && !state.is_closed() {
            actions.push(Action::EndSocket(at));
        }
        if state.phase() == Phase::Unowned && !state.is_idle() {
            let takers = ready.filter(|worker| self.may_seek(place, *worker));
            actions.extend(takers.map(|worker| Action::Adopt(at, worker as u8)));
            return true;
        }
        let owner = state.owner().filter(|_| state.phase() == Phase::Owned);
        let must_move = owner.is_some_and(|owner| {
            matches!(self.workers[*owner].life, Life::Draining { .. })
                && slot.socket == Socket::Open
                && !state.is_closed()
        });
        if must_move {
            let portable = state.is_portable();
            actions.push(if portable { Action::Release(at) } else { Action::Close1012(at) });
        }
        false
    }

    fn may_stop(&self, worker: usize) -> bool {
        let sides = &self.workers[worker].sides;
        let is_done = sides.iter().all(|side| side.down.is_empty() && side.object.is_none());
        is_done && self.workers[worker].up.is_empty() && self.owned_by(worker).next().is_none()
    }

    fn free_place(&self) -> Option<usize> {
        self.workers.iter().position(|worker| worker.life == Life::Absent)
    }

    /// Whether a reload is under way.
    fn is_reloading(&self) -> bool {
        let is_new = |worker: &Worker| worker.life == Life::Starting && worker.newer;
        let is_old = |worker: &Worker| worker.life == Life::Draining { asleep: false };
        self.workers.iter().any(|worker| is_new(worker) || is_old(worker))
    }

    /// Lets it happen.
    pub fn step(&mut self, config: &Config, action: Action, seen: &mut Vec<Seen>) -> Step {
        let place = usize::from;
        match action {
            Action::Connect(connection, worker) => self.connect(place(connection), place(worker)),
            Action::TimeOut(connection) => {
                self.faults.late_upgrades -= 1;
                self.time_out(place(connection));
            }
            Action::ReadMessage(connection) => self.read_message(config, place(connection))?,
            Action::EndSocket(connection) => self.end_socket(config, place(connection))?,
            Action::ClientCloses(connection) => {
                self.faults.client_closes -= 1;
                self.end_socket(config, place(connection))?;
            }
            Action::Begin(worker, its) => self.begin(place(worker), place(its), seen)?,
            Action::End(worker, its) => self.end(config, place(worker), place(its))?,
            Action::Flush(worker, its) => self.flush(place(worker), place(its))?,
            Action::Refuse(worker, its) => {
                self.faults.refusals -= 1;
                self.refuse(config, place(worker), place(its))?;
            }
            Action::Tick(worker, its) => {
                self.faults.ticks -= 1;
                self.tick(place(worker), place(its))?;
            }
            Action::Obey(worker, its) => self.obey(config, place(worker), place(its), seen)?,
            Action::Receive(worker) => self.receive(config, place(worker), seen)?,
            Action::Release(connection) => self.drain(place(connection))?,
            Action::Close1012(connection) => {
                self.slots[place(connection)].socket = Socket::Closing;
            }
            Action::Rebalance(connection, target) => {
                self.faults.rebalances -= 1;
                self.release(place(connection), Some(place(target)), false)?;
            }
            Action::Revoke(connection) => {
                self.faults.revokes -= 1;
                self.revoke(place(connection))?;
            }
            Action::Adopt(connection, worker) => self.adopt(place(connection), place(worker))?,
            Action::GiveUpWaiting(connection) => {
                self.faults.waits -= 1;
                self.slots[place(connection)].witness.is_lost = true;
                self.time_out(place(connection));
            }
            Action::Spawn(at) => self.workers[place(at)].life = Life::Starting,
            Action::Reload => self.reload(),
            Action::BecomeReady(worker) => self.become_ready(place(worker)),
            Action::Sleep(worker) => {
                self.faults.sleeps -= 1;
                self.workers[place(worker)].life = Life::Draining { asleep: true };
            }
            Action::Stop(worker) => {
                self.workers[place(worker)] = Worker::absent(config.connections);
                self.reload_again();
            }
            Action::Crash(worker, arrives) => {
                self.faults.crashes -= 1;
                self.die(place(worker), place(arrives), true);
            }
            Action::Kill(worker, arrives) => {
                self.faults.kills -= 1;
                self.die(place(worker), place(arrives), false);
            }
            Action::Poisoned(worker, arrives) => {
                self.die(place(worker), place(arrives), true);
            }
            Action::IsGone(worker) => {
                self.is_gone(config, place(worker), seen)?;
                self.reload_again();
            }
            Action::Lapse(worker) => {
                self.faults.lapses -= 1;
                self.lapse(config, place(worker))?;
            }
        }
        self.settle_trials(config)?;
        self.suspects_hold(config, seen)
    }

    fn drain(&mut self, connection: usize) -> Step {
        let owner = self.owner(connection);
        let asleep =
            owner.is_some_and(|owner| self.workers[owner].life == Life::Draining { asleep: true });
        let target = (0..self.workers.len()).find(|worker| self.is_ready(*worker));
        self.release(connection, target.filter(|_| !asleep), asleep)
    }

    fn reload(&mut self) {
        self.faults.reloads -= 1;
        self.again = true;
        self.reload_again();
    }

    /// Begins a reload that was asked for, once no other is under way and there is a place.
    fn reload_again(&mut self) {
        if !self.again || self.is_reloading() {
            return;
        }
        if let Some(place) = self.free_place() {
            self.again = false;
            self.workers[place].life = Life::Starting;
            self.workers[place].newer = true;
        }
    }

    fn become_ready(&mut self, worker: usize) {
        if std::mem::take(&mut self.workers[worker].newer) {
            for other in &mut self.workers {
                match other.life {
                    Life::Ready => other.life = Life::Draining { asleep: false },
                    Life::Starting => other.newer = true,
                    Life::Absent | Life::Draining { .. } | Life::Dead { .. } => {}
                }
            }
        }
        self.workers[worker].life = Life::Ready;
        self.workers[worker].newer = false;
    }

    /// What must hold once nothing happens by itself any more.
    pub fn is_settled(&self, config: &Config) -> Step {
        for (place, slot) in self.slots.iter().enumerate() {
            let witness = &slot.witness;
            let Some(state) = &slot.state else {
                let holds = |worker: &Worker| worker.sides[place].object.is_some();
                demand(slot.socket != Socket::Idle, "a client is never served")?;
                demand(!self.workers.iter().any(holds), "a worker holds what is no more")?;
                let is_over = !witness.is_accepted || witness.close_committed || witness.is_lost;
                demand(is_over, "the close event was never handled")?;
                continue;
            };
            demand(state.is_idle(), "events wait for ever")?;
            match state.phase() {
                Phase::Owned => {}
                Phase::Unowned => continue,
                phase @ (Phase::Offered | Phase::Releasing | Phase::Adopting) => {
                    return Err(Violation(format!("it is {phase:?} for ever")));
                }
            }
            let Some(owner) = self.owner(place) else { continue };
            demand(self.is_ready(owner), "its owner is not there, or drains for ever")?;
            let Some(object) = &self.workers[owner].sides[place].object else {
                return Err(Violation("its owner does not know it".to_string()));
            };
            let kept = state.attachment().map(AppState::of);
            let is_same = !object.has_attached || kept.is_none_or(|kept| kept == object.state);
            demand(is_same, "the attachment is not what its owner attached")?;
        }
        for slot in self.slots.iter().filter(|slot| slot.state.is_some()) {
            let is_served = slot.socket == Socket::Open
                && slot.read == config.messages
                && slot.witness.answers() == config.messages;
            demand(is_served, "an open connection has not got all its answers")?;
        }
        let is_left = |worker: &Worker| !matches!(worker.life, Life::Absent | Life::Ready);
        demand(!self.workers.iter().any(is_left), "a worker never stops")
    }
}

fn is_event(frame: Down) -> bool {
    matches!(frame, Down::Offer | Down::Message(_) | Down::Close(_) | Down::Adopt { .. })
}

fn is_poisonous(config: &Config, connection: usize, running: Running) -> bool {
    match running {
        Running::Message(seq) => config.poison == Some((connection, seq)),
        Running::Adopt => config.poison_adopt == Some(connection),
        Running::Fetch | Running::Close(_) => false,
    }
}
