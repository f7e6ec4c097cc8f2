//! The connection-owner map: which worker has which connection, and how far it is.
//!
//! The only place that stores an owner. A frame about a connection is looked up here by slot and
//! lease, and must come over the owner's link; everything else is dropped and counted. The lease
//! changes with each owner, so the thread itself knows a connection by its [`Route`].

use std::rc::Rc;

use shovel_core::channels::{Slot, Subscribers, Subscriptions};
use shovel_core::transfer::{self, Left, Phase};
use shovel_edge::ws::Socket;
use shovel_protocol::control::{self, RequestHead};
use shovel_protocol::id::Leased;
use shovel_protocol::{Close, CloseCode, ConnectionUuid, LeaseId, RequestId};

use super::inspect::Origin;
use super::kept::KeptMessage;
use super::link::{Holding, Link};
use super::moves::Ticket;
use super::pressure::Pressure;
use super::quarantine::{Doing, Trial};
use shovel_core::slots::Slots;

/// A connection that a worker has or is offered, or that waits for one.
pub struct Connection {
    pub state: transfer::Connection<Holding, KeptMessage, Staged>,
    pub socket: Socket,
    pub subscriptions: Subscriptions,
    pub pressure: Pressure,
    /// The reader was told to leave messages unread.
    pub held: bool,
    /// The request that offers the upgrade, until it is accepted.
    pub request: Option<RequestId>,
    pub uuid: ConnectionUuid,
    pub origin: Origin,
    /// What another worker would be told of its beginning. None of one that ends with its worker.
    pub handshake: Option<Box<Handshake>>,
    /// It is on its way from one worker to another.
    pub ticket: Option<Ticket>,
    /// It waits for a worker.
    pub asked: bool,
    /// Its worker has something of it under way.
    pub doing: Option<Doing>,
    pub trial: Option<Box<Trial>>,
    /// It waits for the end of another's trial.
    pub is_put_off: bool,
    /// The lease that it began with.
    born: u32,
}

/// Effects that wait for their commit, as they stand in a `ws:upgrade`.
pub type Staged = Vec<u8>;

/// How a connection began.
pub struct Handshake {
    /// The head of the request, as it stands in a `ws:adopt`.
    pub request: Box<[u8]>,
    /// The subprotocol that was picked.
    pub protocol: Option<Box<str>>,
}

/// How a thread knows a connection for as long as it lives, whoever owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    pub slot: Slot,
    /// The first lease, which no other connection in the slot had or will have.
    born: u32,
}

impl Connection {
    /// The link of its owner, or of whom it is offered to.
    pub fn link(&self) -> Option<&Rc<Link>> {
        self.state.owner().map(Holding::link)
    }

    /// Whether a worker has accepted it.
    pub fn is_accepted(&self) -> bool {
        self.state.phase() != Phase::Offered
    }

    /// Whether a commit leaves nothing to do for it: no event waits to be handed over, and nobody
    /// waits for this one.
    pub fn rests_after(&self, left: Left) -> bool {
        let is_gone = left == Left::Closed;
        !is_gone && !self.state.is_kept() && !self.held && !self.socket.is_finishing()
    }

    /// Whether its reader must leave messages unread.
    pub fn must_hold(&self) -> bool {
        self.is_accepted()
            && (!self.state.is_open()
                || self.pressure.is_on()
                || self.link().is_some_and(|link| link.is_over()))
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
    ) -> LeaseId {
        let uuid = ConnectionUuid(uuid::Uuid::now_v7());
        LeaseId(self.connections.insert_with(|id| Connection {
            state: transfer::Connection::offered(holding),
            socket,
            subscriptions: Subscriptions::default(),
            pressure: Pressure::default(),
            held: false,
            request: Some(request),
            uuid,
            origin,
            handshake: None,
            ticket: None,
            asked: false,
            doing: None,
            trial: None,
            is_put_off: false,
            born: id.lease,
        }))
    }

    /// Notes how a connection begins that may have to be adopted one day.
    pub fn note_handshake(&mut self, id: LeaseId, head: &RequestHead<'_>) {
        if let Some(connection) = self.get_mut(id) {
            let request = control::request_head_bytes(head);
            connection.handshake = Some(Box::new(Handshake { request, protocol: None }));
        }
    }

