//! Clients of connections that are offered or accepted, and of those that are over.

use std::collections::VecDeque;

use shovel_core::custody::{self, Arrived, Closing, PlainMessage, Route, farewell};
use shovel_core::fleet::DrainReason;
use shovel_protocol::{Again, Close, LeaseId, ToWorker, WsMessage};

use super::State;
use super::acts::Subscriber;
use super::outbox::Outbox;
use crate::Message;

/// A client, and how its connection began, for whoever adopts it.
#[derive(Default)]
pub(in crate::testing) struct Client {
    pub(super) uuid: [u8; 16],
    pub(super) request: Box<[u8]>,
    pub(super) protocol: Option<String>,
    /// What was sent to it and not taken yet.
    pub(in crate::testing) received: VecDeque<Message>,
    /// What it does not read.
    pub(super) outbox: Outbox,
    /// It is to be closed for this once all that it has sent is handled.
    pub(super) farewell: Option<DrainReason>,
    /// How it has closed.
    pub(in crate::testing) closed: Option<(u16, String)>,
}

impl custody::ClientHandle for Client {
    fn is_open(&self) -> bool {
        self.closed.is_none()
    }
}

impl State {
    /// The client of a connection, also after its end.
    pub(in crate::testing) fn client(&mut self, route: Route) -> Option<&mut Client> {
        match self.custody.on_route_mut(route) {
            Some((_, connection)) => Some(&mut connection.client),
            None => self.over.get_mut(&route).map(|(client, _)| client),
        }
    }

    /// Takes a message in, and hands it over if it may go; returns its number, or how the
    /// connection has closed.
    pub(in crate::testing) fn on_message(
        &mut self,
        route: Route,
        message: Message,
    ) -> Result<u64, (u16, String)> {
        let (kind, data) = (message.kind(), message.as_bytes());
        match self.custody.hand_over(route, data.len()) {
            Arrived::Goes(PlainMessage { connection, seq, .. }) => {
                let again = Again::default();
                let message = WsMessage { connection, seq, again, kind, data };
                self.tell_owner(connection, &ToWorker::Message(message));
                return Ok(seq);
            }
            Arrived::ToKeep => {
                let bytes = data.len();
                if let Some(connection) = self.custody.take_in(route, message, bytes) {
                    let kept = self.custody.get(connection);
                    let seq = kept.map_or(0, |kept| kept.acked() + kept.uncommitted());
                    self.pump(connection);
                    return Ok(seq);
                }
            }
            Arrived::Dropped => {}
        }
        Err(self.client(route).and_then(|client| client.closed.clone()).unwrap_or_default())
    }

    /// Closes a connection, whichever end wants it; the first to do so decides.
    pub(in crate::testing) fn close(&mut self, route: Route, close: Close) {
        self.note_close(route, &close);
        let closing = self.custody.close(route, close.clone());
        let Some((connection, _)) = self.custody.on_route(route) else { return };
        match closing {
            Closing::HandOver(seq) => {
                let again = Again::default();
                self.tell_owner(connection, &ToWorker::Closed { connection, seq, again, close });
            }
            Closing::Kept => self.pump(connection),
            Closing::Nothing => {}
        }
    }

    /// A connection has closed.
    pub(super) fn note_close(&mut self, route: Route, close: &Close) {
        if let Some(client) = self.client(route) {
            client.closed.get_or_insert_with(|| (close.code.0, close.reason.clone()));
        }
        self.unsubscribe_all(Subscriber::Client(route));
        self.answer_asked(route, None);
    }

    /// Closes a connection that is to be closed, and has nothing left to handle.
    pub(super) fn finish_if_idle(&mut self, route: Route) {
        let found = self.custody.on_route(route).filter(|(_, connection)| connection.is_idle());
        if let Some(why) = found.and_then(|(_, connection)| connection.client.farewell) {
            let (code, reason) = farewell(why);
            self.close(route, Close { code, reason: reason.to_owned(), was_clean: true });
        }
    }

    /// A connection is over; its client can still be asked what it has seen.
    pub(super) fn take_out(&mut self, route: Route) {
        let Some((connection, found)) = self.custody.on_route(route) else { return };
        let attachment = found.attachment().cloned();
        if let Some(client) = self.custody.remove(connection) {
            self.over.insert(route, (client, attachment));
        }
    }

    /// What is attached to a connection: version and bytes.
    pub(in crate::testing) fn attached(&self, route: Route) -> Option<(u32, Vec<u8>)> {
        let attachment = match self.custody.on_route(route) {
            Some((_, connection)) => connection.attachment()?,
            None => self.over.get(&route)?.1.as_ref()?,
        };
        Some((attachment.version, attachment.data.to_vec()))
    }

    /// Whether a worker has finished an event, or none will.
    pub(in crate::testing) fn has_finished(&self, route: Route, seq: u64) -> Option<()> {
        let found = self.custody.on_route(route);
        found.is_none_or(|(_, connection)| connection.acked() >= seq).then_some(())
    }

    /// How a connection has closed, once its close handler has ended.
    pub(in crate::testing) fn settled(&self, route: Route) -> Option<(u16, String)> {
        self.over.get(&route)?.0.closed.clone()
    }

    pub(super) fn tell_owner(&mut self, connection: LeaseId, frame: &ToWorker<'_>) {
        if let Some(owner) = self.custody.get(connection).and_then(|found| found.owner()) {
            self.workers.tell(owner, frame);
        }
    }
}
