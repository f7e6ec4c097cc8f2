//! What may happen next, and what comes of it.

use std::time::Duration;

use shovel_core::custody::{Death, Event, LateUpgrade};
use shovel_core::fleet::DrainReason;
use shovel_core::tenure::Outcome;

use crate::sdk::{Object, Running};
use crate::witness::{Holder, Seen, Step, Violation, demand};
use crate::world::{Config, Life, NOW, Socket, World, id_of};

/// One thing that happens. Fields are a connection, or a worker and what it has, or how much of a
/// link arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Until something is due.
    TimePasses,
    /// The same, though other things could happen before.
    TimeIsUp,
    Connect(u8),
    TimeOut(u8),
    ReadMessage(u8),
    EndSocket(u8),
    /// The client goes by itself.
    ClientCloses(u8),
    Press(u8),
    Relieve(u8),
    Hear(u8),
    End(u8, u8),
    Flush(u8, u8),
    Refuse(u8, u8),
    Panic(u8, u8),
    Tick(u8, u8),
    /// The handler is dropped because it was revoked.
    Drop(u8, u8),
    Receive(u8),
    Spawn,
    Reload,
    Recycle(u8),
    BecomeReady(u8),
    Look(u8),
    Terminate,
    EndWaits,
    TimeUp(u8),
    Stop(u8),
    Crash(u8, u8),
    Kill(u8, u8),
    KillOutside(u8, u8),
    Block(u8),
    /// It hangs, and is ended for it.
    KillHanging(u8),
    /// It does not give a connection up, and is ended for it.
    KillStuck(u8),
    /// What it runs kills it.
    Poisoned(u8, u8),
    LinkEnds(u8),
    IsGone(u8),
}

impl World {
    /// What happens by itself. Empty when everything has settled but for time.
    pub fn progress(&self, config: &Config, actions: &mut Vec<Action>) {
        for place in 0..self.workers.len() {
            self.progress_of_worker(config, place, actions);
        }
        for connection in 0..config.connections {
            self.progress_of_client(config, connection, actions);
        }
        if self.needs_worker(config) && self.free_place().is_some() {
            actions.push(Action::Spawn);
        }
        if self.may_end_waits(config) {
            actions.push(Action::EndWaits);
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
            Life::Dead(_) if worker.up.is_empty() => actions.push(Action::LinkEnds(at)),
            Life::LinkEnded(_) => actions.push(Action::IsGone(at)),
            Life::Stopping if self.may_stop(place) => actions.push(Action::Stop(at)),
            Life::Ready | Life::Draining(_) | Life::Stopping | Life::Dead(_) => {}
        }
        if worker.is_blocked {
            actions.push(Action::KillHanging(at));
            if worker.is_stuck {
                actions.push(Action::KillStuck(at));
            }
            return;
        }
        if !worker.down.is_empty() {
            actions.push(Action::Hear(at));
        }
        for (its, object) in worker.objects.iter().enumerate() {
            self.progress_of_handler(config, (at, its as u8), object, actions);
        }
    }

    fn progress_of_handler(
        &self,
        config: &Config,
        (at, its): (u8, u8),
        object: &Object,
        actions: &mut Vec<Action>,
    ) {
        let Some(running) = object.running else { return };
        let worker = &self.workers[usize::from(at)];
        if object.tenure.is_revoked() {
            actions.push(Action::Drop(at, its));
        }
        if is_poisonous(config, worker.is_poisonous, object.connection, running) {
            actions.extend((0..=worker.up.len() as u8).map(|much| Action::Poisoned(at, much)));
            return;
        }
        if self.waits(config, object) {
            return;
        }
        actions.push(Action::End(at, its));
        let may_flush = config.flushes && config.adopts && !object.has_flushed;
        if may_flush && matches!(running, Running::Message(_)) {
            actions.push(Action::Flush(at, its));
        }
    }

