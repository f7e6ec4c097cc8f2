//! The supervisor's thread around [`Custody`]: does literally what it says, carries frames and
//! sockets' ends to it, and tells the witness. Whatever is refused of a worker that keeps the rules
//! is a fault.

use shovel_core::custody::{
    Arrived, Closing, Event, Kept as Logged, LateUpgrade, Left, OutOfTurn, Route,
};
use shovel_protocol::id::Leased;
use shovel_protocol::limits::{CONNECTION_WINDOW_BYTES, MESSAGE_OVERHEAD_BYTES};
use shovel_protocol::{Close, CloseCode, LeaseId, RequestId, WorkerId};

use crate::frames::{Down, Effect, Marked, ToSupervisor, ToWorker, Up};
use crate::witness::{Holder, Seen, Step, Violation, demand};
use crate::world::{Config, Kept, Life, NOW, Pressure, Socket, World, id_of, place_of};

fn refused(why: OutOfTurn) -> Violation {
    Violation(format!("a frame in its turn is refused: {why}"))
}

pub fn missing(what: &str) -> Violation {
    Violation(what.to_string())
}

fn request_of(connection: u8) -> RequestId {
    RequestId(Leased { slot: connection.into(), lease: 0 })
}

/// So large that this many fill the window.
fn message_bytes(config: &Config) -> usize {
    CONNECTION_WINDOW_BYTES.div_ceil(usize::from(config.window)) - MESSAGE_OVERHEAD_BYTES
}

impl World {
    pub fn route(&self, connection: u8) -> Result<Route, Violation> {
        self.client(connection).route.ok_or_else(|| missing("the connection is no more"))
    }

    fn lease(&self, connection: u8) -> Result<LeaseId, Violation> {
        let found = self.custody.on_route(self.route(connection)?);
        found.map(|(lease, _)| lease).ok_or_else(|| missing("the connection is not in the table"))
    }

    pub fn whose(&self, route: Route) -> Result<u8, Violation> {
        let found = self.custody.on_route(route);
        found
            .map(|(_, its)| its.client.connection)
            .ok_or_else(|| missing("a command is about a connection that is not there"))
    }

    pub fn down(&mut self, worker: WorkerId, connection: u8, lease: LeaseId, frame: Down) {
        if self.worker(worker).is_alive() {
            self.worker(worker).down.push(ToWorker::To { connection, lease, frame });
        }
    }

    pub fn set_socket(&mut self, connection: u8, socket: Socket) {
        self.client_mut(connection).socket = socket;
        let is_open = matches!(socket, Socket::Open | Socket::Leaving);
        if let Ok(lease) = self.lease(connection)
            && let Some(kept) = self.custody.client_mut(lease)
        {
            kept.is_open = is_open;
        }
    }

    pub fn take_out(&mut self, connection: u8) -> Step {
        let lease = self.lease(connection)?;
        demand(self.custody.remove(lease).is_some(), "it could not be taken out")?;
        let client = self.client_mut(connection);
        client.route = None;
        client.socket = Socket::Closed;
        client.is_paused = false;
        client.pressure = Pressure::default();
        client.witness.holder = Holder::Nobody;
        client.witness.given = Default::default();
        Ok(())
    }

    pub fn connect(&mut self, connection: u8) -> Step {
        let Some(worker) = self.custody.pick(NOW) else { return Err(missing("nobody is picked")) };
        demand(self.worker(worker).life != Life::Stopping, "offered to a worker that leaves")?;
        let kept = Kept { connection, is_open: true };
        let request = request_of(connection);
        let lease = self.custody.reserve(kept, worker, request);
        self.custody.begin_request(worker);
        let route = self.custody.route(lease);
        let client = self.client_mut(connection);
        client.route = route;
        client.socket = Socket::Open;
        client.witness.holder = Holder::Offered(place_of(worker) as u8);
        self.down(worker, connection, lease, Down::Request);
        Ok(())
    }

