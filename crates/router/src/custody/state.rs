//! What custody keeps on this thread, and when something of it is due.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use shovel_core::custody::{self, Moment};
use shovel_edge::Pot;
use shovel_protocol::MessageKind;
use shovel_protocol::control::Effect;
use shovel_protocol::to_supervisor::{Effects, put_effect};
use tokio::sync::Notify;

use crate::clients::client::Client;
use crate::links::cell::Linked;

/// Who has which connection of this thread.
pub type ThreadCustody = custody::Custody<Linked, Client, KeptMessage, Staged>;

/// Acts that wait for their commit, as they stand in a `ws:upgrade`. All that one worker has staged
/// on this thread is counted together.
#[derive(Default)]
pub struct Staged {
    acts: Vec<u8>,
    /// How many.
    count: usize,
    pot: Option<Rc<Pot>>,
}

impl Staged {
    /// Appends an act of the worker with this pot.
    pub fn put(&mut self, pot: &Rc<Pot>, effect: &Effect<'_>) {
        let before = self.acts.len();
        put_effect(&mut self.acts, effect);
        self.count += 1;
        let pot = self.pot.get_or_insert_with(|| pot.clone());
        pot.add(self.acts.len() - before);
    }

    pub fn len(&self) -> usize {
        self.acts.len()
    }

    pub fn acts(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.acts.is_empty()
    }

    /// The acts, in order.
    pub fn effects(&self) -> Effects<'_> {
        Effects::new(&self.acts)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(pot) = &self.pot {
            pot.take(self.acts.len());
        }
    }
}

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
