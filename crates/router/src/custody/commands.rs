//! Does what custody wants done.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use shovel_core::custody::{Command, GiveUpCause, Kept, Loss, Route};
use shovel_protocol::control::{AdoptCause, AdoptHead, Names};
use shovel_protocol::to_worker::RequestBytes;
use shovel_protocol::{Again, Close, ConnectionUuid, LeaseId, ToWorker, WorkerId, WsMessage};

use super::state::{Staged, ThreadCustody};
use crate::clients::client::Handshake;
use crate::clients::pressure::Pressure;
use crate::counts::OfThread;
use crate::driver::FromThread;
use crate::links::link::Link;
use crate::router::Router;

/// How many bytes of channel names an adopting worker is told. Its connection stays subscribed to the
/// others too, but a frame must have a bound.
const CHANNEL_NAMES_BYTES: usize = 256 * 1024;

impl Router {
    pub(super) fn obey(self: &Rc<Self>, command: Command<Staged>) {
        match command {
            Command::HandOver { connection } => {
                self.pump(&mut self.custody.borrow_mut(), connection);
            }
            Command::Release { worker, connection } => self.release(worker, connection),
            Command::Revoke { worker, connection } => {
                tracing::debug!(worker = %worker, "a connection is revoked");
                self.tell(worker, &ToWorker::Revoke { connection });
            }
            Command::Adopt { worker, connection, cause } => self.adopt(worker, connection, cause),
            Command::Act { worker, slot, acts } => {
                let link = self.custody.borrow().worker(worker).map(|its| its.0.clone());
                if let Some(link) = link {
                    self.do_acts(&link, slot, acts.effects());
                }
            }
            Command::Finish { route, why } => {
                if let Some((_, connection)) = self.custody.borrow().on_route(route) {
                    let (code, reason) = shovel_core::custody::farewell(why);
                    connection.client.socket.finish(code, reason);
                }
            }
            Command::GiveUp { route, cause, given_up, worker, was_closed } => {
                self.give_up(route, (cause, given_up), worker, was_closed);
            }
            Command::End { route, loss, worker } => self.end(route, loss, worker),
            Command::CutOff { route, loss } => self.cut_off(route, loss),
            Command::CheckReader { route } => self.look_at_route(route),
            Command::CountReleased { cut } => {
                let how = if cut { OfThread::Revoked } else { OfThread::Released };
                self.measures.tally.add(how, 1);
            }
            Command::CountAdopted { cause } => self.measures.tally.add(adopted_by(cause), 1),
            Command::Drained { worker } => self.news.send(FromThread::Drained { worker }),
            Command::Idle { worker } => self.news.send(FromThread::Idle { worker }),
            Command::WorkWanted => self.news.send(FromThread::WorkWanted),
            Command::Emptied => {
                // Nobody waits, and whoever comes now waits in vain.
                self.queue.end();
                self.news.send(FromThread::Emptied);
            }
            Command::Stuck { worker, connection, is_first } => {
                self.tell_stuck(worker, connection, is_first);
            }
        }
    }

    /// Hands the owner all that has come, as far as it may be begun and there is room on its link.
    pub(crate) fn pump(&self, custody: &mut ThreadCustody, connection: LeaseId) {
        while let Some(next) = custody.next(connection) {
            let again = Again { redelivered: next.redelivered, partial: next.partial };
            let seq = next.seq;
            match next.event {
                Kept::Message(message) => {
                    let (kind, data, bytes) = (message.kind, &message.data[..], message.data.len());
                    let message = WsMessage { connection, seq, again, kind, data };
                    next.worker.send(&ToWorker::Message(message));
                    if next.worker.is_over() {
                        return next.worker.note_over(connection, bytes);
                    }
                }
                Kept::Close(close) => {
                    let close = close.clone();
                    next.worker.send(&ToWorker::Closed { connection, seq, again, close });
                }
            }
        }
    }

    pub(crate) fn tell(&self, worker: WorkerId, frame: &ToWorker<'_>) {
        self.on_link_of(worker, |link| link.send(frame));
    }

    /// Does something with a worker's link, if it has one.
    pub(crate) fn on_link_of(&self, worker: WorkerId, what: impl FnOnce(&Link)) {
        if let Some(link) = self.custody.borrow().worker(worker) {
            what(link);
        }
    }

    fn release(&self, worker: WorkerId, connection: LeaseId) {
        let max_message_bytes = self.settings.get().ws.max_message_bytes;
        if let Some(client) = self.custody.borrow_mut().client_mut(connection) {
            client.pressure.let_go(max_message_bytes);
        }
        self.tell(worker, &ToWorker::Release { connection });
    }

    fn adopt(&self, worker: WorkerId, id: LeaseId, cause: AdoptCause) {
        let mut custody = self.custody.borrow_mut();
        let max_message_bytes = self.settings.get().ws.max_message_bytes;
        let Some(client) = custody.client_mut(id) else { return };
        let pressed = client.socket.is_over();
        client.pressure = Pressure::found(pressed, max_message_bytes);
        let (Some(connection), Some(link)) = (custody.get(id), custody.worker(worker)) else {
            return;
        };
        let client = &connection.client;
        let (Some(Handshake { request, protocol }), Some(attachment)) =
            (client.handshake.as_deref(), connection.attachment())
        else {
            return;
        };
        let channels = self.channels.borrow();
        let names = client.subscriptions.channels().map(|channel| channels.name(channel));
        let mut room = CHANNEL_NAMES_BYTES;
        let names = names.take_while(|name| {
            let left = room.checked_sub(name.len());
            room = left.unwrap_or(0);
            left.is_some()
        });
        let adopt = AdoptHead {
            cause,
            uuid: *client.uuid.0.as_bytes(),
            protocol: protocol.as_deref(),
            committed: connection.committed(),
            pressed,
            version: attachment.version,
            attachment: &attachment.data,
            channels: Names(names.collect()),
        };
        link.send(&ToWorker::Adopt { connection: id, adopt, request: RequestBytes(request) });
    }