    /// The request is answered otherwise than by an upgrade.
    pub fn withdraw(&mut self, connection: u8, late: LateUpgrade) -> Step {
        let lease = self.lease(connection)?;
        if let Holder::Offered(place) = self.client(connection).witness.holder {
            let worker = id_of(usize::from(place));
            let its = self.worker(worker);
            its.had_company |= matches!(its.life, Life::LinkEnded(_));
            self.custody.answer_request(worker);
            self.custody.end_request(worker);
            if late == LateUpgrade::ClientGone {
                self.down(worker, connection, lease, Down::Cancel);
            }
        }
        let kept = self.custody.withdraw(lease, late);
        demand(kept.is_some(), "an offer could not be withdrawn")?;
        let client = self.client_mut(connection);
        client.route = None;
        client.socket = Socket::Closed;
        client.witness.holder = Holder::Nobody;
        Ok(())
    }

    pub fn read_message(&mut self, config: &Config, connection: u8) -> Step {
        let route = self.route(connection)?;
        let bytes = message_bytes(config);
        self.client_mut(connection).read += 1;
        let message = self.client(connection).read;
        let goes = match self.custody.hand_over(route, bytes) {
            Arrived::Goes(goes) => Some((goes.connection, goes.seq, goes.has_room)),
            Arrived::ToKeep => None,
            Arrived::Dropped => return Err(missing("a message was dropped")),
        };
        if let Some((lease, seq, has_room)) = goes {
            self.client_mut(connection).is_paused = !has_room;
            demand(seq == u64::from(message), "a message has another's number")?;
            let marked = Marked { seq: seq as u8, redelivered: false, partial: false };
            return self.give(config, connection, lease, marked);
        }
        let Some(lease) = self.custody.take_in(route, message, bytes) else {
            return Err(missing("a message was not taken in"));
        };
        self.pump(config, connection, lease)?;
        self.look(route);
        Ok(())
    }

    pub fn look(&mut self, route: Route) {
        let keeps_too_much = self.custody.keeps_too_much(route);
        let Some((_, found)) = self.custody.on_route(route) else { return };
        let (connection, has_room) = (found.client.connection, found.has_room());
        self.client_mut(connection).is_paused = !has_room || keeps_too_much;
    }

    /// Hands an event to its owner.
    fn give(&mut self, config: &Config, connection: u8, lease: LeaseId, marked: Marked) -> Step {
        let owner = self.custody.get(lease).and_then(|found| found.owner());
        let Some(owner) = owner else { return Err(missing("handed over to nobody")) };
        let client = self.client_mut(connection);
        let read = client.read;
        client.witness.is_given(marked, read, config.window)?;
        let is_close = client.witness.close == Some(marked.seq);
        demand(
            client.witness.place() == Some(place_of(owner)),
            "handed to another than its owner",
        )?;
        let frame = if is_close { Down::Close(marked) } else { Down::Message(marked) };
        self.down(owner, connection, lease, frame);
        Ok(())
    }

    /// Hands over what may go.
    pub fn pump(&mut self, config: &Config, connection: u8, lease: LeaseId) -> Step {
        loop {
            let Some(next) = self.custody.next(lease) else { return Ok(()) };
            let (redelivered, partial) = (next.redelivered, next.partial);
            let marked = Marked { seq: next.seq as u8, redelivered, partial };
            let (message, is_close) = match next.event {
                Logged::Message(message) => (*message, false),
                Logged::Close(_) => (marked.seq, true),
            };
            let witness = self.witness(connection);
            demand(message == marked.seq, "a message has another's number")?;
            demand(is_close == (witness.close == Some(marked.seq)), "not the close's number")?;
            self.give(config, connection, lease, marked)?;
        }
    }

    /// The client's socket has ended, whoever closed it.
    pub fn end_socket(&mut self, config: &Config, connection: u8) -> Step {
        if matches!(self.client(connection).witness.holder, Holder::Offered(_)) {
            return self.withdraw(connection, LateUpgrade::ClientGone);
        }
        self.set_socket(connection, Socket::Closed);
        self.close(config, connection)
    }

