//! Connections that are reserved for an upgrade, until a worker accepts it.

use serde::{Deserialize, Serialize};
use shovel_protocol::{Close, CloseCode, LeaseId, RequestId, WorkerId};

use super::connection::{Portable, Record, State};
use super::{ClientHandle, Connection, Custody, Route, WorkerCell};

/// Why an upgrade comes too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LateUpgrade {
    /// Its request was answered with 504.
    #[default]
    TimedOut,
    /// The client went away.
    ClientGone,
    /// Its request was answered with 502, or as its worker said before.
    Refused,
}

impl LateUpgrade {
    /// What the worker is told.
    pub fn close(self) -> Close {
        let (code, reason) = match self {
            LateUpgrade::TimedOut => {
                (CloseCode::INTERNAL_ERROR, "upgrade arrived after request timeout")
            }
            LateUpgrade::ClientGone => (CloseCode::ABNORMAL, "client went away before the upgrade"),
            LateUpgrade::Refused => {
                (CloseCode::INTERNAL_ERROR, "its request was answered without the upgrade")
            }
        };
        Close { code, reason: reason.to_owned(), was_clean: false }
    }
}

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// Reserves an id for an upgrade that is offered to a worker by this request.
    pub fn reserve(&mut self, client: C, worker: WorkerId, request: RequestId) -> LeaseId {
        let id = self
            .connections
            .insert_with(|id| Connection::offered(client, worker, request, id.lease));
        self.gain(worker);
        LeaseId(id)
    }

    /// The worker accepts. `is_portable`: the connection may outlive it. Returns how the connection
    /// is known from now on; `None` if it is not offered to it by this request.
    pub fn accept(
        &mut self,
        connection: LeaseId,
        worker: WorkerId,
        request: RequestId,
        is_portable: bool,
    ) -> Option<Route> {
        let found = self.of_owner_mut(connection, worker)?;
        if found.request() != Some(request) {
            return None;
        }
        found.state = State::Owned { owner: worker, crossed: None };
        if is_portable {
            found.record = Record::Portable(Box::new(Portable::default()));
        }
        let route = Route { slot: connection.0.slot, born: found.born };
        if self.draining(worker).is_some() {
            self.leaving.push(route);
            self.is_unsettled = true;
        }
        Some(route)
    }

    /// Withdraws an offer: ends a reservation that was not taken. `None` if it was, or has ended.
    pub fn withdraw(&mut self, connection: LeaseId, late: LateUpgrade) -> Option<C> {
        self.get(connection)?.request()?;
        let client = self.remove(connection)?;
        let slot = connection.0.slot as usize;
        if self.late_upgrades.len() <= slot {
            self.late_upgrades.resize(slot + 1, (0, LateUpgrade::default()));
        }
        self.late_upgrades[slot] = (connection.0.lease, late);
        Some(client)
    }

    /// Why an upgrade that finds no reservation is late: timed out, if that is no longer known.
    pub fn late_upgrade(&self, connection: LeaseId) -> LateUpgrade {
        let id = connection.0;
        let last = self.late_upgrades.get(id.slot as usize).filter(|(lease, _)| *lease == id.lease);
        last.map_or(LateUpgrade::TimedOut, |(_, late)| *late)
    }
}
