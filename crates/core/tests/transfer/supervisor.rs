//! The supervisor around the real connection state: what the router does with its answers, as
//! TRANSFER's table says. Whatever the state refuses of a worker that keeps the rules is a fault.

use shovel_core::transfer::{Blame, Closing, Event, Left, Orphaned, OutOfTurn, Phase};
use shovel_protocol::control::AdoptCause;
use shovel_protocol::limits::{CONNECTION_WINDOW_BYTES, MESSAGE_OVERHEAD_BYTES};
use shovel_protocol::{Close, CloseCode};

use crate::frames::{AppState, Down, Effect, Marked, ToSupervisor, ToWorker, Up};
use crate::witness::{Seen, Step, Violation, demand};
use crate::world::{Config, Connection, Socket, World};

fn refused(why: OutOfTurn) -> Violation {
    Violation(format!("a frame in its turn is refused: {why}"))
}

fn close(code: CloseCode) -> Close {
    Close { code, reason: String::new(), was_clean: false }
}

/// So large that this many fill the window.
fn message_bytes(config: &Config) -> usize {
    CONNECTION_WINDOW_BYTES.div_ceil(usize::from(config.window)) - MESSAGE_OVERHEAD_BYTES
}

impl World {
    pub fn state(&mut self, connection: usize) -> Result<&mut Connection, Violation> {
        let state = self.slots[connection].state.as_mut();
        state.ok_or_else(|| Violation("the connection is no more".to_string()))
    }

    fn down(&mut self, worker: usize, connection: usize, frame: Down) {
        let lease = self.slots[connection].lease;
        if self.workers[worker].is_alive() {
            self.workers[worker].sides[connection].down.push(ToWorker { lease, frame });
        }
    }

    fn free(&mut self, connection: usize) {
        let slot = &mut self.slots[connection];
        slot.state = None;
        slot.lease += 1;
        slot.socket = Socket::Closed;
        slot.target = None;
    }

    pub fn connect(&mut self, connection: usize, worker: usize) {
        self.slots[connection].state = Some(Connection::offered(worker));
        self.slots[connection].socket = Socket::Open;
        self.down(worker, connection, Down::Offer);
    }

    /// The upgrade was not accepted in time.
    pub fn time_out(&mut self, connection: usize) {
        self.free(connection);
    }

    pub fn read_message(&mut self, config: &Config, connection: usize) -> Step {
        let slot = &mut self.slots[connection];
        slot.read += 1;
        let message = slot.read;
        let bytes = message_bytes(config);
        let state = self.state(connection)?;
        if state.is_kept() {
            demand(state.append(message, bytes), "a message was not taken in")?;
            return self.pump(config, connection);
        }
        let Some((seq, _)) = state.hand_over(bytes) else {
            return Err(Violation("a message was not handed over".to_string()));
        };
        demand(seq == u64::from(message), "a message has another's number")?;
        self.give(config, connection, seq as u8, false, false)
    }

    /// Numbers and marks an event, and hands it over.
    fn give(
        &mut self,
        config: &Config,
        connection: usize,
        seq: u8,
        redelivered: bool,
        partial: bool,
    ) -> Step {
        let Some(owner) = self.owner(connection) else {
            return Err(Violation("handed over to nobody".to_string()));
        };
        let marked = Marked { seq, redelivered, partial };
        let witness = &mut self.slots[connection].witness;
        witness.is_given(marked, config.messages, config.window)?;
        let is_close = witness.close == Some(seq);
        let frame = if is_close { Down::Close(marked) } else { Down::Message(marked) };
        self.down(owner, connection, frame);
        Ok(())
    }

    /// Hands over what may go, suspects alone.
    fn pump(&mut self, config: &Config, connection: usize) -> Step {
        if !self.state(connection)?.has_next() {
            return Ok(());
        }
        let owner = self.owner(connection);
        if owner.is_some_and(|owner| !self.may_begin(connection, owner)) {
            return Ok(());
        }
        loop {
            let Some(event) = self.state(connection)?.next() else { return Ok(()) };
            let (seq, redelivered, partial) = (event.seq as u8, event.redelivered, event.partial);
            let (message, is_close) = match event.event {
                Event::Message(message) => (*message, false),
                Event::Close(_) => (seq, true),
            };
            let slot = &self.slots[connection];
            demand(message == seq, "a message has another's number")?;
            demand(is_close == (slot.witness.close == Some(seq)), "not the close's number")?;
            self.give(config, connection, seq, redelivered, partial)?;
        }
    }

    /// After something has ended on a worker: a suspect may have waited for that.
    pub fn pump_all(&mut self, config: &Config, worker: usize) -> Step {
        for connection in 0..self.slots.len() {
            if self.owner(connection) == Some(worker) {
                self.pump(config, connection)?;
            }
        }
        Ok(())
    }

