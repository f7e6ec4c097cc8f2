//! What custody keeps on this thread, and when something of it is due.

use std::cell::Cell;

use bytes::Bytes;
use shovel_core::custody::{self, Moment};
use shovel_protocol::MessageKind;
use tokio::sync::Notify;

use crate::clients::client::Client;
use crate::links::cell::Linked;

/// Who has which connection of this thread.
pub type ThreadCustody = custody::Custody<Linked, Client, KeptMessage, Staged>;

/// Acts that wait for their commit, as they stand in a `ws:upgrade`.
pub type Staged = Vec<u8>;

/// A message that is kept until a handler has finished with it.
pub struct KeptMessage {
    pub kind: MessageKind,
    pub data: Bytes,
}

/// Wakes whoever sees to what is due.
#[derive(Default)]
pub struct Alarm {
    pub(super) due: Cell<Option<Moment>>,
    pub(super) changed: Notify,
    /// Commands are being done. Who asks for it meanwhile returns: the loop that runs does theirs.
    pub(super) is_busy: Cell<bool>,
}
