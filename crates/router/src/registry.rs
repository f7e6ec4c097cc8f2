//! The connection-owner map: which worker has which connection, and how far it is.
//!
//! The only place that stores an owner. A frame about a connection is looked up here by slot and
//! lease, and must come over the owner's link; everything else is dropped and counted.

use std::rc::Rc;

use shovel_core::channels::{Slot, Subscribers, Subscriptions};
use shovel_core::transfer;
use shovel_edge::ws::Socket;
use shovel_protocol::{Close, CloseCode, ConnectionId, ConnectionUuid, RequestId};

use super::inspect::Origin;
use super::link::{Holding, Link};
use super::slots::Slots;

/// A connection that a worker has, or is offered.
pub struct Connection {
    /// The owner.
    pub holding: Holding,
    pub socket: Socket,
    pub state: transfer::Connection,
    pub subscriptions: Subscriptions,
    pub pressure: Pressure,
    /// The reader was told to leave messages unread.
    pub held: bool,
    /// The request that offers the upgrade, until it is accepted.
    pub request: Option<RequestId>,
    pub uuid: ConnectionUuid,
    pub origin: Origin,
}

/// How far the owner knows that its client reads too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// The client keeps up.
    None,
    /// The owner was told. What it had already sent may still come: this much.
    Told { grace_bytes: usize },
    /// The owner has said that it knows.
    Known,
}

impl Connection {
    /// Whether its reader must leave messages unread.
    pub fn must_hold(&self) -> bool {
        self.state.is_owned()
            && (!self.state.is_open()
                || self.pressure != Pressure::None
                || self.holding.link().is_over())
    }
}

/// Why an upgrade comes too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// Its request was answered with 504.
    #[default]
    TimedOut,
    /// The client went away.
    ClientGone,
}

impl Late {
    /// What the worker is told.
    pub fn close(self) -> Close {
        let (code, reason) = match self {
            Late::TimedOut => (CloseCode::INTERNAL_ERROR, "upgrade arrived after request timeout"),
            Late::ClientGone => (CloseCode::ABNORMAL, "client went away before the upgrade"),
        };
        Close { code, reason: reason.to_owned(), was_clean: false }
    }
}

/// All connections of a thread.
#[derive(Default)]
pub struct Registry {
    connections: Slots<Connection>,
    /// The last reservation of each slot that was not taken, by its lease, and why.
    late: Vec<(u32, Late)>,
}

impl Registry {
    /// Reserves an id for an upgrade that is offered to a worker.
    pub fn reserve(
        &mut self,
        holding: Holding,
        socket: Socket,
        request: RequestId,
        origin: Origin,
    ) -> ConnectionId {
        let uuid = ConnectionUuid(uuid::Uuid::now_v7());
        ConnectionId(self.connections.insert_with(|_| Connection {
            holding,
            socket,
            state: transfer::Connection::offered(),
            subscriptions: Subscriptions::default(),
            pressure: Pressure::None,
            held: false,
            request: Some(request),
            uuid,
            origin,
        }))
    }

    /// The connection, whoever asks.
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(id.0)
    }

    /// The connection, whoever asks.
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.0)
    }

    /// The connection in a slot.
    pub fn at(&self, slot: Slot) -> Option<&Connection> {
        self.connections.at(slot)
    }

    /// The connections from a place of the table on, each with its place.
    pub fn starting_at(&self, place: u32) -> impl Iterator<Item = (u32, &Connection)> {
        self.connections.iter_from(place).map(|(id, connection)| (id.slot, connection))
    }

    /// The connection, if `link` is its owner's.
    pub fn of_owner(&mut self, id: ConnectionId, link: &Rc<Link>) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.0)?;
        Rc::ptr_eq(connection.holding.link(), link).then_some(connection)
    }

    /// Ends a reservation that was not taken.
    pub fn give_up(&mut self, id: ConnectionId, late: Late) -> Option<Connection> {
        let connection = self.connections.remove(id.0)?;
        let slot = id.0.slot as usize;
        if self.late.len() <= slot {
            self.late.resize(slot + 1, (0, Late::default()));
        }
        self.late[slot] = (id.0.lease, late);
        Some(connection)
    }

    /// Ends a connection. Its subscriptions must have ended before.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.connections.remove(id.0)
    }

    /// Why an upgrade that finds no reservation is late: timed out, if that is no longer known.
    pub fn late(&self, id: ConnectionId) -> Late {
        let last = self.late.get(id.0.slot as usize).filter(|(lease, _)| *lease == id.0.lease);
        last.map_or(Late::TimedOut, |(_, late)| *late)
    }

    /// The ids of what a worker has or is offered.
    pub fn of_link(&self, link: &Rc<Link>) -> Vec<ConnectionId> {
        let all = self.connections.iter();
        let its = all.filter(|(_, connection)| Rc::ptr_eq(connection.holding.link(), link));
        its.map(|(id, _)| ConnectionId(id)).collect()
    }
}

impl Subscribers for Registry {
    fn subscriptions(&mut self, slot: Slot) -> Option<&mut Subscriptions> {
        self.connections.at_mut(slot).map(|connection| &mut connection.subscriptions)
    }
}
