//! What workers say.

use shovel_core::custody::{LoneCell, OutOfTurn};
use shovel_protocol::control::UpgradeHead;
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::{LeaseId, RequestId, ToSupervisor, ToWorker, WorkerId};

use super::State;
use super::acts::Subscriber;
use crate::testing::exchange::{Chunk, read_headers};
use crate::testing::workers::Life;

impl State {
    /// Takes in a frame. What is about a request or connection that has ended, or that its sender
    /// has lost, is dropped: it may have been under way.
    pub(in crate::testing) fn handle(
        &mut self,
        id: WorkerId,
        frame: ToSupervisor<'_>,
    ) -> Result<(), OutOfTurn> {
        match frame {
            ToSupervisor::Ready(greeting) => {
                let adopts = greeting.capabilities.contains(Capabilities::ADOPT);
                self.custody.join(id, LoneCell::new(adopts), self.now);
                self.workers.set_life(id, Life::Ready);
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
            ToSupervisor::Upgrade { connection, upgrade, portable, effects } => {
                self.upgrade(id, connection, &upgrade, portable, effects);
            }
            ToSupervisor::Released { connection, handled, started } => {
                self.custody.released(connection, id, (handled, started), self.now)?;
            }
            ToSupervisor::Adopted { connection, taken } => {
                self.custody.adopted(connection, id, taken, self.now)?;
            }
            ToSupervisor::Publish { token, channel, kind, data } => {
                self.publish(Some((id, token)), channel, kind, data);
            }
            ToSupervisor::Subscribe { channel } => {
                self.subscribe(Subscriber::Worker(id), channel, true);
            }
            ToSupervisor::Unsubscribe { channel } => {
                self.subscribe(Subscriber::Worker(id), channel, false);
            }
            ToSupervisor::Ask { connection, ask } => self.ask(id, connection, ask)?,
            // Nobody is pinged, whatever comes in spite of pressure is taken, and the end of the link follows the last one.
            ToSupervisor::Pong { .. }
            | ToSupervisor::Pressed { .. }
            | ToSupervisor::ShutdownComplete => {}
            ToSupervisor::Commit { connection, seq } => self.commit(id, connection, Some(seq))?,
            ToSupervisor::Act(act) => self.act(id, &act)?,
        }
        self.settle();
        Ok(())
    }

    fn upgrade(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
        head: &UpgradeHead<'_>,
        portable: bool,
        effects: Effects<'_>,
    ) {
        let request = RequestId::from_wire(head.request);
        let portable = portable && self.custody.worker(worker).is_some_and(|cell| cell.adopts);
        let Some(route) = self.custody.accept(connection, worker, request, portable) else {
            let close = self.custody.late_upgrade(connection).close();
            return self.workers.tell(worker, &ToWorker::Gone { connection, close });
        };
        if let Some(client) = self.client(route) {
            client.protocol = head.protocol.map(str::to_owned);
        }
        self.with(request, |exchange| exchange.upgrade(route, head));
        // Read once already, when the frame was.
        effects.flatten().for_each(|effect| self.do_one(route, &effect));
    }
}