    /// Whether a handler waits for its client, or for another handler.
    fn waits(&self, config: &Config, object: &Object) -> bool {
        let waits_for = config.waits_for.filter(|(who, _)| {
            object.connection == who.0 && object.running == Some(Running::Message(who.1))
        });
        let is_due = waits_for.is_none_or(|(_, (connection, seq))| {
            self.client(connection).witness.done >= seq || self.client(connection).route.is_none()
        });
        !is_due || object.must_wait()
    }

    fn progress_of_client(&self, config: &Config, connection: u8, actions: &mut Vec<Action>) {
        let client = self.client(connection);
        let found = client.route.and_then(|route| self.custody.on_route(route));
        let Some((_, found)) = found else {
            // One after another, so that each has its place.
            let is_next = (0..connection).all(|before| self.client(before).socket != Socket::Idle);
            let is_idle = client.socket == Socket::Idle && !self.fleet.is_ending;
            if is_idle && is_next && !self.custody.nobody_takes_work() {
                actions.push(Action::Connect(connection));
            }
            return;
        };
        let may_read = client.socket == Socket::Open
            && found.has_room()
            && !client.is_paused
            && client.read < config.messages;
        if may_read {
            actions.push(Action::ReadMessage(connection));
        }
        let is_ending = match client.socket {
            Socket::Leaving => found.uncommitted() == 0,
            Socket::Closing => true,
            Socket::Idle | Socket::Open | Socket::Closed => false,
        };
        if is_ending && !found.is_closed() && found.is_accepted() {
            actions.push(Action::EndSocket(connection));
        }
        if client.pressure.is_on {
            actions.push(Action::Relieve(connection));
        }
    }

    /// Lets it happen.
    pub fn step(&mut self, config: &Config, action: Action, seen: &mut Vec<Seen>) -> Step {
        let place = usize::from;
        match action {
            Action::TimePasses => self.pass_time(config, seen)?,
            Action::TimeIsUp => {
                self.faults.times -= 1;
                self.pass_time(config, seen)?;
            }
            Action::Connect(connection) => self.connect(connection)?,
            Action::TimeOut(connection) => {
                self.faults.late_upgrades -= 1;
                self.withdraw(connection, LateUpgrade::TimedOut)?;
            }
            Action::ReadMessage(connection) => self.read_message(config, connection)?,
            Action::EndSocket(connection) => self.end_socket(config, connection)?,
            Action::ClientCloses(connection) => {
                self.faults.client_closes -= 1;
                self.end_socket(config, connection)?;
            }
            Action::Press(connection) => {
                self.faults.presses -= 1;
                self.press(connection, true)?;
            }
            Action::Relieve(connection) => self.press(connection, false)?,
            Action::Hear(worker) => self.hear(config, place(worker), seen)?,
            Action::End(worker, its) => {
                self.end(config, place(worker), place(its), Outcome::Done, seen)?;
            }
            Action::Flush(worker, its) => self.flush(place(worker), place(its))?,
            Action::Refuse(worker, its) => {
                self.faults.refusals -= 1;
                self.end(config, place(worker), place(its), Outcome::Failed, seen)?;
            }
            Action::Panic(worker, its) => {
                self.faults.panics -= 1;
                self.end(config, place(worker), place(its), Outcome::Panicked, seen)?;
            }
            Action::Tick(worker, its) => {
                self.faults.ticks -= 1;
                self.tick(place(worker), place(its))?;
            }
            Action::Drop(worker, its) => {
                self.drop_handler(config, place(worker), place(its), seen)?;
            }
            Action::Receive(worker) => self.receive(config, place(worker), seen)?,
            Action::Spawn
            | Action::EndWaits
            | Action::Reload
            | Action::Recycle(_)
            | Action::BecomeReady(_)
            | Action::Look(_)
            | Action::Terminate
            | Action::TimeUp(_)
            | Action::Stop(_)
            | Action::Crash(..)
            | Action::Kill(..)
            | Action::KillOutside(..)
            | Action::Block(_)
            | Action::KillHanging(_)
            | Action::KillStuck(_)
            | Action::Poisoned(..)
            | Action::LinkEnds(_)
            | Action::IsGone(_) => self.step_of_fleet(config, action)?,
        }
        self.drain_commands(config, seen)?;
        self.holds(config, seen)
    }

