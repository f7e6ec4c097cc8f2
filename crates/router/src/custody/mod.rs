//! Custody on this thread: who drives it, and who does what it wants done.
//!
//! Whatever happens is told to custody, and what follows is done by [`Router::go_on`] before
//! anything else happens: [`commands`] sends the frames and closes the sockets, [`acts`] does what
//! handlers have done. [`events`] is how workers come and go.

pub(crate) mod acts;
pub(crate) mod commands;
pub(crate) mod events;

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use shovel_core::custody::{self, Moment};
use shovel_protocol::MessageKind;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::clients::client::Client;
use crate::links::cell::Linked;
use crate::router::Router;

/// Who has which connection of this thread.
pub type Custody = custody::Custody<Linked, Client, KeptMessage, Staged>;

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
    due: Cell<Option<Moment>>,
    changed: Notify,
    /// [`Router::go_on`] runs: what is to be done comes after what is being done.
    is_busy: Cell<bool>,
}

impl Router {
    /// Does all that custody wants done.
    pub(crate) fn go_on(self: &Rc<Self>) {
        if self.alarm.is_busy.replace(true) {
            return;
        }
        while let Some(command) = self.next_command() {
            self.obey(command);
        }
        self.alarm.is_busy.set(false);
        let due = self.custody.borrow().poll_timeout();
        if self.alarm.due.replace(due) != due {
            self.alarm.changed.notify_one();
        }
    }

    /// As [`Router::go_on`], if there is anything at all: after most messages there is not.
    #[inline]
    pub(crate) fn go_on_if_needed(self: &Rc<Self>) {
        if self.custody.borrow().has_work() {
            self.go_on();
        }
    }

    fn next_command(&self) -> Option<custody::Command<Staged>> {
        let mut custody = self.custody.borrow_mut();
        if custody.is_unsettled() {
            custody.handle_timeout(self.now());
        }
        custody.poll_command()
    }
}

/// Sees to what is due, as long as the thread runs.
pub async fn run(router: Rc<Router>) {
    loop {
        let changed = router.alarm.changed.notified();
        let due = router.alarm.due.get().map(|due| router.instant(due));
        // Cancel-safe: a notification that was not taken is kept, and the rest only waits.
        tokio::select! {
            () = changed => continue,
            () = sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {}
        }
        router.custody.borrow_mut().handle_timeout(router.now());
        router.go_on();
        // The same moment may be due again, and would not be told as a change.
        router.alarm.due.set(router.custody.borrow().poll_timeout());
    }
}
