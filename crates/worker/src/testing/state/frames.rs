//! What workers say.

use shovel_core::transfer::OutOfTurn;
use shovel_protocol::control::UpgradeHead;
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::{
    Act, Close, CloseCode, LeaseId, RequestId, ToSupervisor, ToWorker, WorkerId,
};

use super::State;
use super::clients::{Client, Handshake};
use super::worker::Life;
use crate::testing::exchange::{Chunk, Offered, read_headers};

impl State {
    /// Takes in a frame. What is about a request or connection that has ended, or that its sender
    /// has lost, is dropped: it may have been under way.
    pub(in crate::testing) fn handle(
        &mut self,
        worker: WorkerId,
        frame: ToSupervisor<'_>,
    ) -> Result<(), OutOfTurn> {
        match frame {
            ToSupervisor::Ready(greeting) => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.life = Life::Ready;
                    worker.adopts = greeting.capabilities.contains(Capabilities::ADOPT);
                }
            }
            ToSupervisor::Response { request, head, end } => {
                self.with(request, |exchange| exchange.respond(&head, end));
            }
            ToSupervisor::ResponseBody { request, data, end } => {
                self.with(request, |exchange| exchange.take_body(data, end));
            }
            ToSupervisor::ResponseEnd { request, trailers } => {
                let trailers = Chunk::Trailers(read_headers(&trailers));
                self.with(request, |exchange| exchange.end(trailers));
            }
            ToSupervisor::Abort { request } => {
                self.with(request, |exchange| exchange.end(Chunk::CutOff));
            }
            ToSupervisor::Credit { request, bytes } => {
                self.with(request, |exchange| exchange.credit.add_permits(bytes as usize));
            }
            ToSupervisor::Upgrade { connection, upgrade, keep, effects } => {
                self.upgrade(worker, connection, &upgrade, keep, effects);
            }
            ToSupervisor::Released { connection, handled, started } => {
                self.released(worker, connection, handled, started)?;
            }
            ToSupervisor::Adopted { connection, taken } => {
                self.adopted(worker, connection, taken)?;
            }
            ToSupervisor::Publish { token, channel, kind, data } => {
                self.publish(Some(worker), token, channel, kind, data);
            }
            ToSupervisor::Subscribe { channel } => {
                self.subscribe_worker(worker, channel, true);
            }
            ToSupervisor::Unsubscribe { channel } => {
                self.subscribe_worker(worker, channel, false);
            }
            // Neither pinged nor pressed; and the end of the link follows the last one.
            ToSupervisor::Pong { .. }
            | ToSupervisor::Pressed { .. }
            | ToSupervisor::ShutdownComplete => {}
            ToSupervisor::Commit { connection, seq } => {
                self.commit(worker, connection, Some(seq))?;
            }
            ToSupervisor::Act(Act { connection, when, effect, last }) => {
                self.effect(worker, connection, when, &effect)?;
                if last {
                    self.commit(worker, connection, None)?;
                }
            }
        }
        Ok(())
    }

    fn upgrade(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
        upgrade: &UpgradeHead<'_>,
        keep: bool,
        effects: Effects<'_>,
    ) {
        let exchange = self.exchanges.get_mut(&RequestId::from_wire(upgrade.request));
        let offered = exchange.and_then(|exchange| exchange.upgrade(worker, connection, upgrade));
        let Some(Offered { uuid, request, .. }) = offered else {
            let reason = "client went away before the upgrade".to_owned();
            let close = Close { code: CloseCode::ABNORMAL, reason, was_clean: false };
            return self.tell(worker, &ToWorker::Gone { connection, close });
        };
        let keep = keep && self.workers.get(&worker).is_some_and(|worker| worker.adopts);
        let (slot, lease) = (connection.0.slot, connection.0.lease);
        let protocol = upgrade.protocol.map(str::to_owned);
        let mut client = Client::new(worker, lease, Handshake { uuid, request, protocol });
        // Cannot fail: it is new.
        let _ = client.state.accept(keep);
        self.clients.insert(slot, client);
        // Read once already, when the frame was.
        effects.flatten().for_each(|effect| self.take_effect(slot, &effect));
        if self.workers.get(&worker).is_some_and(|worker| worker.leaving.is_some()) {
            self.leave(slot);
        }
    }
}
