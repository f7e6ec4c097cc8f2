//! How a connection leaves one worker and comes to another, and what is left of a dead one's.
//!
//! What may be done is decided by `core::transfer`; this does it. A connection's lease is renewed
//! wherever its owner is taken away, in the same turn.

use std::rc::Rc;

use shovel_core::fleet::DrainReason;
use shovel_core::transfer::{Blame, Event, Orphaned, Phase, Released};
use shovel_edge::Backend;
use shovel_protocol::control::{AdoptCause, AdoptHead, Names};
use shovel_protocol::head::Kind;
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::to_worker::RequestBytes;
use shovel_protocol::{Again, BadFrame, Close, CloseCode, LeaseId, ToWorker, WsMessage};

use super::counts::OfThread;
use super::drain::farewell;
use super::frames::{accepted, out_of_turn, stranger};
use super::link::{Holding, Link};
use super::moves;
use super::offer::Adopter;
use super::pressure::Pressure;
use super::registry::{Connection, Registry, Route};
use super::router::Router;

/// The adopting worker is told of so many subscriptions, by the bytes of their names: they hold
/// without it, and all that a frame tells has a bound.
const CHANNEL_NAMES_BYTES: usize = 256 * 1024;

impl Router {
    /// Hands the owner all that has come.
    pub(super) fn pump(&self, registry: &mut Registry, id: LeaseId) {
        let route = registry.route(id);
        let (Some(route), Some(connection)) = (route, registry.get_mut(id)) else { return };
        if !connection.state.has_next() {
            return;
        }
        let Some(link) = connection.link().cloned() else { return };
        if !self.may_begin(connection, (id, route), &link) {
            return;
        }
        while let Some(next) = connection.state.next() {
            let again = Again { redelivered: next.redelivered, partial: next.partial };
            let (connection, seq) = (id, next.seq);
            match next.event {
                Event::Message(message) => {
                    let (kind, data) = (message.kind, &message.data[..]);
                    link.send(&ToWorker::Message(WsMessage { connection, seq, again, kind, data }));
                }
                Event::Close(close) => {
                    let close = close.clone();
                    link.send(&ToWorker::Closed { connection, seq, again, close });
                }
            }
        }
        self.settle(&link, connection);
    }

    /// Takes a connection from a draining worker: at its turn, and as it is then.
    pub(super) fn leave(&self, route: Route) {
        self.moves.leave(route);
    }

    /// Asks the worker of a connection to give it up, or closes it if it cannot move.
    pub(super) fn leave_now(self: &Rc<Self>, route: Route) {
        let mut registry = self.registry.borrow_mut();
        let Some((id, connection)) = registry.on_route(route) else { return };
        let Some(link) = connection.link().cloned() else { return };
        // One that is not owned is looked at again when it is.
        let (Some(why), Phase::Owned) = (link.draining(), connection.state.phase()) else { return };
        // When the pool ends there is nobody to move to.
        let why = if self.offer.has_ended() { DrainReason::Terminate } else { why };
        let cause = match why {
            DrainReason::Reload | DrainReason::Recycle => AdoptCause::Reload,
            DrainReason::Sleep => AdoptCause::Wake,
            DrainReason::Terminate => return connection.say_farewell(why),
        };
        let can_move = !matches!(self.offer.adopter(None), Adopter::Unable);
        if connection.socket.is_open() && !(can_move && connection.state.release(cause)) {
            // One that came when its worker was already falling asleep keeps it awake.
            return match why {
                DrainReason::Sleep => {}
                why => connection.say_farewell(why),
            };
        }
        if connection.state.phase() != Phase::Releasing {
            return;
        }
        self.settle(&link, connection);
        link.send(&ToWorker::Release { connection: id });
        connection.ticket = Some(self.moves.ticket());
        self.expect_answer(self.settings.get().handler_timeout, route, id, Phase::Releasing);
    }

