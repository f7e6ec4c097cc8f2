//! Whether what custody does to a connection, or leaves undone, follows from what truly happened.

use shovel_core::custody::{Death, Loss, Route};
use shovel_core::fleet::DrainReason;

use crate::witness::{Holder, Seen, Step, demand};
use crate::world::{Client, Config, Life, Socket, Worker, World, place_of};

impl World {
    /// The messages were dropped: only the close is left.
    pub(super) fn give_up(
        &mut self,
        config: &Config,
        route: Route,
        loss: Loss,
        given_up: u64,
        was_closed: bool,
        seen: &mut Vec<Seen>,
    ) -> Step {
        let connection = self.custody.on_route(route).map(|(_, its)| its.client.connection);
        let Some(connection) = connection else { return demand(false, "given up and gone") };
        self.judge_loss(config, connection, loss, seen)?;
        let client = self.client_mut(connection);
        let witness = &mut client.witness;
        demand(was_closed == witness.close.is_some(), "it is not said whether it had closed")?;
        let pending =
            if witness.is_given_up { 0 } else { client.read - witness.done.min(client.read) };
        demand(given_up == u64::from(pending), "what is given up is not what was pending")?;
        client.socket = Socket::Closed;
        witness.is_given_up(client.read);
        if let Some((lease, _)) = self.custody.on_route(route)
            && let Some(kept) = self.custody.client_mut(lease)
        {
            kept.is_open = false;
        }
        Ok(())
    }

    pub(super) fn judge_loss(
        &mut self,
        config: &Config,
        connection: u8,
        loss: Loss,
        seen: &mut Vec<Seen>,
    ) -> Step {
        match loss {
            // What dies of our own kill when the pool ends is told of the end.
            Loss::WorkerDied | Loss::TimeUp(DrainReason::Terminate) => {
                let is_told_of_end = loss != Loss::WorkerDied;
                demand(!is_told_of_end || self.fleet.is_ending, "the pool does not end")?;
                seen.push(Seen::Lost);
                let witness = self.witness(connection);
                let could_stay = witness.is_accepted && witness.attached.is_some() && config.adopts;
                demand(!could_stay, "a connection dies with its worker that could go on")
            }
            Loss::NoWorker => {
                seen.push(Seen::NoWorker);
                let is_refused = std::mem::take(&mut self.witness(connection).is_given_up);
                demand(is_refused || !self.could_adopt(), "nobody is asked to take it over")
            }
            Loss::Unable => {
                seen.push(Seen::Lost);
                demand(!self.could_adopt(), "those who serve could take it over")
            }
            Loss::Refused => demand(
                self.faults.refusals < config.faults.refusals,
                "it is given up though nobody refused it",
            ),
            Loss::Poison => {
                seen.push(Seen::Quarantined);
                let head = self.witness(connection).is_convicted(false)?;
                self.judge_culprit(config, connection, head)
            }
            Loss::PoisonAdopt => {
                seen.push(Seen::Lost);
                self.witness(connection).is_convicted(true)?;
                self.judge_culprit(config, connection, 0)
            }
            Loss::TimeUp(DrainReason::Reload | DrainReason::Recycle | DrainReason::Sleep) => {
                demand(false, "it was in time")
            }
            Loss::End => {
                seen.push(Seen::EndUnheard);
                demand(self.fleet.is_ending, "the pool does not end")?;
                let (read, is_asleep) = {
                    let client = self.client(connection);
                    (client.read, client.witness.is_asleep)
                };
                let witness = self.witness(connection);
                let has_all = witness.done >= read && witness.close.is_none();
                let nobody_comes = self.fleet.has_ended_waits && !self.could_adopt();
                demand((is_asleep && has_all) || nobody_comes, "the end loses what was read")
            }
        }
    }

    /// Nothing else ends workers than the poison, or somebody outside who cannot convict.
    fn judge_culprit(&self, config: &Config, connection: u8, head: u8) -> Step {
        let faults = config.faults;
        let is_open = faults.crashes > 0 || faults.hangs > 0 || faults.outside > 2;
        let is_program = config.poison_program && head == 0;
        let is_poison = match head {
            0 => config.poison_adopt == Some(connection),
            seq => config.poison == Some((connection, seq)),
        };
        demand(is_open || is_poison || is_program, "an innocent is convicted")
    }

    /// Somebody who serves is there and could take a connection over.
    pub(super) fn could_adopt(&self) -> bool {
        self.fleet.offered.iter().any(|worker| {
            let its = &self.workers[place_of(*worker)];
            // Nobody else is asked of one that has not answered its first adoption.
            let is_asked = |client: &Client| {
                client.witness.place() == Some(place_of(*worker)) && client.witness.is_under_way()
            };
            let may_be_asked = its.is_proven || !self.clients.iter().any(is_asked);
            its.adopts && may_be_asked && matches!(its.life, Life::Ready | Life::Draining(_))
        })
    }

