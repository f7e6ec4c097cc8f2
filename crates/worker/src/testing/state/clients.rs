//! Clients of connections that were accepted.

use std::collections::{BTreeSet, VecDeque};

use shovel_core::transfer::{Closing, Connection, Phase};
use shovel_protocol::id::Leased;
use shovel_protocol::{Again, Close, CloseCode, LeaseId, ToWorker, WorkerId, WsMessage};

use super::State;
use crate::Message;

/// A client, and the connection that it has.
pub(super) struct Client {
    /// The same as in the supervisor: who may act, what was handed over, what is finished.
    pub(super) state: Connection<WorkerId, Message, Vec<u8>>,
    /// Counts the tenures: what comes under another is of one that has ended.
    pub(super) lease: u32,
    pub(super) handshake: Handshake,
    pub(super) subscriptions: BTreeSet<Box<str>>,
    pub(super) received: VecDeque<Message>,
    pub(super) closed: Option<(u16, String)>,
    /// It has ended without that anybody would have handled its close.
    pub(super) is_lost: bool,
}

/// How a connection began, for whoever adopts it.
pub(super) struct Handshake {
    pub(super) uuid: [u8; 16],
    pub(super) request: Box<[u8]>,
    pub(super) protocol: Option<String>,
}

impl Client {
    pub(super) fn new(owner: WorkerId, lease: u32, handshake: Handshake) -> Self {
        Client {
            state: Connection::offered(owner),
            lease,
            handshake,
            subscriptions: BTreeSet::new(),
            received: VecDeque::new(),
            closed: None,
            is_lost: false,
        }
    }

    /// What workers call it at present.
    pub(super) fn id(&self, slot: u32) -> LeaseId {
        LeaseId(Leased { slot, lease: self.lease })
    }

    /// The worker that has it, gives it up or takes it over.
    pub(super) fn owner(&self) -> Option<WorkerId> {
        self.state.owner().copied().filter(|_| !self.is_over())
    }

    /// Whether nothing more is handled of it.
    pub(super) fn is_over(&self) -> bool {
        self.is_lost || (self.state.is_closed() && self.state.is_idle())
    }

    /// Whether it is with a worker, or over.
    pub(super) fn is_settled(&self) -> bool {
        self.is_over() || self.state.phase() == Phase::Owned
    }

    /// It has closed, by whichever end; the first to do so decides.
    pub(super) fn note_close(&mut self, code: u16, reason: &str) {
        self.closed.get_or_insert_with(|| (code, reason.to_owned()));
        self.subscriptions.clear();
    }
}

impl State {
    /// Hands a message over, or keeps it until there is somebody; returns its number, or why the
    /// connection has closed.
    pub(in crate::testing) fn hand_over(
        &mut self,
        slot: u32,
        message: &Message,
    ) -> Result<u64, (u16, String)> {
        let lost = || (CloseCode::INTERNAL_ERROR.0, "worker lost".to_owned());
        let client = self.clients.get_mut(&slot).ok_or_else(lost)?;
        if let Some(closed) = &client.closed {
            return Err(closed.clone());
        }
        let (kind, data) = (message.kind(), message.as_bytes());
        if client.state.is_kept() {
            client.state.append(message.clone(), data.len());
            let seq = client.state.acked() + client.state.uncommitted();
            self.pump(slot);
            return Ok(seq);
        }
        let (seq, _is_open) = client.state.hand_over(data.len()).ok_or_else(lost)?;
        let (connection, again) = (client.id(slot), Again::default());
        self.tell_owner(slot, &ToWorker::Message(WsMessage { connection, seq, again, kind, data }));
        Ok(seq)
    }

    /// Closes a connection, whichever end wants it; the first to do so decides.
    pub(in crate::testing) fn close(&mut self, slot: u32, close: Close) {
        let Some(client) = self.clients.get_mut(&slot) else { return };
        if client.closed.is_some() {
            return;
        }
        client.note_close(close.code.0, &close.reason);
        match client.state.append_close(close.clone()) {
            Closing::HandOver(seq) => {
                let (connection, again) = (client.id(slot), Again::default());
                self.tell_owner(slot, &ToWorker::Closed { connection, seq, again, close });
            }
            Closing::Kept => self.pump(slot),
            Closing::Nothing => {}
        }
    }

    pub(in crate::testing) fn close_all(&mut self) {
        for slot in self.slots_where(|client| client.closed.is_none()) {
            let (code, reason) = (CloseCode::GOING_AWAY, "server shutting down".to_owned());
            self.close(slot, Close { code, reason, was_clean: true });
        }
    }

    /// What is attached to a connection: version and bytes.
    pub(in crate::testing) fn attached(&self, slot: u32) -> Option<(u32, Vec<u8>)> {
        let attachment = self.clients.get(&slot)?.state.attachment()?;
        Some((attachment.version, attachment.data.to_vec()))
    }

    /// Whether a worker has finished an event, or none will.
    pub(in crate::testing) fn has_finished(&self, slot: u32, seq: u64) -> Option<()> {
        let client = self.clients.get(&slot)?;
        (client.is_lost || client.state.acked() >= seq).then_some(())
    }

    /// How a connection has closed, once it has.
    pub(in crate::testing) fn closed(&self, slot: u32) -> Option<(u16, String)> {
        self.clients.get(&slot)?.closed.clone()
    }

    /// The same, once its close handler has ended.
    pub(in crate::testing) fn settled(&self, slot: u32) -> Option<(u16, String)> {
        let client = self.clients.get(&slot)?;
        client.closed.clone().filter(|_| client.is_over())
    }

    /// Whether every close handler has ended.
    pub(in crate::testing) fn all_settled(&self) -> Option<()> {
        self.clients.values().all(Client::is_over).then_some(())
    }

    /// What was sent to a client and not taken yet.
    pub(in crate::testing) fn take_received(&mut self, slot: u32) -> VecDeque<Message> {
        self.clients
            .get_mut(&slot)
            .map(|client| std::mem::take(&mut client.received))
            .unwrap_or_default()
    }

    /// The first of it.
    pub(in crate::testing) fn next_received(&mut self, slot: u32) -> Option<Message> {
        self.clients.get_mut(&slot)?.received.pop_front()
    }

    pub(super) fn slots_where(&self, is_wanted: impl Fn(&Client) -> bool) -> Vec<u32> {
        let wanted = self.clients.iter().filter(|(_, client)| is_wanted(client));
        wanted.map(|(slot, _)| *slot).collect()
    }

    /// The client that a frame is about, unless its sender has lost it meanwhile.
    pub(super) fn of_owner(
        &mut self,
        worker: WorkerId,
        connection: LeaseId,
    ) -> Option<&mut Client> {
        let slot = connection.0.slot;
        let client = self.clients.get_mut(&slot)?;
        (client.id(slot) == connection && client.owner() == Some(worker)).then_some(client)
    }

    pub(super) fn tell_owner(&mut self, slot: u32, frame: &ToWorker<'_>) {
        if let Some(owner) = self.clients.get(&slot).and_then(Client::owner) {
            self.tell(owner, frame);
        }
    }
}