    /// The worker has given a connection up.
    pub(super) fn on_released(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: LeaseId,
        handled: u64,
        started: u64,
    ) -> Result<(), BadFrame> {
        let mut registry = self.registry.borrow_mut();
        let Some(route) = registry.route(id) else {
            stranger(link, Kind::WsReleased);
            return Ok(());
        };
        let Some(connection) = accepted(&mut registry, id, link, Kind::WsReleased)? else {
            return Ok(());
        };
        let released = connection.state.released(handled, started);
        let released = released.map_err(|why| out_of_turn(Kind::WsReleased, why))?;
        let Released { owner, effects, hopeless } = released;
        self.settle(link, connection);
        let how = if started > handled { OfThread::Revoked } else { OfThread::Released };
        self.measures.tally.add(how, 1);
        registry.renew(route.slot);
        drop(registry);
        self.do_effects(link, route.slot, Effects::new(&effects));
        let sleeps = link.draining() == Some(DrainReason::Sleep) && !self.offer.has_ended();
        if hopeless {
            self.lose(route, CloseCode::INTERNAL_ERROR, "no worker could take the connection over");
        } else if sleeps && self.is_idle(route) {
            self.let_sleep(route);
        } else {
            self.find_owner(route);
        }
        // What held its client back may have been the worker that it left.
        self.look_at_route(route);
        drop(owner);
        Ok(())
    }

    /// Has a worker take a connection over that nobody owns, or puts it back into the queue.
    pub(super) fn find_owner(self: &Rc<Self>, route: Route) {
        let mut registry = self.registry.borrow_mut();
        let Some((id, connection)) = registry.on_route(route) else { return };
        connection.asked = false;
        if connection.state.phase() != Phase::Unowned {
            return;
        }
        let on_trial = connection.trial.as_ref().map(|trial| trial.link().clone());
        let link = match self.offer.adopter(on_trial.as_ref()) {
            Adopter::Ready(link) => link,
            Adopter::Unable => {
                drop(registry);
                return self.lose(route, CloseCode::RESTART, "server reloading");
            }
            Adopter::None => {
                connection.ticket = None;
                drop(registry);
                if self.offer.has_ended() {
                    let (code, why) = farewell(DrainReason::Terminate);
                    return self.lose(route, code, why);
                }
                return self.seek(route);
            }
        };
        connection.trial.take_if(|trial| !Rc::ptr_eq(trial.link(), &link));
        if !self.may_begin(connection, (id, route), &link) {
            connection.ticket = None;
            connection.asked = true;
            return;
        }
        self.want_help(&link);
        self.adopt(connection, id, route, &link);
    }

    /// Nobody owns the connection until there is something to handle.
    fn let_sleep(&self, route: Route) {
        if let Some((_, connection)) = self.registry.borrow_mut().on_route(route) {
            connection.ticket = None;
        }
    }

    /// Puts a connection into the queue of those that need a worker.
    pub(super) fn seek(&self, route: Route) {
        let mut registry = self.registry.borrow_mut();
        let Some((id, connection)) = registry.on_route(route) else { return };
        if connection.state.phase() == Phase::Unowned && !connection.asked {
            connection.asked = true;
            self.moves.seek(route);
            self.moves.set_deadline(self.settings.get().owner_wait, route, id, moves::Kind::Owner);
        }
    }

    fn adopt(&self, connection: &mut Connection, id: LeaseId, route: Route, link: &Rc<Link>) {
        let Some(cause) = connection.state.adopt(Holding::new(link)) else { return };
        self.settle(link, connection);
        let pressed = connection.socket.is_over();
        let max_message_bytes = self.settings.get().ws.max_message_bytes;
        connection.pressure = Pressure::found(pressed, max_message_bytes);
        let channels = self.channels.borrow();
        let names = connection.subscriptions.channels().map(|channel| channels.name(channel));
        let mut room = CHANNEL_NAMES_BYTES;
        let names = names.take_while(|name| {
            let left = room.checked_sub(name.len());
            room = left.unwrap_or(0);
            left.is_some()
        });
        let (Some(handshake), Some(attachment)) =
            (&connection.handshake, connection.state.attachment())
        else {
            return;
        };
        let adopt = AdoptHead {
            cause,
            uuid: *connection.uuid.0.as_bytes(),
            protocol: handshake.protocol.as_deref(),
            committed: connection.state.committed(),
            pressed,
            version: attachment.version,
            attachment: &attachment.data,
            channels: Names(names.collect()),
        };
        let request = RequestBytes(&handshake.request);
        link.send(&ToWorker::Adopt { connection: id, adopt, request });
        if connection.ticket.is_none() {
            connection.ticket = Some(self.moves.ticket());
        }
        self.expect_answer(self.settings.get().adopt_timeout, route, id, Phase::Adopting);
    }