    /// The client's socket has ended, whoever closed it.
    pub fn end_socket(&mut self, config: &Config, connection: usize) -> Step {
        let state = self.state(connection)?;
        if let (Phase::Offered, Some(worker)) = (state.phase(), state.owner().copied()) {
            self.down(worker, connection, Down::Cancel);
            self.free(connection);
            return Ok(());
        }
        let closing = state.append_close(close(CloseCode::NORMAL));
        let slot = &mut self.slots[connection];
        slot.socket = Socket::Closed;
        if closing != Closing::Nothing {
            demand(slot.witness.close.is_none(), "it closes twice")?;
            slot.witness.close = Some(slot.read + 1);
        }
        match closing {
            Closing::HandOver(seq) => self.give(config, connection, seq as u8, false, false),
            Closing::Kept => self.pump(config, connection),
            Closing::Nothing => Ok(()),
        }
    }

    fn apply(&mut self, config: &Config, connection: usize, effect: Effect) -> Step {
        let slot = &mut self.slots[connection];
        slot.witness.sees(effect, slot.socket == Socket::Open)?;
        match effect {
            Effect::Attach(state) => self.state(connection)?.attach(state.to_attachment()),
            Effect::Close if slot.socket == Socket::Open => {
                let answers = slot.witness.answers();
                slot.socket = Socket::Closing;
                demand(answers == config.app_closes, "it closes before its answers")?;
            }
            Effect::Close | Effect::Send { .. } | Effect::Flushed(_) => {}
        }
        Ok(())
    }

    /// The next frame of a worker's link.
    pub fn receive(&mut self, config: &Config, worker: usize, seen: &mut Vec<Seen>) -> Step {
        let ToSupervisor { connection, lease, frame } = self.workers[worker].up.remove(0);
        let slot = &mut self.slots[connection];
        let is_its = slot.lease == lease && self.owner(connection) == Some(worker);
        if let Up::Upgrade { attachment } = frame {
            if !is_its {
                seen.push(Seen::TooLate);
                if self.workers[worker].is_alive() {
                    let gone = ToWorker { lease, frame: Down::Gone };
                    self.workers[worker].sides[connection].down.push(gone);
                }
                return Ok(());
            }
            self.state(connection)?.accept(config.adopts).map_err(refused)?;
            self.slots[connection].witness.is_accepted = true;
            if let Some(attachment) = attachment {
                self.apply(config, connection, Effect::Attach(attachment))?;
            }
            return Ok(());
        }
        if !is_its {
            return Ok(());
        }
        match frame {
            Up::Upgrade { .. } => {}
            Up::Staged(effect) => {
                self.slots[connection].witness.stages();
                self.state(connection)?.staged().map_err(refused)?.push(effect);
            }
            Up::Now { effect, during } => {
                self.state(connection)?.act(during).map_err(refused)?;
                self.apply(config, connection, effect)?;
            }
            Up::Last(effect) => {
                if self.state(connection)?.is_kept() {
                    self.slots[connection].witness.stages();
                    self.state(connection)?.staged().map_err(refused)?.push(effect);
                } else {
                    self.apply(config, connection, effect)?;
                }
                self.on_commit(config, connection, None, seen)?;
            }
            Up::Commit(seq) => self.on_commit(config, connection, Some(seq), seen)?,
            Up::Adopted => {
                let effects = self.state(connection)?.adopted().map_err(refused)?;
                self.slots[connection].witness.adopt_ends();
                self.let_out(config, connection, effects)?;
            }
            Up::Refused => {
                seen.push(Seen::Refused);
                let slot = &self.slots[connection];
                let committed = slot.state.as_ref().map_or(0, Connection::committed);
                let pending = u64::from(slot.read) - committed;
                let was_given_up = slot.witness.is_given_up;
                let dropped =
                    self.state(connection)?.refused(close(CloseCode::RESTART)).map_err(refused)?;
                demand(was_given_up || dropped == pending, "dropped is not what was pending")?;
                self.give_up(connection);
            }
            Up::Released { handled, started } => {
                self.on_released(config, connection, (handled, started), seen)?;
            }
        }
        self.pump_all(config, worker)
    }

    fn let_out(&mut self, config: &Config, connection: usize, effects: Vec<Effect>) -> Step {
        self.slots[connection].witness.lets_out(effects.len())?;
        effects.into_iter().try_for_each(|effect| self.apply(config, connection, effect))
    }

    /// The messages were dropped: only the close is left.
    fn give_up(&mut self, connection: usize) {
        let slot = &mut self.slots[connection];
        slot.socket = Socket::Closed;
        slot.witness.adopt_ends();
        slot.witness.discards();
        slot.witness.is_given_up = true;
        slot.witness.close.get_or_insert(slot.read + 1);
    }

    fn on_commit(
        &mut self,
        config: &Config,
        connection: usize,
        seq: Option<u8>,
        seen: &mut Vec<Seen>,
    ) -> Step {
        let state = self.state(connection)?;
        let committed = match seq {
            Some(seq) => state.commit(u64::from(seq)),
            None => state.commit_next(),
        }
        .map_err(refused)?;
        let done = state.committed();
        self.let_out(config, connection, committed.effects)?;
        let slot = &mut self.slots[connection];
        if committed.left == Left::Closed {
            slot.witness.ends(slot.read, done)?;
            let is_whole = !slot.witness.is_given_up && slot.read == config.messages;
            seen.extend(is_whole.then_some(Seen::Finished));
            self.free(connection);
        } else {
            slot.witness.commits(seq.unwrap_or(done as u8));
        }
        Ok(())
    }

