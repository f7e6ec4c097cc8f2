//! A worker that runs within a test.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use shovel_link::Socket;
use shovel_protocol::WorkerId;
use tokio::task::{JoinHandle, JoinSet};

use super::patience::patiently;
use super::state::State;
use super::supervisor::Supervisor;
use super::workers::Life;
use crate::work::Work;
use crate::{App, RunError, supervised};

/// An app that serves at the other end of a link. Dropped, it ends as if its supervisor had gone.
pub(super) struct Running {
    pub(super) id: WorkerId,
    pub(super) generation: u32,
    /// Its handlers, which end with it if it is killed.
    work: Work,
    task: JoinHandle<Result<(), RunError>>,
    /// The tasks that hold our end of the link, which ends when they are dropped.
    _link: JoinSet<()>,
}

impl Running {
    /// Starts the worker that has joined under this name, and waits until its start handler has
    /// ended.
    pub(super) async fn start<S: Send + Sync + 'static>(
        supervisor: &Arc<Supervisor>,
        app: App<S>,
        id: WorkerId,
        generation: u32,
    ) -> Result<Running, RunError> {
        let (ours, theirs) = UnixStream::pair().map_err(RunError::Runtime)?;
        let socket = Arc::new(Socket::new(ours).map_err(RunError::Runtime)?);
        let filled = supervisor.act(|state| state.workers.filled(id));
        let mut link = JoinSet::new();
        link.spawn(supervisor.clone().read(id, socket.clone()));
        link.spawn(supervisor.clone().write(id, socket, filled));
        let work = Work::mortal();
        let task = tokio::spawn(supervised::serve(app, vec![theirs], work.clone()));
        let mut running = Running { id, generation, work, task, _link: link };
        let started = |state: &mut State| match state.workers.life(id) {
            Life::Starting => None,
            Life::Ready | Life::Stopping => Some(true),
            Life::Ended => Some(false),
        };
        match supervisor.until("the start handler", started).await {
            true => Ok(running),
            false => Err(running.ended().await.err().unwrap_or(RunError::SupervisorGone)),
        }
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&mut self) -> Result<(), RunError> {
        let what = "the end of the app: of handlers, responses and work given to `wait_until`";
        let ended = patiently(what, &mut self.task).await;
        ended.unwrap_or_else(|error| Err(RunError::Internal(error.to_string())))
    }

    /// Drops all that runs of it where it stands.
    pub(super) async fn kill(&mut self) {
        self.task.abort();
        self.work.cut_off();
        // An error says that it was dropped, or had failed before.
        let _ = (&mut self.task).await;
    }
}
