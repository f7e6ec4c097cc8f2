//! A connection has closed: who is told, and what is told of it in the access log, or to those who
//! look for faults.

use std::rc::Rc;

use shovel_core::custody::{Closing, Route};
use shovel_core::slots::Slot;
use shovel_protocol::{Again, Close, CloseCode, ToWorker, WorkerId};

use super::client::{AllSubscriptions, Client};
use crate::router::Router;

impl Router {
    /// The client's socket has ended: its owner hears of it, after all that came before.
    pub(crate) fn on_closed(self: &Rc<Self>, route: Route, close: Close) {
        // A socket outlives its entry when its worker has died: by now the slot, by which
        // subscriptions are kept, may be another's.
        if self.custody.borrow().on_route(route).is_none() {
            return;
        }
        self.leave_channels(route.slot);
        // Its close may wait behind messages that wait for a handler which asked.
        self.answer_asked(route, None);
        let mut custody = self.custody.borrow_mut();
        let closing = custody.close(route, close.clone());
        let Some((id, connection)) = custody.on_route(route) else { return };
        let owner = connection.owner();
        match closing {
            Closing::Nothing => {}
            Closing::HandOver(seq) => {
                self.tell_closed(&connection.client, owner, &close);
                let (connection, again) = (id, Again::default());
                if let Some(link) = owner.and_then(|owner| custody.worker(owner)) {
                    link.send(&ToWorker::Closed { connection, seq, again, close });
                }
            }
            Closing::Kept => {
                self.tell_closed(&connection.client, owner, &close);
                self.pump(&mut custody, id);
            }
        }
        drop(custody);
        self.go_on();
    }

    /// An accepted connection whose client has gone before it knew.
    pub(crate) fn abandon(self: &Rc<Self>, route: Route) {
        let (code, reason) = (CloseCode::ABNORMAL, String::new());
        self.on_closed(route, Close { code, reason, was_clean: false });
    }

    /// Ends all subscriptions of a connection, once it has what was published before.
    pub(crate) fn leave_channels(&self, slot: Slot) {
        self.share_channels_of(slot);
        let mut custody = self.custody.borrow_mut();
        self.channels.borrow_mut().unsubscribe_all(slot, &mut AllSubscriptions(&mut custody));
    }

    /// Tells that a connection has closed; called once for each that was accepted.
    pub(crate) fn tell_closed(&self, client: &Client, worker: Option<WorkerId>, close: &Close) {
        macro_rules! tell {
            ($level:ident, $target:expr) => {
                tracing::$level!(
                    target: $target,
                    connection = %client.uuid,
                    worker = worker.map(tracing::field::display),
                    client = client.opening.peer.map(tracing::field::display),
                    code = close.code.0,
                    reason = close.reason,
                    was_clean = close.was_clean,
                    why = client.socket.why().map(tracing::field::display),
                    "connection closed"
                )
            };
        }
        match self.access_log.get() {
            true => tell!(info, "access"),
            // The target is what operators filter by.
            false => tell!(debug, "shovel_router::closing"),
        }
    }
}