    /// The worker has taken a connection over, or refuses it.
    pub(super) fn on_adopted(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: LeaseId,
        taken: bool,
    ) -> Result<(), BadFrame> {
        let mut registry = self.registry.borrow_mut();
        let route = registry.route(id);
        let Some(connection) = accepted(&mut registry, id, link, Kind::WsAdopted)? else {
            return Ok(());
        };
        let Some(route) = route else { return Ok(()) };
        let bad = |why| out_of_turn(Kind::WsAdopted, why);
        if taken {
            let cause = connection.state.cause();
            let effects = connection.state.adopted().map_err(bad)?;
            if let Some(cause) = cause {
                self.measures.tally.add(adopted_by(cause), 1);
            }
            connection.ticket = None;
            drop(registry);
            self.do_effects(link, route.slot, Effects::new(&effects));
        } else {
            let (code, reason) = (CloseCode::RESTART, "server reloading");
            let close = Close { code, reason: reason.to_owned(), was_clean: false };
            let was_closed = connection.state.is_closed();
            let dropped = connection.state.refused(close.clone()).map_err(bad)?;
            self.measures.tally.add(OfThread::Refused, 1);
            connection.ticket = None;
            tracing::warn!(
                connection = %connection.uuid, worker = %link.worker, dropped,
                "the worker refuses to take a connection over; it is closed"
            );
            connection.socket.close_because(code, reason, "no worker takes it over");
            if !was_closed {
                self.tell_closed(connection, &close);
            }
            self.channels.borrow_mut().unsubscribe_all(route.slot, &mut *registry);
            drop(registry);
        }
        let mut registry = self.registry.borrow_mut();
        self.make_way(&mut registry, link, id);
        self.pump(&mut registry, id);
        drop(registry);
        self.look_at_route(route);
        if link.draining().is_some() {
            self.leave(route);
        }
        Ok(())
    }

    /// The worker of a connection is dead and its link read to the end.
    pub(super) fn orphan(self: &Rc<Self>, route: Route, blame: Blame) {
        self.share_channels_of(route.slot);
        let (code, reason) = (CloseCode::INTERNAL_ERROR, "worker lost");
        let close = Close { code, reason: reason.to_owned(), was_clean: false };
        let mut registry = self.registry.borrow_mut();
        let Some((id, connection)) = registry.on_route(route) else { return };
        connection.ticket = None;
        (connection.doing, connection.trial) = (None, None);
        let was_closed = connection.state.is_closed();
        match connection.state.orphan(blame, close.clone()) {
            Orphaned::Unowned => {
                registry.renew(route.slot);
            }
            Orphaned::Quarantined { dropped } => {
                self.measures.tally.add(OfThread::Quarantined, 1);
                tracing::error!(
                    connection = %connection.uuid, dropped,
                    "a message has ended three workers; its connection is closed"
                );
                connection.socket.close_because(
                    code,
                    reason,
                    "a message of it ended three workers",
                );
                if !was_closed {
                    self.tell_closed(connection, &close);
                }
                registry.renew(route.slot);
                self.channels.borrow_mut().unsubscribe_all(route.slot, &mut *registry);
            }
            Orphaned::Lost => {
                self.channels.borrow_mut().unsubscribe_all(route.slot, &mut *registry);
                if let Some(connection) = registry.remove(id) {
                    connection.socket.close_because(code, reason, "its worker died");
                    // Its client may have closed it before, while the worker had still to hear of it.
                    if connection.request.is_none() && !was_closed {
                        self.tell_closed(&connection, &close);
                    }
                }
                return;
            }
        }
        drop(registry);
        self.seek(route);
        self.look_at_route(route);
    }

    /// Ends a connection that nobody owns. Its close event is not delivered.
    pub(super) fn lose(&self, route: Route, code: CloseCode, reason: &'static str) {
        self.share_channels_of(route.slot);
        let mut registry = self.registry.borrow_mut();
        let Some((id, _)) = registry.on_route(route) else { return };
        self.channels.borrow_mut().unsubscribe_all(route.slot, &mut *registry);
        if let Some(connection) = registry.remove(id) {
            connection.socket.close_because(code, reason, "no worker has it");
            if !connection.state.is_closed() {
                let close = Close { code, reason: reason.to_owned(), was_clean: false };
                self.tell_closed(&connection, &close);
            }
        }
    }
}

fn adopted_by(cause: AdoptCause) -> OfThread {
    match cause {
        AdoptCause::Reload | AdoptCause::Rebalance => OfThread::AdoptedByReload,
        AdoptCause::Crash => OfThread::AdoptedByCrash,
        AdoptCause::Wake => OfThread::AdoptedByWake,
    }
}
