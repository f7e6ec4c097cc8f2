//! What handlers do to their connection: at once, or with the commit that they end with.
//!
//! An effect of a connection that may move is staged until its handler has ended; then all take
//! place in one step with the commit, so that a worker's death leaves either all of them or none.

use std::rc::Rc;

use shovel_core::channels::Slot;
use shovel_core::transfer::Attachment;
use shovel_protocol::control::Effect;
use shovel_protocol::to_supervisor::{Effects, put_effect};
use shovel_protocol::{
    Act, BadFrame, CloseCode, LeaseId, MessageKind, PublishToken, ToWorker, When,
};

use super::counts::OfWorker;
use super::frames::{accepted, out_of_turn};
use super::link::Link;
use super::registry::Connection;
use super::router::Router;

/// What may be staged for one connection beside its longest message: the SDK lets effects out when
/// it has held more than 1 MiB.
const STAGED_BYTES: usize = 4 * 1024 * 1024;

impl Router {
    /// A worker acts on a connection: now, or it is staged.
    pub(super) fn on_act(self: &Rc<Self>, link: &Rc<Link>, act: Act<'_>) -> Result<(), BadFrame> {
        let (id, kind) = (act.connection, act.kind());
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = accepted(&mut registry, id, link, kind)? else { return Ok(()) };
        let state = &mut connection.state;
        match act.when {
            When::Now => {}
            When::During => state.act(true).map_err(|why| out_of_turn(kind, why))?,
            When::Staged => {
                let staged = state.staged().map_err(|why| out_of_turn(kind, why))?;
                put_effect(staged, &act.effect);
                if staged.len()
                    > self.settings.get().ws.max_message_bytes.saturating_add(STAGED_BYTES)
                {
                    let why = "more is staged than a handler may do";
                    return Err(BadFrame::OutOfTurn { kind: kind.name(), why });
                }
                return Ok(());
            }
        }
        drop(registry);
        self.do_effect(link, id.0.slot, act.effect);
        Ok(())
    }

    /// Does what was staged, in order. Each effect was checked when its frame was read.
    pub(super) fn do_effects(self: &Rc<Self>, link: &Rc<Link>, slot: Slot, effects: Effects<'_>) {
        effects.flatten().for_each(|effect| self.do_effect(link, slot, effect));
    }

    fn do_effect(self: &Rc<Self>, link: &Rc<Link>, slot: Slot, effect: Effect<'_>) {
        match effect {
            Effect::Send { binary, data } => self.send(link, slot, MessageKind::of(binary), data),
            Effect::Subscribe { channel } => self.subscribe(slot, channel),
            Effect::Unsubscribe { channel } => self.unsubscribe(slot, channel),
            Effect::Publish { token, channel, binary, data } => {
                let token = PublishToken::from_wire(token);
                self.publish(link, token, channel, MessageKind::of(binary), data);
            }
            Effect::Close { code, reason } => self.close(slot, CloseCode(code), reason),
            Effect::Attach { version, data } => {
                if let Some(connection) = self.registry.borrow_mut().at_mut(slot) {
                    connection.state.attach(Attachment { version, data: data.into() });
                }
            }
        }
    }

    fn send(&self, link: &Link, slot: Slot, kind: MessageKind, data: &[u8]) {
        // Anything published before must reach a subscriber first.
        self.share_channels_of(slot);
        let mut registry = self.registry.borrow_mut();
        if let Some(connection) = registry.at_mut(slot) {
            connection.send(link, kind, data);
        }
    }

    fn close(&self, slot: Slot, code: CloseCode, reason: &str) {
        self.share_channels_of(slot);
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = registry.at_mut(slot) else { return };
        connection.socket.close(code, reason);
        self.channels.borrow_mut().unsubscribe_all(slot, &mut *registry);
    }

    fn subscribe(&self, slot: Slot, channel: &str) {
        self.share_channel(channel);
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = registry.at_mut(slot) else { return };
        if connection.socket.is_open() {
            let places = &mut connection.subscriptions;
            self.channels.borrow_mut().subscribe(channel, slot, places);
        }
    }

    fn unsubscribe(&self, slot: Slot, channel: &str) {
        self.share_channel(channel);
        let mut registry = self.registry.borrow_mut();
        self.channels.borrow_mut().unsubscribe(channel, slot, &mut *registry);
    }

    /// A worker subscribes itself, or no longer.
    pub(super) fn subscribe_worker(&self, link: &Link, channel: &str, is_on: bool) {
        let mut channels = self.channels.borrow_mut();
        match is_on {
            true => channels.subscribe_worker(channel, link.worker),
            false => channels.unsubscribe_worker(channel, link.worker),
        }
    }

    /// The owner knows that its client reads too slowly.
    pub(super) fn on_pressed(&self, link: &Rc<Link>, id: LeaseId) {
        let mut registry = self.registry.borrow_mut();
        if let Some(connection) = registry.of_owner(id, link) {
            connection.pressure.answered();
        }
    }

    /// Tells the owner, if there is one, whether its client reads too slowly.
    pub(super) fn press(&self, id: LeaseId, over: bool) {
        let mut registry = self.registry.borrow_mut();
        let Some(connection) = registry.get_mut(id) else { return };
        match over {
            true => connection.pressure.begin(self.settings.get().ws.max_message_bytes),
            false => connection.pressure.end(),
        }
        if let Some(link) = connection.link() {
            link.send(&ToWorker::Pressure { connection: id, over });
        }
    }
}

impl Connection {
    /// Sends a message of its owner's, or closes it if its client reads too slowly.
    // As docs/decisions/0019 has it.
    #[inline(always)]
    pub(super) fn send(&mut self, link: &Link, kind: MessageKind, data: &[u8]) {
        let patient = !self.socket.is_over() || self.pressure.forgives(data.len());
        if patient {
            self.socket.send(kind, data);
            link.tally.add_sized(OfWorker::MessagesSent, OfWorker::MessageBytesSent, data.len());
        } else if self.socket.is_open() {
            link.tally.add(OfWorker::SlowConsumers, 1);
            self.socket.close_slow(CloseCode::POLICY, "client reads too slowly");
        }
    }
}