    pub fn close(&mut self, config: &Config, connection: u8) -> Step {
        let (route, lease) = (self.route(connection)?, self.lease(connection)?);
        let close = Close { code: CloseCode::NORMAL, reason: String::new(), was_clean: false };
        let closing = self.custody.close(route, close);
        let client = self.client_mut(connection);
        if closing != Closing::Nothing {
            demand(client.witness.close.is_none(), "it closes twice")?;
            client.witness.close = Some(client.read + 1);
        }
        match closing {
            Closing::HandOver(seq) => {
                let marked = Marked { seq: seq as u8, redelivered: false, partial: false };
                self.give(config, connection, lease, marked)
            }
            Closing::Kept => self.pump(config, connection, lease),
            Closing::Nothing => Ok(()),
        }
    }

    fn apply(&mut self, config: &Config, connection: u8, effect: Effect) -> Step {
        let client = self.client_mut(connection);
        let is_open = matches!(client.socket, Socket::Open | Socket::Leaving);
        client.witness.sees(effect, is_open)?;
        let is_sent = matches!(effect, Effect::Send { .. } | Effect::Flushed(_)) && is_open;
        let Pressure { is_on, unanswered, was_found } = client.pressure;
        let is_slow = is_sent && is_on && unanswered == 0 && !was_found;
        demand(!is_slow, "a slow client is closed for what was sent before it was known")?;
        match effect {
            Effect::Attach(state) => {
                let slot = self.lease(connection)?.0.slot;
                let found = self.custody.at_mut(slot).ok_or_else(|| missing("it is no more"))?;
                found.attach(state.to_attachment());
            }
            Effect::Close if is_open => {
                let answered = client.witness.answered();
                let is_due = answered == config.app_closes || config.faults.panics > 0;
                self.set_socket(connection, Socket::Closing);
                demand(is_due, "it closes before its answers")?;
            }
            Effect::Close | Effect::Send { .. } | Effect::Flushed(_) => {}
        }
        Ok(())
    }