    fn on_released(
        &mut self,
        config: &Config,
        connection: usize,
        (handled, started): (u8, u8),
        seen: &mut Vec<Seen>,
    ) -> Step {
        let state = self.state(connection)?;
        let was_adopting = state.phase() == Phase::Adopting;
        let released = state.released(u64::from(handled), u64::from(started)).map_err(refused)?;
        self.let_out(config, connection, released.effects)?;
        let slot = &mut self.slots[connection];
        slot.witness.is_released(started);
        slot.lease += 1;
        let target = slot.target.take();
        let is_too_often = was_adopting && slot.witness.adopt_fails(Blame::Alone);
        demand(released.hopeless == is_too_often, "not given up at the third adoption")?;
        if released.hopeless {
            seen.push(Seen::Lost);
            slot.witness.is_lost = true;
            self.free(connection);
        } else if let Some(target) = target.filter(|target| self.is_ready(*target)) {
            self.adopt(connection, target)?;
        }
        Ok(())
    }

    pub fn adopt(&mut self, connection: usize, worker: usize) -> Step {
        if !self.may_begin(connection, worker) {
            return Ok(());
        }
        let state = self.state(connection)?;
        demand(state.adopt(worker).is_some(), "adopted while another has it")?;
        let committed = state.committed() as u8;
        let Some(state) = state.attachment().map(AppState::of) else {
            return Err(Violation("adopted without an attachment".to_string()));
        };
        self.down(worker, connection, Down::Adopt { state, committed });
        Ok(())
    }

    /// Asks the owner to give it up.
    pub fn release(&mut self, connection: usize, target: Option<usize>, asleep: bool) -> Step {
        let cause = if asleep { AdoptCause::Wake } else { AdoptCause::Reload };
        let state = self.state(connection)?;
        demand(state.release(cause), "it could not be released")?;
        self.slots[connection].target = target;
        if let Some(owner) = self.owner(connection) {
            self.down(owner, connection, Down::Release);
        }
        Ok(())
    }

    pub fn revoke(&mut self, connection: usize) -> Step {
        demand(self.state(connection)?.revoke(), "it could not be revoked")?;
        if let Some(owner) = self.owner(connection) {
            self.down(owner, connection, Down::Revoke);
        }
        Ok(())
    }

    /// A worker's process has ended, and its link was read to the end.
    pub fn is_gone(&mut self, config: &Config, worker: usize, seen: &mut Vec<Seen>) -> Step {
        let blame = self.blame(worker);
        let owned: Vec<usize> = self.owned_by(worker).collect();
        for connection in owned {
            self.orphan(config, connection, blame, seen)?;
        }
        self.workers[worker] = crate::world::Worker::absent(config.connections);
        Ok(())
    }

    fn orphan(
        &mut self,
        config: &Config,
        connection: usize,
        blame: Blame,
        seen: &mut Vec<Seen>,
    ) -> Step {
        let state = self.state(connection)?;
        let phase = state.phase();
        let is_portable = state.is_portable() && phase != Phase::Offered;
        let orphaned = state.orphan(blame, close(CloseCode::INTERNAL_ERROR));
        let slot = &mut self.slots[connection];
        let is_adopting = phase == Phase::Adopting;
        let is_guilty = slot.witness.loses_owner(blame, is_adopting);
        let is_close = slot.witness.strikes.is_of(slot.witness.close);
        let expected = match orphaned {
            Orphaned::Unowned => is_portable && !is_guilty,
            Orphaned::Quarantined { .. } => is_portable && is_guilty && !is_adopting && !is_close,
            Orphaned::Lost => !is_portable || (is_guilty && (is_adopting || is_close)),
        };
        demand(expected, &format!("{orphaned:?} is not what its deaths lead to"))?;
        let poisonous = [config.poison.map(|(place, _)| place), config.poison_adopt];
        let is_innocent = !poisonous.contains(&Some(connection));
        let is_only_poison = config.faults.crashes == 0 && config.faults.revokes == 0;
        let is_harmed = is_guilty && is_innocent && is_only_poison;
        demand(!is_harmed, "a neighbour of the poison is given up")?;
        match orphaned {
            Orphaned::Unowned => {}
            Orphaned::Quarantined { .. } => {
                seen.push(Seen::Quarantined);
                self.give_up(connection);
            }
            Orphaned::Lost => {
                slot.witness.is_lost = true;
                seen.push(Seen::Lost);
                self.free(connection);
                return Ok(());
            }
        }
        let slot = &mut self.slots[connection];
        slot.lease += 1;
        slot.target = None;
        Ok(())
    }
}
