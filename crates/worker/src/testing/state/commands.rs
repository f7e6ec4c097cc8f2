//! What custody wants done: done at once, in order.

use shovel_core::custody::{Command, Event, Kept, Moment, NextEvent};
use shovel_protocol::control::{AdoptCause, AdoptHead, Names};
use shovel_protocol::to_worker::RequestBytes;
use shovel_protocol::{Again, LeaseId, ToWorker, WorkerId, WsMessage};

use super::State;
use super::acts::Subscriber;
use crate::testing::workers::Life;

impl State {
    /// Something has happened, and what follows from it is done.
    pub(in crate::testing) fn take_in(&mut self, event: Event) {
        self.custody.handle_event(event, self.now);
        self.settle();
    }

    /// Does all that follows from what has changed, and what is due.
    pub(in crate::testing) fn settle(&mut self) {
        loop {
            if self.next_due().is_some_and(|at| at <= self.now) {
                self.custody.handle_timeout(self.now);
            }
            let Some(command) = self.custody.poll_command() else { return };
            self.carry_out(command);
        }
    }

    /// When there is something to do again, if nothing happens before.
    pub(in crate::testing) fn next_due(&self) -> Option<Moment> {
        self.custody.poll_timeout()
    }

    fn carry_out(&mut self, command: Command<Vec<u8>>) {
        match command {
            Command::HandOver { connection } => self.pump(connection),
            Command::Release { worker, connection } => {
                self.workers.tell(worker, &ToWorker::Release { connection });
            }
            Command::Revoke { worker, connection } => {
                self.workers.tell(worker, &ToWorker::Revoke { connection });
            }
            Command::Adopt { worker, connection, cause } => self.adopt(worker, connection, cause),
            Command::Act { worker: _, slot, acts } => {
                if let Some(route) = self.custody.route_at(slot) {
                    self.do_all(route, &acts);
                }
            }
            Command::Finish { route, why } => {
                if let Some(client) = self.client(route) {
                    client.farewell = Some(why);
                }
                self.finish_if_idle(route);
            }
            Command::GiveUp { route, cause, .. } => {
                self.note_close(route, &cause.loss().close());
            }
            Command::End { route, loss, worker: _ } => {
                self.note_close(route, &loss.close());
                self.take_out(route);
            }
            Command::CutOff { route, loss } => {
                self.close(route, loss.close());
                self.take_out(route);
            }
            Command::Drained { worker } => {
                self.workers.set_life(worker, Life::Stopping);
                self.workers.tell(worker, &ToWorker::Shutdown);
            }
            // Clients are read at all times, and nothing is counted.
            Command::CheckReader { .. }
            | Command::CountReleased { .. }
            | Command::CountAdopted { .. }
            // The test alone starts and ends workers.
            | Command::Idle { .. }
            | Command::WorkWanted
            | Command::Emptied
            | Command::Stuck { .. } => {}
        }
    }

    /// Hands the owner of a connection what it may be given.
    pub(super) fn pump(&mut self, connection: LeaseId) {
        let owner = self.custody.get(connection).and_then(|found| found.owner());
        let Some(owner) = owner else { return };
        while let Some(next) = self.custody.next(connection) {
            let NextEvent { seq, event, redelivered, partial, .. } = next;
            let again = Again { redelivered, partial };
            match event {
                Kept::Message(message) => {
                    let (kind, data) = (message.kind(), message.as_bytes());
                    let message = WsMessage { connection, seq, again, kind, data };
                    self.workers.tell(owner, &ToWorker::Message(message));
                }
                Kept::Close(close) => {
                    let close = close.clone();
                    self.workers.tell(owner, &ToWorker::Closed { connection, seq, again, close });
                }
            }
        }
    }

    fn adopt(&mut self, worker: WorkerId, connection: LeaseId, cause: AdoptCause) {
        let Some(subscriber) = self.custody.route(connection).map(Subscriber::Client) else {
            return;
        };
        let subscribed = self.subscriptions.iter().filter(|(_, its)| its.contains(&subscriber));
        if let Some(client) = self.custody.client_mut(connection) {
            client.outbox.asked = None;
        }
        let Some(found) = self.custody.get(connection) else { return };
        let (Some(attachment), client) = (found.attachment(), &found.client) else { return };
        let adopt = AdoptHead {
            cause,
            uuid: client.uuid,
            protocol: client.protocol.as_deref(),
            committed: found.committed(),
            pressed: client.outbox.is_over,
            version: attachment.version,
            attachment: &attachment.data,
            channels: Names(subscribed.map(|(channel, _)| &**channel).collect()),
        };
        let request = RequestBytes(&client.request);
        self.workers.tell(worker, &ToWorker::Adopt { connection, adopt, request });
    }
}
