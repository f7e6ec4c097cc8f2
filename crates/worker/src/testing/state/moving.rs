//! How connections leave one worker and come to another, and what is left of a dead one's.
//!
//! What may be done is decided by `core::transfer`, as in the supervisor; this does it, without
//! sockets and one at a time.

use shovel_core::transfer::{Blame, Event, Orphaned, OutOfTurn, Phase, Released};
use shovel_protocol::control::{AdoptCause, AdoptHead, Names};
use shovel_protocol::to_worker::RequestBytes;
use shovel_protocol::{Again, Close, CloseCode, LeaseId, ToWorker, WorkerId, WsMessage};

use super::State;
use super::worker::Leaving;

/// What a worker was asked about a connection, and must answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::testing) struct Question {
    connection: LeaseId,
    asked: Phase,
}

impl State {
    /// The worker that all go on with from now on. Returns the one before.
    pub(in crate::testing) fn offer(&mut self, next: WorkerId) -> Option<WorkerId> {
        self.is_replacing = false;
        let before = self.serving.replace(next);
        self.slots_where(|client| client.state.phase() == Phase::Unowned)
            .into_iter()
            .for_each(|slot| self.find_owner(slot));
        before
    }

    /// The worker is to give up what it has; the other one is offered already.
    pub(in crate::testing) fn drain(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.leaving = Some(Leaving::Draining);
        }
        self.slots_where(|client| client.owner() == Some(id))
            .into_iter()
            .for_each(|slot| self.leave(slot));
    }

    /// The worker that serves is about to die, and another will take its place.
    pub(in crate::testing) fn lose_worker(&mut self) {
        self.is_replacing = true;
        self.serving = None;
    }

    /// None takes its place after all.
    pub(in crate::testing) fn give_up(&mut self) {
        self.is_replacing = false;
    }

    /// Whether each connection is with a worker, or over.
    pub(in crate::testing) fn are_all_settled(&self) -> Option<()> {
        self.clients.values().all(|client| client.is_settled()).then_some(())
    }

    /// Asks the owner to give a connection up, or closes it if it cannot move.
    pub(super) fn leave(&mut self, slot: u32) {
        let adopts = self.serving_worker().is_some_and(|worker| worker.adopts);
        let Some(client) = self.clients.get_mut(&slot) else { return };
        // One that is not owned is looked at again when it is.
        if client.state.phase() != Phase::Owned || client.closed.is_some() {
            return;
        }
        if adopts && client.state.release(AdoptCause::Reload) {
            let connection = client.id(slot);
            self.ask(Question { connection, asked: Phase::Releasing });
            self.tell_owner(slot, &ToWorker::Release { connection });
        } else {
            let (code, reason) = (CloseCode::RESTART, "server reloading".to_owned());
            self.close(slot, Close { code, reason, was_clean: true });
        }
    }

    /// The worker has given a connection up.
    pub(super) fn released(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
        handled: u64,
        started: u64,
    ) -> Result<(), OutOfTurn> {
        let Some(client) = self.of_owner(worker, connection) else { return Ok(()) };
        let Released { owner: _, effects, hopeless } = client.state.released(handled, started)?;
        client.lease += 1;
        let slot = connection.0.slot;
        self.take_effects(slot, &effects);
        match hopeless {
            true => self.lose(
                slot,
                CloseCode::INTERNAL_ERROR,
                "no worker could take the connection over",
            ),
            false => self.find_owner(slot),
        }
        Ok(())
    }

    /// Has the worker that serves take a connection over that nobody has.
    pub(super) fn find_owner(&mut self, slot: u32) {
        let Some(next) = self.serving else { return };
        let adopts = self.serving_worker().is_some_and(|worker| worker.adopts);
        let may_carry = self.may_carry(slot, next);
        let Some(client) = self.clients.get_mut(&slot) else { return };
        if client.is_over() || client.state.phase() != Phase::Unowned {
            return;
        }
        if !adopts {
            return self.lose(slot, CloseCode::RESTART, "server reloading");
        }
        if client.state.suspect().is_some() && !may_carry {
            self.waiting_suspects.insert(slot);
            return;
        }
        let Some(cause) = client.state.adopt(next) else { return };
        let connection = client.id(slot);
        let Some(attachment) = client.state.attachment() else { return };
        let adopt = AdoptHead {
            cause,
            uuid: client.handshake.uuid,
            protocol: client.handshake.protocol.as_deref(),
            committed: client.state.committed(),
            pressed: false,
            version: attachment.version,
            attachment: &attachment.data,
            channels: Names(client.subscriptions.iter().map(|channel| &**channel).collect()),
        };
        let request = RequestBytes(&client.handshake.request);
        if let Some(worker) = self.workers.get_mut(&next) {
            worker.tell(&ToWorker::Adopt { connection, adopt, request });
        }
        self.ask(Question { connection, asked: Phase::Adopting });
    }

    /// The worker has taken a connection over, or refuses it.
    pub(super) fn adopted(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
        taken: bool,
    ) -> Result<(), OutOfTurn> {
        let Some(client) = self.of_owner(worker, connection) else { return Ok(()) };
        let slot = connection.0.slot;
        if taken {
            let effects = client.state.adopted()?;
            self.take_effects(slot, &effects);
        } else {
            let (code, reason) = (CloseCode::RESTART, "server reloading");
            client.state.refused(Close { code, reason: reason.to_owned(), was_clean: false })?;
            client.note_close(code.0, reason);
        }
        self.pump(slot);
        if self.workers.get(&worker).is_some_and(|worker| worker.leaving.is_some()) {
            self.leave(slot);
        }
        Ok(())
    }

    /// Whoever has not answered by now is to do so at once.
    pub(in crate::testing) fn hurry(&mut self, question: Question) {
        let Question { connection, .. } = question;
        if self.is_answered(question).is_none()
            && let Some(client) = self.clients.get_mut(&connection.0.slot)
            && client.state.revoke()
        {
            self.tell_owner(connection.0.slot, &ToWorker::Revoke { connection });
        }
    }

    /// Whether the worker that was asked has answered, or has ended.
    pub(in crate::testing) fn is_answered(&self, question: Question) -> Option<()> {
        let Question { connection, asked } = question;
        let slot = connection.0.slot;
        let is_open = self.clients.get(&slot).is_some_and(|client| {
            client.id(slot) == connection && client.state.phase() == asked && !client.is_over()
        });
        (!is_open).then_some(())
    }

    /// The worker has died, and all that it said has been read.
    pub(super) fn orphan_all(&mut self, id: WorkerId) {
        let slots = self.slots_where(|client| client.owner() == Some(id));
        let under_way = slots.iter().filter(|slot| self.clients[slot].state.is_under_way()).count();
        let blame = if under_way > 1 { Blame::InCompany } else { Blame::Alone };
        for slot in slots {
            self.orphan(slot, blame);
            self.find_owner(slot);
        }
    }

    fn orphan(&mut self, slot: u32, blame: Blame) {
        let Some(client) = self.clients.get_mut(&slot) else { return };
        let (code, reason) = (CloseCode::INTERNAL_ERROR, "worker lost");
        let close = Close { code, reason: reason.to_owned(), was_clean: false };
        client.lease += 1;
        match client.state.orphan(blame, close) {
            Orphaned::Unowned => {}
            Orphaned::Quarantined { .. } => client.note_close(code.0, reason),
            Orphaned::Lost => self.lose(slot, code, reason),
        }
    }

    /// Ends a connection that nobody has. Its close event is not delivered.
    fn lose(&mut self, slot: u32, code: CloseCode, reason: &str) {
        if let Some(client) = self.clients.get_mut(&slot) {
            client.is_lost = true;
            client.note_close(code.0, reason);
        }
    }

    /// Hands the owner all that has come.
    pub(super) fn pump(&mut self, slot: u32) {
        let Some(client) = self.clients.get(&slot) else { return };
        let Some(owner) = client.owner() else { return };
        if client.state.suspect().is_some() && !self.may_carry(slot, owner) {
            self.waiting_suspects.insert(slot);
            return;
        }
        let client = self.clients.get_mut(&slot);
        let (Some(client), Some(worker)) = (client, self.workers.get_mut(&owner)) else { return };
        let connection = client.id(slot);
        while let Some(next) = client.state.next() {
            let again = Again { redelivered: next.redelivered, partial: next.partial };
            let seq = next.seq;
            match next.event {
                Event::Message(message) => {
                    let (kind, data) = (message.kind(), message.as_bytes());
                    worker.tell(&ToWorker::Message(WsMessage {
                        connection,
                        seq,
                        again,
                        kind,
                        data,
                    }));
                }
                Event::Close(close) => {
                    let close = close.clone();
                    worker.tell(&ToWorker::Closed { connection, seq, again, close });
                }
            }
        }
    }

    /// Looks again at what waits until a worker has no other suspect.
    pub(super) fn retry_suspects(&mut self) {
        for slot in std::mem::take(&mut self.waiting_suspects) {
            self.find_owner(slot);
            self.pump(slot);
        }
    }

    /// Whether a worker has no suspect but, perhaps, this connection.
    fn may_carry(&self, slot: u32, worker: WorkerId) -> bool {
        !self.clients.iter().any(|(other, client)| {
            *other != slot && client.owner() == Some(worker) && client.state.carries_suspect()
        })
    }

    fn ask(&mut self, question: Question) {
        self.questions.push(question);
    }
}