    /// A worker is about to be buried: everything that it had counts against what was first.
    pub(super) fn judge_death(&mut self, place: usize, death: Death) {
        let is_its = |client: &Client| client.witness.place() == Some(place);
        let count = |world: &World| {
            let its = world.clients.iter().filter(|client| is_its(client));
            its.filter(|client| client.witness.is_under_way()).count()
        };
        let is_alone = count(self) <= 1 && !self.workers[place].had_company;
        for client in &mut self.clients {
            if is_its(client) {
                client.witness.loses_owner(death, is_alone);
            }
        }
    }

    /// What must hold in every state.
    pub(super) fn holds(&mut self, config: &Config, seen: &mut Vec<Seen>) -> Step {
        for connection in 0..config.connections {
            let client = self.client_mut(connection);
            client.witness.has_been_judged()?;
            let Some(route) = client.route else { continue };
            let place = client.witness.place();
            let Some((_, found)) = self.custody.on_route(route) else {
                return demand(false, "it is not in the table");
            };
            let owner = found.owner().map(place_of);
            demand(owner == place, "another has it than was told to")?;
        }
        let is_moving = |client: &&Client| {
            let is_adopted = matches!(client.witness.holder, Holder::Adopter(_));
            client.route.is_some() && (is_adopted || client.witness.is_leaving)
        };
        let moving = self.clients.iter().filter(is_moving).count() as u32;
        let is_slow = self.faults.times < config.faults.times || config.waits_for.is_some();
        demand(moving <= config.moves || is_slow, "too many move at once")?;
        for place in 0..self.workers.len() {
            self.suspect_is_alone(config, place, seen)?;
        }
        Ok(())
    }

    fn suspect_is_alone(&self, config: &Config, place: usize, seen: &mut Vec<Seen>) -> Step {
        let its = self.clients.iter().filter(|client| client.witness.place() == Some(place));
        let is_suspect = its.clone().any(|client| client.witness.is_suspect());
        if !is_suspect {
            return Ok(());
        }
        // Upgrades may come at any time, and connections that end with their worker are not held up.
        let is_counted = |holder| matches!(holder, Holder::Owner(_) | Holder::Adopter(_));
        let under_way =
            its.filter(|client| is_counted(client.witness.holder) && client.witness.is_under_way());
        let is_alone = under_way.count() == 1 || !config.adopts;
        seen.push(if is_alone { Seen::Tried } else { Seen::SuspectInCompany });
        let has_lapsed = self.faults.times < config.faults.times || config.waits_for.is_some();
        demand(is_alone || has_lapsed, "a suspect is not alone with its worker")
    }

    /// What must hold once nothing happens by itself any more.
    pub fn is_settled(&self, config: &Config, seen: &mut Vec<Seen>) -> Step {
        for (connection, client) in self.clients.iter().enumerate() {
            let witness = &client.witness;
            if client.route.is_none() {
                let holds = |worker: &Worker| {
                    worker.objects.iter().any(|its| usize::from(its.connection) == connection)
                };
                let is_served =
                    client.socket != Socket::Idle || self.fleet.is_ending || config.barren;
                demand(is_served, "a client is never served")?;
                demand(!self.workers.iter().any(holds), "a worker holds what is no more")?;
                let is_over = !witness.is_accepted || witness.close_committed || witness.is_lost;
                demand(is_over, "the close event was never handled")?;
                continue;
            }
            demand(!self.fleet.is_ending, "a connection outlives the pool")?;
            self.is_served(config, connection as u8)?;
        }
        let is_left = |worker: &Worker| match worker.life {
            Life::Absent => false,
            Life::Ready => self.fleet.is_ending,
            Life::Starting
            | Life::Draining(_)
            | Life::Stopping
            | Life::Dead(_)
            | Life::LinkEnded(_) => true,
        };
        seen.extend(self.fleet.is_ending.then_some(Seen::Ended));
        demand(!self.fleet.is_needed, "it is never said that nobody is needed")?;
        demand(!self.workers.iter().any(is_left), "a worker never stops")
    }

    /// A connection that has settled is open, all its messages are answered, and its owner knows it.
    fn is_served(&self, config: &Config, connection: u8) -> Step {
        let client = self.client(connection);
        let is_answered = client.read == config.messages
            && client.witness.has_answered(config.messages)
            && client.socket == Socket::Open;
        demand(is_answered, "an open connection has not got all its answers")?;
        let found = client.route.and_then(|route| self.custody.on_route(route));
        let Some((_, found)) = found else { return demand(false, "it is not in the table") };
        demand(found.is_idle(), "events wait for ever")?;
        match client.witness.holder {
            Holder::Nobody => Ok(()),
            Holder::Offered(_) => demand(false, "it is offered for ever"),
            Holder::Adopter(_) => demand(false, "it is adopted for ever"),
            Holder::Owner(place) => {
                let worker = &self.workers[usize::from(place)];
                demand(worker.life == Life::Ready, "its owner drains for ever")?;
                let object = worker.objects.iter().find(|its| its.connection == connection);
                let Some(object) = object else {
                    return demand(false, "its owner does not know it");
                };
                let kept = client.witness.attached;
                let is_same = kept.is_none_or(|kept| kept == object.app);
                demand(is_same, "the attachment is not what its owner attached")
            }
        }
    }
}