    /// The next frame of a worker's link.
    pub fn receive(&mut self, config: &Config, place: usize, seen: &mut Vec<Seen>) -> Step {
        let ToSupervisor { connection, lease, frame } = self.workers[place].up.remove(0);
        let worker = id_of(place);
        match frame {
            Up::Upgrade { portable, acts } => {
                self.on_upgrade(config, worker, (connection, lease), (portable, acts), seen)?;
            }
            Up::Staged(effect) => self.stage(worker, connection, lease, effect)?,
            Up::Now { effect, during } => {
                if self.custody.act(lease, worker, during).map_err(refused)? {
                    self.apply(config, connection, effect)?;
                }
            }
            Up::Last(effect) => {
                let is_portable =
                    self.custody.of_owner(lease, worker).is_some_and(|found| found.is_portable());
                if is_portable {
                    self.stage(worker, connection, lease, effect)?;
                } else if self.custody.act(lease, worker, false).map_err(refused)? {
                    self.apply(config, connection, effect)?;
                }
                self.on_commit(config, worker, (connection, lease), (None, false), seen)?;
            }
            Up::Commit { seq, panicked } => {
                self.on_commit(config, worker, (connection, lease), (Some(seq), panicked), seen)?;
            }
            Up::Adopted | Up::Refused => {
                let taken = frame == Up::Adopted;
                if self.custody.adopted(lease, worker, taken, NOW).map_err(refused)? {
                    seen.extend((!taken).then_some(Seen::Refused));
                    self.workers[place].is_proven = true;
                    let witness = self.witness(connection);
                    witness.holder = Holder::Owner(place as u8);
                    witness.adopt_ends();
                    if !taken {
                        witness.discards();
                    }
                }
            }
            Up::Released { handled, started } => {
                let numbers = (u64::from(handled), u64::from(started));
                if self.custody.released(lease, worker, numbers, NOW).map_err(refused)? {
                    self.note_released(connection, place, started)?;
                }
            }
            Up::Pressed => {
                let client = self.client_mut(connection);
                let is_its = client.witness.place() == Some(place);
                if is_its {
                    client.pressure.unanswered = client.pressure.unanswered.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    fn note_released(&mut self, connection: u8, place: usize, started: u8) -> Step {
        let is_ending = self.fleet.is_ending;
        let is_asleep = match is_ending {
            false => self.workers[place].is_sleepy,
            true => self.client(connection).witness.falls_asleep && !self.could_adopt(),
        };
        let client = self.client_mut(connection);
        if matches!(client.witness.holder, Holder::Adopter(_)) && client.witness.adopts_slowly() {
            client.witness.is_given_up = true;
        }
        client.witness.is_released(started);
        client.witness.is_asleep = is_asleep;
        Ok(())
    }

    fn stage(&mut self, worker: WorkerId, connection: u8, lease: LeaseId, effect: Effect) -> Step {
        if let Some(staged) = self.custody.stage(lease, worker).map_err(refused)? {
            staged.push(effect);
            self.witness(connection).stages();
        }
        Ok(())
    }

    fn on_upgrade(
        &mut self,
        config: &Config,
        worker: WorkerId,
        (connection, lease): (u8, LeaseId),
        (portable, acts): (bool, Vec<Effect>),
        seen: &mut Vec<Seen>,
    ) -> Step {
        let request = request_of(connection);
        if self.custody.accept(lease, worker, request, portable).is_none() {
            seen.push(Seen::TooLate);
            self.down(worker, connection, lease, Down::Gone);
            return Ok(());
        }
        self.custody.answer_request(worker);
        self.custody.end_request(worker);
        let witness = self.witness(connection);
        witness.holder = Holder::Owner(place_of(worker) as u8);
        witness.is_accepted = true;
        acts.into_iter().try_for_each(|effect| self.apply(config, connection, effect))
    }

    fn on_commit(
        &mut self,
        config: &Config,
        worker: WorkerId,
        (connection, lease): (u8, LeaseId),
        (seq, panicked): (Option<u8>, bool),
        seen: &mut Vec<Seen>,
    ) -> Step {
        let is_portable = self.custody.get(lease).is_some_and(|found| found.is_portable());
        let committed = self.custody.commit(lease, worker, seq.map(u64::from)).map_err(refused)?;
        let Some(committed) = committed else { return Ok(()) };
        let is_whole = !panicked || committed.acts.is_empty();
        demand(is_whole, "what a handler did happens though it panicked")?;
        if is_portable {
            self.let_out(config, connection, committed.acts)?;
        }
        let done = self.custody.get(lease).map_or(0, |found| found.committed());
        let client = self.client_mut(connection);
        let read = client.read;
        match committed.left {
            Left::Closed => {
                client.witness.ends(read, done)?;
                let is_whole = !client.witness.is_given_up && read == config.messages;
                seen.extend(is_whole.then_some(Seen::Finished));
                return self.take_out(connection);
            }
            Left::Nothing => client.is_paused = false,
            Left::Some { has_room } => client.is_paused &= !has_room,
        }
        client.witness.commits(seq.unwrap_or(done as u8), panicked);
        self.pump(config, connection, lease)
    }

    pub fn let_out(&mut self, config: &Config, connection: u8, acts: Vec<Effect>) -> Step {
        self.witness(connection).lets_out(acts.len())?;
        acts.into_iter().try_for_each(|effect| self.apply(config, connection, effect))
    }

    /// A client reads too slowly, or well again.
    pub fn press(&mut self, connection: u8, over: bool) -> Step {
        let lease = self.lease(connection)?;
        let pressure = &mut self.client_mut(connection).pressure;
        pressure.is_on = over;
        pressure.was_found &= over;
        pressure.unanswered += u8::from(over);
        if let Some(place) = self.client(connection).witness.place() {
            self.down(id_of(place), connection, lease, Down::Pressure { over });
        }
        Ok(())
    }

    /// A worker's process is gone, and its link was read to the end.
    pub fn bury(&mut self, worker: WorkerId, death: shovel_core::custody::Death) {
        self.custody.handle_event(Event::Died { worker, death }, NOW);
    }
}
