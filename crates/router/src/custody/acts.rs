//! What handlers do to their connection: at once, or with the commit that they end with.
//!
//! An act of a portable connection is staged until its handler has ended; then all take place in one
//! step with the commit, so that a worker's death leaves either all of them or none.

use std::rc::Rc;

use shovel_core::channels::Full;
use shovel_core::custody::Attachment;
use shovel_core::slots::Slot;
use shovel_protocol::control::Effect;
use shovel_protocol::limits::ACTS;
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::{Act, BadFrame, CloseCode, MessageKind, PublishToken, ToWorker, When};

use crate::clients::client::AllSubscriptions;
use crate::counts::OfThread;
use crate::links::frames::{check_effect, drop_stray, out_of_turn};
use crate::links::link::Link;
use crate::router::Router;

/// What may be staged for one connection beside its longest message: the SDK lets acts out when it
/// has staged more than 1 MiB.
const STAGED_BYTES: usize = 4 * 1024 * 1024;

/// And for all connections of a worker on this thread, beside what one of them may have. The SDK sends
/// what a handler has done when it has ended, and the commit right behind it.
const STAGED_IN_ALL_BYTES: usize = 64 * 1024 * 1024;

impl Router {
    /// A worker acts on a connection: now, or it is staged.
    pub(crate) fn on_act(self: &Rc<Self>, link: &Rc<Link>, act: Act<'_>) -> Result<(), BadFrame> {
        let (id, kind) = (act.connection, act.kind());
        let bad = |why| out_of_turn(kind, why);
        check_effect(link, kind, &act.effect)?;
        let mut custody = self.custody.borrow_mut();
        let is_its = match act.when {
            When::Now => custody.act(id, link.worker, false).map_err(bad)?,
            When::During => custody.act(id, link.worker, true).map_err(bad)?,
            When::Staged => {
                let staged = custody.stage(id, link.worker).map_err(bad)?;
                let Some(staged) = staged else { return drop_stray(link, kind) };
                staged.put(&link.staged, &act.effect);
                let most = self.settings.get().ws.max_message_bytes.saturating_add(STAGED_BYTES);
                let in_all = most.saturating_add(STAGED_IN_ALL_BYTES);
                let is_long = staged.len() > most || staged.acts() > ACTS;
                if is_long || link.staged.bytes() > in_all {
                    let why = "more is staged than handlers may do";
                    return Err(BadFrame::OutOfTurn { kind: kind.name(), why });
                }
                return Ok(());
            }
        };
        drop(custody);
        if !is_its {
            return drop_stray(link, kind);
        }
        self.do_act(link, id.0.slot, act.effect);
        Ok(())
    }

    /// Does what was staged, in order. Each act was checked when its frame was read.
    pub(crate) fn do_acts(self: &Rc<Self>, link: &Rc<Link>, slot: Slot, acts: Effects<'_>) {
        acts.flatten().for_each(|effect| self.do_act(link, slot, effect));
    }

    pub(crate) fn do_act(self: &Rc<Self>, link: &Rc<Link>, slot: Slot, effect: Effect<'_>) {
        match effect {
            Effect::Send { binary, data } => self.send(link, slot, MessageKind::of(binary), data),
            Effect::Subscribe { channel } => self.subscribe(link, slot, channel),
            Effect::Unsubscribe { channel } => self.unsubscribe(slot, channel),
            Effect::Publish { token, channel, binary, data } => {
                let token = PublishToken::from_wire(token);
                self.publish(link, token, channel, MessageKind::of(binary), data);
            }
            Effect::Close { code, reason } => self.close(slot, CloseCode(code), reason),
            Effect::Attach { version, data } => {
                if let Some(connection) = self.custody.borrow_mut().at_mut(slot) {
                    connection.attach(Attachment { version, data: data.into() });
                }
            }
            Effect::SlowConsumer { policy } => self.set_slow_consumer(slot, policy),
        }
    }

    fn send(&self, link: &Link, slot: Slot, kind: MessageKind, data: &[u8]) {
        // Anything published before must reach a subscriber first.
        self.share_channels_of(slot);
        if let Some(connection) = self.custody.borrow_mut().at_mut(slot) {
            connection.client.send(link, kind, data);
        }
    }

    fn close(&self, slot: Slot, code: CloseCode, reason: &str) {
        let socket = self.custody.borrow().at(slot).map(|found| found.client.socket.clone());
        if let Some(socket) = socket {
            self.leave_channels(slot);
            socket.close(code, reason);
        }
    }

    fn subscribe(&self, link: &Link, slot: Slot, channel: &str) {
        self.share_channel(channel);
        let mut custody = self.custody.borrow_mut();
        let Some(connection) = custody.at_mut(slot) else { return };
        if !connection.client.socket.is_open() {
            return;
        }
        let client = &mut connection.client;
        let subscribed =
            self.channels.borrow_mut().subscribe(channel, slot, &mut client.subscriptions);
        let Err(full) = subscribed else { return };
        let (socket, limit) = (client.socket.clone(), self.refuse_subscription(full));
        if let Some(times) = link.faults.note("a connection with too many channels") {
            // The target is what the log knows lines by that others can cause.
            tracing::warn!(
                target: "refusals", connection = %client.uuid, limit, times,
                "a connection is closed that was to be subscribed to one channel too many"
            );
        }
        drop(custody);
        self.leave_channels(slot);
        let why = "subscribed to too many channels";
        socket.close_because(CloseCode::POLICY, "too many channels", why);
    }

    /// Counts a subscription that is refused; returns which setting forbids it.
    fn refuse_subscription(&self, full: Full) -> &'static str {
        let (what, limit) = match full {
            Full::Connection => (OfThread::FullConnection, "--max-channels-per-connection"),
            Full::Worker => (OfThread::FullWorker, "--max-channels-per-worker"),
            Full::All => (OfThread::FullThread, "--max-subscriptions"),
        };
        self.measures.tally.add(what, 1);
        limit
    }

    fn unsubscribe(&self, slot: Slot, channel: &str) {
        self.share_channel(channel);
        let mut custody = self.custody.borrow_mut();
        let all = &mut AllSubscriptions(&mut custody);
        self.channels.borrow_mut().unsubscribe(channel, slot, all);
    }

    /// A worker subscribes itself, or no longer.
    pub(crate) fn subscribe_worker(&self, link: &Link, channel: &str, is_on: bool) {
        let mut channels = self.channels.borrow_mut();
        if !is_on {
            return channels.unsubscribe_worker(channel, link.worker);
        }
        if let Err(full) = channels.subscribe_worker(channel, link.worker) {
            let limit = self.refuse_subscription(full);
            if let Some(times) = link.faults.note("a worker with too many channels") {
                tracing::warn!(
                    target: "refusals", worker = %link.worker, limit, times,
                    "a worker is not subscribed to a channel: it would be one too many"
                );
            }
            link.answer(&ToWorker::ChannelRefused { channel });
        }
    }
}
