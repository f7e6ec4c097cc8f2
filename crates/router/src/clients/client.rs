//! What a thread keeps of the client of a connection. Who has the connection, and how far its
//! handlers are, is custody's business.

use std::net::SocketAddr;

use shovel_core::channels::{Subscribers, Subscriptions};
use shovel_core::custody;
use shovel_core::slots::Slot;
use shovel_edge::Pot;
use shovel_edge::ws::Socket;
use shovel_protocol::control::{self, RequestHead};
use shovel_protocol::{CloseCode, ConnectionUuid, LeaseId, MessageKind, SlowConsumer};

use super::pressure::Pressure;
use crate::counts::OfWorker;
use crate::custody::state::ThreadCustody;
use crate::links::link::Link;

/// The client of a connection.
pub struct Client {
    pub socket: Socket,
    pub subscriptions: Subscriptions,
    pub pressure: Pressure,
    /// It is not read for now.
    pub is_paused: bool,
    /// What its app has chosen for the case that it reads too slowly.
    pub slow_consumer: Option<SlowConsumer>,
    pub uuid: ConnectionUuid,
    pub opening: Opening,
    /// The newest question that is answered once nothing waits for it, and under which lease it was
    /// asked: the next owner asks anew.
    pub asked: Option<(LeaseId, u64)>,
    /// What an adopting worker is told of its beginning. `None` if it is not portable.
    pub handshake: Option<Box<Handshake>>,
    /// What is kept of its request, as long as the connection lives.
    kept: Pot,
}

/// How a connection began.
pub struct Handshake {
    /// The head of the request, as it stands in a `ws:adopt`.
    pub request: Box<[u8]>,
    /// The subprotocol that was picked.
    pub protocol: Option<Box<str>>,
}

/// From where a connection was opened, and with which URL; kept for operators.
#[derive(Debug)]
pub struct Opening {
    pub peer: Option<SocketAddr>,
    pub url: Box<str>,
}

impl Client {
    pub fn new(socket: Socket, opening: Opening) -> Self {
        let kept = socket.turn().ledger().pot();
        kept.note(opening.url.len());
        Client {
            socket,
            subscriptions: Subscriptions::default(),
            pressure: Pressure::default(),
            is_paused: false,
            slow_consumer: None,
            uuid: ConnectionUuid(uuid::Uuid::now_v7()),
            opening,
            asked: None,
            handshake: None,
            kept,
        }
    }

    /// Notes how a portable connection begins: a worker that adopts it is told.
    pub fn note_handshake(&mut self, head: &RequestHead<'_>) {
        let request = control::request_head_bytes(head);
        self.kept.note(self.opening.url.len() + request.len());
        self.handshake = Some(Box::new(Handshake { request, protocol: None }));
    }

    /// It turns out not to be portable.
    pub fn forget_handshake(&mut self) {
        self.handshake = None;
        self.kept.note(self.opening.url.len());
    }

    /// Sends a message of its owner, or closes it if its client reads too slowly.
    // As docs/decisions/0019 has it.
    #[inline(always)]
    pub fn send(&mut self, link: &Link, kind: MessageKind, data: &[u8]) {
        let patient = !self.socket.is_over() || self.pressure.forgives(data.len());
        if patient {
            self.socket.send(kind, data);
            link.tally.add_sized(OfWorker::MessagesSent, OfWorker::MessageBytesSent, data.len());
        } else if self.socket.is_open() {
            link.tally.add(OfWorker::SlowConsumers, 1);
            self.socket.close_slow(CloseCode::POLICY, "client reads too slowly");
        }
    }

    /// Whether neither its reader nor its close waits for a handler.
    pub fn is_at_rest(&self) -> bool {
        !self.is_paused && !self.socket.is_finishing()
    }
}

impl Opening {
    /// Of a client that asked for this path and query.
    pub fn new(peer: &shovel_edge::Peer, url: &str) -> Self {
        Opening { peer: peer.address, url: url.into() }
    }
}

impl custody::ClientHandle for Client {
    fn is_open(&self) -> bool {
        self.socket.is_open()
    }
}

/// The subscriptions of all connections of a thread.
pub struct AllSubscriptions<'a>(pub &'a mut ThreadCustody);

impl Subscribers for AllSubscriptions<'_> {
    fn subscriptions(&mut self, slot: Slot) -> Option<&mut Subscriptions> {
        self.0.at_mut(slot).map(|connection| &mut connection.client.subscriptions)
    }
}
