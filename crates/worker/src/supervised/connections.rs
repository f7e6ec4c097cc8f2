//! The connections of a link.
//!
//! Its reader looks one up for each frame, so it has a table of its own and takes no lock. Who
//! accepts a connection, in whatever task, leaves it in [`Link::accepted`], where the reader finds
//! it: no frame about a connection comes before the supervisor knows that it was accepted.

use shovel_protocol::LeaseId;

use super::link::Link;
use super::table::Table;
use crate::Connection;
use crate::lock::lock;

/// A reader's table. Once it is dropped nothing comes any more for those in it.
#[derive(Default)]
pub(crate) struct Connections {
    table: Table<Connection>,
}

impl Connections {
    /// The connection, if it was accepted on this link and has not been removed.
    pub(crate) fn find(&mut self, link: &Link, id: LeaseId) -> Option<&Connection> {
        if self.table.find(id.0).is_none() {
            self.take_accepted(link);
        }
        self.table.find(id.0)
    }

    pub(crate) fn remove(&mut self, link: &Link, id: LeaseId) -> Option<Connection> {
        self.take_accepted(link);
        self.table.remove(id.0)
    }

    /// A connection that this worker has taken over.
    pub(crate) fn insert(&mut self, link: &Link, connection: Connection) {
        self.take_accepted(link);
        link.count_in();
        self.table.insert(connection.tenure.wire.0, connection);
    }

    fn take_accepted(&mut self, link: &Link) {
        for id in link.take_left() {
            self.table.remove(id.0);
        }
        for connection in lock(&link.accepted).drain(..) {
            self.table.insert(connection.tenure.wire.0, connection);
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.table.take_all().iter().for_each(|connection| connection.tenure.socket_closed());
    }
}
