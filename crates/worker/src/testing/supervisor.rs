//! The supervisor's ends of the links: bytes to and from the workers' side of the [`State`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use shovel_core::custody::{Moment, OutOfTurn};
use shovel_link::{Filled, Incoming, Socket, Written};
use shovel_protocol::limits::payload_bytes;
use shovel_protocol::pieces::Pieces;
use shovel_protocol::{BadFrame, ToSupervisor, WorkerId};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::patience::patiently;
use super::state::State;
use super::workers::MAX_MESSAGE_BYTES;
use crate::lock::lock;

/// A supervisor whose workers are in its own process.
pub(super) struct Supervisor {
    /// The moments of custody are counted from here, by tokio's clock.
    start: Instant,
    state: Mutex<State>,
    /// Told when the state has changed.
    changed: Notify,
    ids: AtomicU32,
}

/// What a worker sent that the supervisor would end its link for.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Frame(#[from] BadFrame),
    #[error(transparent)]
    OutOfTurn(#[from] OutOfTurn),
}

impl Supervisor {
    pub(super) fn new() -> Supervisor {
        let (state, changed, ids) = Default::default();
        Supervisor { start: Instant::now(), state, changed, ids }
    }

    /// A number for a request, never given twice.
    pub(super) fn next_id(&self) -> u32 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Does something to the state, and all that follows from it.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let done = {
            let mut state = lock(&self.state);
            state.now = Moment(self.start.elapsed());
            let done = act(&mut state);
            state.settle();
            done
        };
        self.changed.notify_waiters();
        done
    }

    /// Does what is due, as time goes by.
    pub(super) async fn keep_time(self: Arc<Self>) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let due = lock(&self.state).next_due();
            let comes = due.and_then(|Moment(since)| self.start.checked_add(since));
            // Both branches only wait.
            tokio::select! {
                () = changed => {}
                () = sleep_until(comes.unwrap_or(self.start)), if comes.is_some() => {
                    self.act(|_state| {});
                }
            }
        }
    }

    /// Waits until the state has what is looked for; panics if it never does.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        look: impl FnMut(&mut State) -> Option<T>,
    ) -> T {
        match patiently(what, self.reached(look)).await {
            Some(found) => found,
            None => panic!("the app has ended; waited for {what}"),
        }
    }

    /// Waits until the state has what is looked for; `None` if all workers end before.
    async fn reached<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = lock(&self.state);
                let found = look(&mut state);
                if found.is_some() || state.workers.have_all_ended() {
                    return found;
                }
            }
            changed.await;
        }
    }

    /// Reads until a worker ends.
    pub(super) async fn read(self: Arc<Self>, worker: WorkerId, socket: Arc<Socket>) {
        let (mut incoming, mut pieces) =
            (Incoming::default(), Pieces::new(payload_bytes(MAX_MESSAGE_BYTES)));
        while let Ok(Filled::Bytes | Filled::Nothing) = incoming.fill(&socket).await {
            let handled = self.act(|state| handle_all(state, worker, &mut incoming, &mut pieces));
            if let Err(broken) = handled {
                tracing::error!("the app's link: {broken}");
                break;
            }
        }
        self.act(|state| state.end(worker));
    }

    /// Writes what is put, until a worker ends. `filled` tells when there is something.
    pub(super) async fn write(
        self: Arc<Self>,
        worker: WorkerId,
        socket: Arc<Socket>,
        filled: Arc<Notify>,
    ) {
        loop {
            filled.notified().await;
            loop {
                let written = lock(&self.state).workers.write_to(worker, &socket);
                match written {
                    Ok(Written::All) => break,
                    Ok(Written::Full) => {
                        if socket.writable().await.is_err() {
                            return;
                        }
                    }
                    // The reader sees the end too, and tells.
                    Err(_ended) => return,
                }
            }
        }
    }
}

fn handle_all(
    state: &mut State,
    worker: WorkerId,
    incoming: &mut Incoming,
    pieces: &mut Pieces,
) -> Result<(), Broken> {
    while let Some(frame) = incoming.next_frame()? {
        if let Some(frame) = pieces.push(frame)?
            && let Some(frame) = ToSupervisor::read(frame)?
        {
            state.handle(worker, frame)?;
        }
    }
    Ok(())
}