    /// Only the close of a connection is left to handle.
    fn give_up(
        &self,
        route: Route,
        (cause, given_up): (GiveUpCause, u64),
        worker: Option<WorkerId>,
        was_closed: bool,
    ) {
        let custody = self.custody.borrow();
        let Some((_, connection)) = custody.on_route(route) else { return };
        let client = &connection.client;
        let (connection, worker_id) = (client.uuid, worker.map(tracing::field::display));
        match cause {
            GiveUpCause::Refused => {
                self.measures.tally.add(OfThread::Refused, 1);
                tracing::warn!(
                    target: "refusals", connection = %connection, worker = worker_id, given_up,
                    "the app refuses to adopt a connection; it is closed"
                );
            }
            GiveUpCause::Poison => self.tell_poison(client.uuid, given_up),
        }
        let loss = cause.loss();
        let close = loss.close();
        client.socket.close_because(close.code, &close.reason, loss.why());
        if !was_closed {
            self.tell_closed(client, worker, &close);
        }
        drop(custody);
        self.leave_channels(route.slot);
    }

    /// Nobody will have the connection any more.
    fn end(&self, route: Route, loss: Loss, worker: Option<WorkerId>) {
        self.leave_channels(route.slot);
        let mut custody = self.custody.borrow_mut();
        let Some((id, connection)) = custody.on_route(route) else { return };
        let (was_closed, given_up) = (connection.is_closed(), connection.uncommitted());
        let Some(client) = custody.remove(id) else { return };
        drop(custody);
        match loss {
            Loss::Poison => self.tell_poison(client.uuid, given_up),
            Loss::PoisonAdopt => {
                self.measures.tally.add(OfThread::Quarantined, 1);
                tracing::error!(
                    connection = %client.uuid, given_up,
                    "workers have died as they adopted a connection; it is closed"
                );
            }
            Loss::NoWorker => tracing::warn!(
                target: "refusals", connection = %client.uuid, given_up,
                "no worker could adopt a connection in time; it is closed"
            ),
            Loss::End if given_up > 0 => tracing::warn!(
                target: "refusals", connection = %client.uuid, given_up,
                "the pool ends before a worker has handled what was read of a connection"
            ),
            Loss::WorkerDied | Loss::Unable | Loss::Refused | Loss::TimeUp(_) | Loss::End => {}
        }
        let close = loss.close();
        client.socket.close_because(close.code, &close.reason, loss.why());
        // Its client may have closed it before, while a worker had still to hear of it.
        if !was_closed {
            self.tell_closed(&client, worker, &close);
        }
    }

    fn tell_poison(&self, connection: ConnectionUuid, given_up: u64) {
        self.measures.tally.add(OfThread::Quarantined, 1);
        tracing::error!(
            connection = %connection, given_up,
            "a message has ended its workers; its connection is closed"
        );
    }

    /// Its worker has not finished in time: its close is the last that the worker hears of it.
    fn cut_off(self: &Rc<Self>, route: Route, loss: Loss) {
        let found = self
            .custody
            .borrow()
            .on_route(route)
            .map(|(id, connection)| (id, connection.client.socket.clone()));
        let Some((id, socket)) = found else { return };
        let close @ Close { code, .. } = &loss.close();
        socket.close_because(*code, &close.reason, loss.why());
        self.leave_channels(route.slot);
        let mut custody = self.custody.borrow_mut();
        if let Some(last) = custody.cut_off(route, close.clone())
            && let Some(link) = custody.worker(last.worker)
        {
            let (connection, seq, close) = (last.connection, last.seq, close.clone());
            let again = Again { redelivered: last.redelivered, partial: last.partial };
            link.send(&ToWorker::Closed { connection, seq, again, close });
        }
        if let Some(connection) = custody.get(id) {
            self.tell_closed(&connection.client, connection.owner(), close);
        }
        custody.remove(id);
    }

    fn tell_stuck(&self, worker: WorkerId, id: LeaseId, is_first: bool) {
        let custody = self.custody.borrow();
        let (Some(connection), Some(link)) = (custody.get(id), custody.worker(worker)) else {
            return;
        };
        if is_first {
            tracing::warn!(
                connection = %connection.client.uuid, worker = %worker,
                "a handler does not let go of its connection"
            );
        }
        let has_requests = link.cell.requests_under_way.load(Ordering::Relaxed) > 0;
        self.news.send(FromThread::Stuck { worker, has_requests });
    }
}

fn adopted_by(cause: AdoptCause) -> OfThread {
    match cause {
        AdoptCause::Reload | AdoptCause::Rebalance => OfThread::AdoptedByReload,
        AdoptCause::Crash => OfThread::AdoptedByCrash,
        AdoptCause::Wake => OfThread::AdoptedByWake,
    }
}
