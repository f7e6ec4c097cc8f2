//! Drives custody: one thing is told, then all that follows is done, then the next.

use std::rc::Rc;

use shovel_core::custody::Command;
use tokio::time::sleep_until;

use super::state::Staged;
use crate::router::Router;

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
        self.kept.note(self.custody.borrow().kept_bytes());
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

    fn next_command(&self) -> Option<Command<Staged>> {
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
        // Kept even if it equals the last one: `go_on` tells of changes only.
        router.alarm.due.set(router.custody.borrow().poll_timeout());
    }
}
