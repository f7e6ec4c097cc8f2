//! The connections of a thread: how they are found, and what of them counts elsewhere.
//!
//! A frame about a connection is looked up by slot and lease, and must come from its owner. The
//! lease changes with each owner, so the thread itself knows a connection by its [`Route`].

use shovel_protocol::{LeaseId, WorkerId};

use super::connection::{Standing, State};
use super::{ClientHandle, Connection, Custody, Route, Slot, WorkerCell};

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// How the connection with this id is known from its reservation to its end.
    pub fn route(&self, connection: LeaseId) -> Option<Route> {
        let born = self.get(connection)?.born;
        Some(Route { slot: connection.0.slot, born })
    }

    /// The same, of the connection in a slot.
    pub fn route_at(&self, slot: Slot) -> Option<Route> {
        Some(Route { slot, born: self.at(slot)?.born })
    }

    /// The connection under its present lease, whoever asks.
    pub fn get(&self, connection: LeaseId) -> Option<&Connection<C, M, E>> {
        self.connections.get(connection.0)
    }

    /// What the caller keeps of the client of a connection, under its present lease.
    pub fn client_mut(&mut self, connection: LeaseId) -> Option<&mut C> {
        self.connections.get_mut(connection.0).map(|found| &mut found.client)
    }

    /// The connection in a slot.
    pub fn at(&self, slot: Slot) -> Option<&Connection<C, M, E>> {
        self.connections.at(slot)
    }

    /// The connection in a slot.
    #[inline]
    pub fn at_mut(&mut self, slot: Slot) -> Option<&mut Connection<C, M, E>> {
        self.connections.at_mut(slot)
    }

    /// The connection, whatever its lease is by now, and its present id.
    pub fn on_route(&self, route: Route) -> Option<(LeaseId, &Connection<C, M, E>)> {
        let (id, connection) = self.connections.leased_at(route.slot)?;
        (connection.born == route.born).then_some((LeaseId(id), connection))
    }

    /// The connection, whatever its lease is by now, and its present id.
    #[inline]
    pub fn on_route_mut(&mut self, route: Route) -> Option<(LeaseId, &mut Connection<C, M, E>)> {
        let (id, connection) = self.connections.leased_at_mut(route.slot)?;
        (connection.born == route.born).then_some((LeaseId(id), connection))
    }

    /// The connections from a place of the table on, each with its place.
    pub fn starting_at(&self, slot: Slot) -> impl Iterator<Item = (Slot, &Connection<C, M, E>)> {
        self.connections.iter_from(slot).map(|(id, connection)| (id.slot, connection))
    }

    /// How many there are, those that are only offered among them.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The connection, if it is this worker's, or offered to it.
    pub fn of_owner(&self, connection: LeaseId, worker: WorkerId) -> Option<&Connection<C, M, E>> {
        self.connections.get(connection.0).filter(|found| found.owner() == Some(worker))
    }

    #[inline]
    pub(super) fn of_owner_mut(
        &mut self,
        connection: LeaseId,
        worker: WorkerId,
    ) -> Option<&mut Connection<C, M, E>> {
        self.connections.get_mut(connection.0).filter(|found| found.owner() == Some(worker))
    }

    /// Takes a connection out. Its subscriptions must have ended before.
    pub fn remove(&mut self, connection: LeaseId) -> Option<C> {
        let state = self.get(connection)?.state;
        self.change(connection.0.slot, |found| found.state = State::Over);
        if let State::Adopting { owner, .. } = state {
            // Its answer will not be looked at.
            self.note_proof(owner, false);
        }
        let removed = self.connections.remove(connection.0)?;
        self.drop_kept(removed.standing().kept_bytes);
        // Workers that stayed in case this one needs them may leave now.
        self.is_unsettled |= self.is_ending() && self.connections.is_empty();
        Some(removed.client)
    }

    /// Bytes of messages that are kept until a handler has finished with them.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Whether so much is kept that the client of this connection is not to be read. If so, a
    /// [`super::Command::CheckReader`] comes when there is room.
    pub fn keeps_too_much(&mut self, route: Route) -> bool {
        let is_full = self.kept_bytes >= self.most_kept_bytes;
        let counts = is_full
            && self
                .on_route(route)
                .is_some_and(|(_, found)| found.is_portable() && !found.is_idle());
        if counts {
            self.unread.push(route);
        }
        counts
    }

    pub(super) fn routes_where(
        &self,
        is_wanted: impl Fn(&Connection<C, M, E>) -> bool,
    ) -> Vec<Route> {
        let all = self.connections.iter();
        let wanted = all.filter(|(_, connection)| is_wanted(connection));
        wanted.map(|(id, connection)| Route { slot: id.slot, born: connection.born }).collect()
    }

    /// Every change of a connection but a message and a commit goes through here, so that what counts
    /// elsewhere is counted anew.
    pub(super) fn change<R>(
        &mut self,
        slot: Slot,
        change: impl FnOnce(&mut Connection<C, M, E>) -> R,
    ) -> Option<R> {
        let connection = self.connections.at_mut(slot)?;
        let before = connection.standing();
        let changed = change(connection);
        let after = connection.standing();
        self.note_standing(slot, before, after);
        Some(changed)
    }

    pub(super) fn note_standing(&mut self, slot: Slot, before: Standing, after: Standing) {
        if before == after {
            return;
        }
        if before.kept_bytes > after.kept_bytes {
            self.drop_kept(before.kept_bytes - after.kept_bytes);
        }
        if before.is_moving != after.is_moving {
            self.under_way = if after.is_moving { self.under_way + 1 } else { self.under_way - 1 };
            self.is_unsettled = true;
        }
        if before.due != after.due {
            self.note_due(slot, before, after);
        }
        // The new owner first: nobody must seem to have nothing left meanwhile.
        if before.owner != after.owner {
            after.owner.into_iter().for_each(|worker| self.gain(worker));
        }
        if (before.owner, before.is_under_way) != (after.owner, after.is_under_way) {
            let began = after.owner.filter(|_| after.is_under_way);
            began.into_iter().for_each(|worker| self.begin_company(worker));
            let ended = before.owner.filter(|_| before.is_under_way);
            ended.into_iter().for_each(|worker| self.end_company(worker));
        }
        if before.owner != after.owner {
            before.owner.into_iter().for_each(|worker| self.let_go(worker));
        }
    }

    fn note_due(&mut self, slot: Slot, before: Standing, after: Standing) {
        let Some(born) = self.connections.at(slot).map(|found| found.born) else { return };
        let route = Route { slot, born };
        if let Some(at) = before.due {
            self.deadlines.remove(&(at, route));
        }
        if let Some(at) = after.due {
            self.deadlines.insert((at, route));
        }
    }

    /// A worker has one connection more.
    pub(super) fn gain(&mut self, worker: WorkerId) {
        if let Some(its) = self.workers.get_mut(&worker) {
            its.connections += 1;
            its.cell.note_load(true);
        }
    }

    /// A worker has one connection less.
    fn let_go(&mut self, worker: WorkerId) {
        // A worker may join after a connection was reserved for it: then it has one less than it loses.
        if let Some(its) = self.workers.get_mut(&worker)
            && its.connections > 0
        {
            its.connections -= 1;
            its.cell.note_load(false);
        }
        self.note_change(worker);
    }

    fn drop_kept(&mut self, bytes: usize) {
        self.kept_bytes -= bytes;
        if self.kept_bytes < self.most_kept_bytes / 2 && !self.unread.is_empty() {
            for route in self.unread.take() {
                self.commands.push_back(super::Command::CheckReader { route });
            }
        }
    }

    /// Has the owner of a connection handed what is next, when its turn has come.
    pub(super) fn hand_over_next(&mut self, route: Route) {
        if let Some((connection, _)) = self.on_route(route) {
            self.commands.push_back(super::Command::HandOver { connection });
        }
    }

    /// Counts the messages that a dead worker had under way on connections that are not portable. To
    /// count each while it lives would cost something on the hot way. So a thread that learns of the
    /// death later knows of this thread's, but not the reverse.
    pub(super) fn count_plain_company(&mut self, worker: WorkerId, connections: &[Route]) {
        let is_company = |route: &&Route| {
            self.on_route(**route).is_some_and(|(_, found)| {
                let is_owned = matches!(found.state, State::Owned { .. });
                is_owned && !found.is_portable() && !found.is_idle()
            })
        };
        let company = connections.iter().filter(is_company).count();
        (0..company).for_each(|_| self.begin_company(worker));
    }
}
