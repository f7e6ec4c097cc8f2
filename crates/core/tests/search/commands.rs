//! Does literally what custody says is to be done.

use shovel_core::custody::{Command, Loss, Route};
use shovel_core::fleet::DrainReason;
use shovel_protocol::{LeaseId, WorkerId};

use crate::frames::{AppState, Down, Effect, Marked};
use crate::thread::missing;
use crate::witness::{Holder, Seen, Step, Violation, demand};
use crate::world::{Config, Life, NOW, Pressure, Socket, World, place_of};

/// So often something may be due at one moment.
const PATIENCE: u32 = 5;

impl World {
    /// Does all that has become to be done. Returns whether that was anything but to ask for a
    /// worker.
    pub fn drain_commands(
        &mut self,
        config: &Config,
        seen: &mut Vec<Seen>,
    ) -> Result<bool, Violation> {
        let mut has_done = false;
        let mut due = 0;
        loop {
            if self.custody.is_unsettled() {
                self.custody.handle_timeout(NOW);
            }
            while let Some(command) = self.custody.poll_command() {
                has_done |= command != Command::WorkWanted;
                self.execute(config, command, seen)?;
                if self.custody.is_unsettled() {
                    self.custody.handle_timeout(NOW);
                }
            }
            let is_due = self.custody.poll_timeout().is_some_and(|at| at <= NOW);
            if is_due {
                demand(due < PATIENCE, "something is due for ever")?;
                due += 1;
                self.custody.handle_timeout(NOW);
            } else if !self.tell_offered() {
                return Ok(has_done);
            }
        }
    }

    fn execute(
        &mut self,
        config: &Config,
        command: Command<Vec<Effect>>,
        seen: &mut Vec<Seen>,
    ) -> Step {
        match command {
            Command::HandOver { connection: lease } => {
                let Some(found) = self.custody.get(lease) else { return Ok(()) };
                let connection = found.client.connection;
                self.pump(config, connection, lease)
            }
            Command::Release { worker, connection: lease } => {
                self.ask(worker, lease, Down::Release)
            }
            Command::Revoke { worker, connection: lease } => self.ask(worker, lease, Down::Revoke),
            Command::Adopt { worker, connection: lease, .. } => self.adopt(worker, lease),
            Command::Act { slot, acts, .. } => {
                let Some(found) = self.custody.at(slot) else {
                    return demand(acts.is_empty(), "what a handler did is for nobody");
                };
                let connection = found.client.connection;
                self.let_out(config, connection, acts)
            }
            Command::Finish { route, .. } => {
                // It may have been cut off just before.
                let Ok(connection) = self.whose(route) else { return Ok(()) };
                if self.client(connection).socket == Socket::Open {
                    self.set_socket(connection, Socket::Leaving);
                }
                Ok(())
            }
            Command::GiveUp { route, cause, given_up, was_closed, .. } => {
                self.give_up(config, route, cause.loss(), given_up, was_closed, seen)
            }
            Command::End { route, loss, .. } => {
                let connection = self.whose(route)?;
                self.judge_loss(config, connection, loss, seen)?;
                self.witness(connection).is_lost = true;
                self.take_out(connection)
            }
            Command::CutOff { route, loss } => {
                let connection = self.whose(route)?;
                demand(matches!(loss, Loss::TimeUp(_)), "it is cut off in time")?;
                seen.push(Seen::CutOff);
                self.cut_off(route, connection)?;
                self.witness(connection).is_lost = true;
                self.take_out(connection)
            }
            Command::CheckReader { route } => {
                self.look(route);
                Ok(())
            }
            Command::CountReleased { .. } | Command::CountAdopted { .. } => Ok(()),
            Command::Drained { worker } => self.on_drained(worker),
            Command::Idle { worker } => {
                seen.push(Seen::Asleep);
                self.on_idle(worker);
                Ok(())
            }
            Command::WorkWanted => {
                self.fleet.is_wanted = true;
                Ok(())
            }
            Command::Emptied => self.on_emptied(),
            Command::Stuck { worker, .. } => {
                seen.push(Seen::Stuck);
                let its = self.worker(worker);
                its.is_stuck |= matches!(its.life, Life::Draining(_));
                Ok(())
            }
        }
    }

    fn cut_off(&mut self, route: Route, connection: u8) -> Step {
        let close = Loss::TimeUp(DrainReason::Reload).close();
        let read = self.client(connection).read;
        self.witness(connection).close.get_or_insert(read + 1);
        let Some(last) = self.custody.cut_off(route, close) else { return Ok(()) };
        let place = self.client(connection).witness.place();
        demand(place == Some(place_of(last.worker)), "another is told of its end than its owner")?;
        demand(
            Some(last.seq as u8) == self.client(connection).witness.close,
            "not the close's number",
        )?;
        let (redelivered, partial) = (last.redelivered, last.partial);
        let marked = Marked { seq: last.seq as u8, redelivered, partial };
        self.down(last.worker, connection, last.connection, Down::Close(marked));
        Ok(())
    }

    fn ask(&mut self, worker: WorkerId, lease: LeaseId, frame: Down) -> Step {
        let Some(found) = self.custody.get(lease) else {
            return Err(missing("a worker is asked for what is no more"));
        };
        let connection = found.client.connection;
        let place = self.client(connection).witness.place();
        demand(place == Some(place_of(worker)), "asked of another than its owner")?;
        if frame == Down::Release {
            let falls_asleep = self.worker(worker).is_sleepy;
            let witness = self.witness(connection);
            (witness.is_leaving, witness.falls_asleep) = (true, falls_asleep);
        }
        self.down(worker, connection, lease, frame);
        Ok(())
    }

    fn adopt(&mut self, worker: WorkerId, lease: LeaseId) -> Step {
        let Some(found) = self.custody.get(lease) else {
            return Err(missing("adopted though it is no more"));
        };
        let (connection, committed) = (found.client.connection, found.committed() as u8);
        let Some(state) = found.attachment().map(AppState::of) else {
            return Err(missing("adopted without an attachment"));
        };
        let place = place_of(worker);
        let is_its = |client: &&crate::world::Client| matches!(client.witness.holder, Holder::Adopter(at) if usize::from(at) == place);
        let is_asked = self.clients.iter().any(|client| is_its(&client));
        let its = &self.workers[place];
        let is_first = its.is_proven || !is_asked;
        demand(is_first, "a second adoption is asked for before the first is answered")?;
        demand(its.adopts, "adopted by a worker that cannot")?;
        demand(its.life != Life::Stopping, "adopted by a worker that was told to leave")?;
        let client = self.client_mut(connection);
        let is_free = client.witness.holder == Holder::Nobody;
        demand(is_free, "adopted while another has it")?;
        client.witness.holder = Holder::Adopter(place as u8);
        client.witness.is_asleep = false;
        let pressed = client.pressure.is_on;
        client.pressure = Pressure { is_on: pressed, unanswered: 0, was_found: pressed };
        self.down(worker, connection, lease, Down::Adopt { state, committed, pressed });
        Ok(())
    }
}
