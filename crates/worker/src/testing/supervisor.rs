//! The supervisor's end of the link: bytes to and from the app's side of the [`State`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use shovel_link::{Filled, Incoming, Socket, Written};
use shovel_protocol::limits::payload_bytes;
use shovel_protocol::pieces::Pieces;
use shovel_protocol::{BadFrame, ToSupervisor};
use tokio::sync::Notify;

use super::patience::patiently;
use super::state::{MAX_MESSAGE_BYTES, State};
use crate::lock::lock;

/// A supervisor of one worker, in the worker's own process.
#[derive(Default)]
pub(super) struct Supervisor {
    state: Mutex<State>,
    /// Told when there is something to write.
    filled: Notify,
    /// Told when the state has changed.
    changed: Notify,
    ids: AtomicU32,
}

impl Supervisor {
    /// A number for a request or a connection, never given twice.
    pub(super) fn next_id(&self) -> u32 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Does something to the state, and sees to what comes of it.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let done = act(&mut lock(&self.state));
        self.filled.notify_one();
        self.changed.notify_waiters();
        done
    }

    /// Waits until the state has what is looked for; panics if it never does.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> T {
        let found = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                {
                    let mut state = lock(&self.state);
                    if let Some(found) = look(&mut state) {
                        return found;
                    }
                    assert!(!state.has_ended(), "the app has ended; waited for {what}");
                }
                changed.await;
            }
        };
        patiently(what, found).await
    }

    /// Reads until the app ends.
    pub(super) async fn read(self: Arc<Self>, socket: Arc<Socket>) {
        let (mut incoming, mut pieces) =
            (Incoming::default(), Pieces::new(payload_bytes(MAX_MESSAGE_BYTES)));
        while let Ok(Filled::Bytes | Filled::Nothing) = incoming.fill(&socket).await {
            let handled = self.act(|state| handle_all(state, &mut incoming, &mut pieces));
            if let Err(bad) = handled {
                tracing::error!("the app's link: {bad}");
                break;
            }
        }
        self.act(|state| state.end());
    }

    /// Writes what is put, until the app ends.
    pub(super) async fn write(self: Arc<Self>, socket: Arc<Socket>) {
        loop {
            self.filled.notified().await;
            loop {
                let written = lock(&self.state).outgoing.write_to(&socket);
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
    incoming: &mut Incoming,
    pieces: &mut Pieces,
) -> Result<(), BadFrame> {
    while let Some(frame) = incoming.next_frame()? {
        if let Some(frame) = pieces.push(frame)?
            && let Some(frame) = ToSupervisor::read(frame)?
        {
            state.handle(frame);
        }
    }
    Ok(())
}