    fn step_of_fleet(&mut self, config: &Config, action: Action) -> Step {
        let place = usize::from;
        match action {
            Action::Spawn => self.start(config),
            Action::EndWaits => self.end_waits(),
            Action::Reload => self.reload(config),
            Action::Recycle(worker) => {
                self.faults.recycles -= 1;
                self.drain(place(worker), DrainReason::Recycle);
            }
            Action::BecomeReady(worker) => self.become_ready(config, place(worker)),
            Action::Look(worker) => {
                self.faults.sleeps -= 1;
                let (worker, activity) = (id_of(place(worker)), 0);
                self.custody.handle_event(Event::ActivityTold { worker, activity }, NOW);
            }
            Action::Terminate => self.terminate(),
            Action::TimeUp(worker) => {
                self.faults.time_ups -= 1;
                for connection in 0..config.connections {
                    let holder = self.client(connection).witness.holder;
                    if holder == Holder::Offered(worker) {
                        self.withdraw(connection, LateUpgrade::ClientGone)?;
                    }
                }
                self.custody.handle_event(Event::TimeUp { worker: id_of(place(worker)) }, NOW);
            }
            Action::Stop(worker) => self.is_gone(config, place(worker), Death::Ours)?,
            Action::Crash(worker, arrives) => {
                self.faults.crashes -= 1;
                self.die(place(worker), place(arrives), Death::Fault);
            }
            Action::Kill(worker, arrives) => {
                self.faults.kills -= 1;
                self.die(place(worker), place(arrives), Death::Ours);
            }
            Action::KillOutside(worker, arrives) => {
                self.faults.outside -= 1;
                self.die(place(worker), place(arrives), Death::Killed);
            }
            Action::Block(worker) => {
                self.faults.hangs -= 1;
                self.workers[place(worker)].is_blocked = true;
            }
            Action::KillHanging(worker) => {
                let all = self.workers[place(worker)].up.len();
                self.die(place(worker), all, Death::Hang);
            }
            Action::KillStuck(worker) => {
                let all = self.workers[place(worker)].up.len();
                self.die(place(worker), all, Death::Ours);
            }
            Action::Poisoned(worker, arrives) => {
                self.die(place(worker), place(arrives), config.poison_death);
            }
            Action::LinkEnds(worker) => {
                let its = &mut self.workers[place(worker)];
                if let Life::Dead(death) = its.life {
                    its.life = Life::LinkEnded(death);
                }
                self.custody.handle_event(Event::LinkEnded { worker: id_of(place(worker)) }, NOW);
            }
            Action::IsGone(worker) => {
                if let Life::LinkEnded(death) = self.workers[place(worker)].life {
                    self.is_gone(config, place(worker), death)?;
                }
            }
            other => return Err(Violation(format!("not the fleet's: {other:?}"))),
        }
        Ok(())
    }

    /// Until something is due that is not just another look at what others do.
    fn pass_time(&mut self, config: &Config, seen: &mut Vec<Seen>) -> Step {
        let due = self.custody.poll_deadline().map(|at| at - NOW);
        let was_wanted = self.needs_worker(config);
        let mut passed = Duration::ZERO;
        for _ in 0..10_000 {
            let Some(at) = self.custody.poll_timeout() else { return Ok(()) };
            let now = at.max(NOW);
            self.custody.handle_timeout(now);
            self.custody.rebase(now, NOW);
            passed += now - NOW;
            let has_done = self.drain_commands(config, seen)?;
            let is_due = due.is_none_or(|due| passed >= due);
            let is_wanted = self.needs_worker(config) && !was_wanted;
            if has_done || is_due || is_wanted {
                return Ok(());
            }
        }
        demand(false, "time does not pass")
    }
}

pub fn is_poisonous(config: &Config, of_worker: bool, connection: u8, running: Running) -> bool {
    match running {
        Running::Message(seq) => config.poison == Some((connection, seq)),
        Running::Adopt => of_worker || config.poison_adopt == Some(connection),
        Running::Fetch | Running::Close(_) | Running::Release { .. } => false,
    }
}