    /// How the connection with this id is known from its reservation to its end.
    pub fn route(&self, id: LeaseId) -> Option<Route> {
        let born = self.get(id)?.born;
        Some(Route { slot: id.0.slot, born })
    }

    /// The same, of the connection in a slot.
    pub fn route_at(&self, slot: Slot) -> Option<Route> {
        Some(Route { slot, born: self.at(slot)?.born })
    }

    /// The connection under its present lease, whoever asks.
    pub fn get(&self, id: LeaseId) -> Option<&Connection> {
        self.connections.get(id.0)
    }

    /// The connection under its present lease, whoever asks.
    pub fn get_mut(&mut self, id: LeaseId) -> Option<&mut Connection> {
        self.connections.get_mut(id.0)
    }

    /// The connection in a slot.
    pub fn at(&self, slot: Slot) -> Option<&Connection> {
        self.connections.at(slot)
    }

    /// The connection in a slot.
    pub fn at_mut(&mut self, slot: Slot) -> Option<&mut Connection> {
        self.connections.at_mut(slot)
    }

    /// The connection, whatever its lease is by now, and its present id.
    pub fn on_route(&mut self, route: Route) -> Option<(LeaseId, &mut Connection)> {
        let (id, connection) = self.connections.leased_at_mut(route.slot)?;
        (connection.born == route.born).then_some((LeaseId(id), connection))
    }

    /// The connections from a place of the table on, each with its place.
    pub fn starting_at(&self, place: u32) -> impl Iterator<Item = (u32, &Connection)> {
        self.connections.iter_from(place).map(|(id, connection)| (id.slot, connection))
    }

    /// The connection, if `link` is its owner's.
    pub fn of_owner(&mut self, id: LeaseId, link: &Rc<Link>) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.0)?;
        connection.link().is_some_and(|its| Rc::ptr_eq(its, link)).then_some(connection)
    }

    /// Ends the lease of a connection that has lost its owner.
    pub fn renew(&mut self, slot: Slot) -> Option<LeaseId> {
        self.connections.renew(slot).map(LeaseId)
    }

    /// Ends a reservation that was not taken.
    pub fn give_up(&mut self, id: LeaseId, late: Late) -> Option<Connection> {
        let connection = self.connections.remove(id.0)?;
        let slot = id.0.slot as usize;
        if self.late.len() <= slot {
            self.late.resize(slot + 1, (0, Late::default()));
        }
        self.late[slot] = (id.0.lease, late);
        Some(connection)
    }

    /// Ends a connection. Its subscriptions must have ended before.
    pub fn remove(&mut self, id: LeaseId) -> Option<Connection> {
        self.connections.remove(id.0)
    }

    /// Why an upgrade that finds no reservation is late: timed out, if that is no longer known.
    pub fn late(&self, id: LeaseId) -> Late {
        let last = self.late.get(id.0.slot as usize).filter(|(lease, _)| *lease == id.0.lease);
        last.map_or(Late::TimedOut, |(_, late)| *late)
    }

    /// What a worker has or is offered.
    pub fn of_link(&self, link: &Rc<Link>) -> Vec<Route> {
        self.routes(|connection| connection.link().is_some_and(|its| Rc::ptr_eq(its, link)))
    }

    /// How many there are, those that are only offered among them.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// What nobody has.
    pub fn unowned(&self) -> Vec<Route> {
        self.routes(|connection| connection.state.phase() == Phase::Unowned)
    }

    fn routes(&self, is_wanted: impl Fn(&Connection) -> bool) -> Vec<Route> {
        let all = self.connections.iter();
        let wanted = all.filter(|(_, connection)| is_wanted(connection));
        let route = |id: Leased, born| Route { slot: id.slot, born };
        wanted.map(|(id, connection)| route(id, connection.born)).collect()
    }
}

impl Subscribers for Registry {
    fn subscriptions(&mut self, slot: Slot) -> Option<&mut Subscriptions> {
        self.connections.at_mut(slot).map(|connection| &mut connection.subscriptions)
    }
}
