//! The worker starts, and stops.

use std::sync::Arc;

use super::{Context, shared_methods, wait_until};

/// The worker is about to take work.
///
/// ```
/// use shovel_worker::{Error, StartEvent};
///
/// async fn start(event: StartEvent<()>) -> Result<(), Error> {
///     println!("worker {} of generation {}", event.worker().index, event.worker().generation);
///     Ok(())
/// }
/// ```
pub struct StartEvent<S> {
    context: Arc<Context<S>>,
}

/// The worker has finished all its work and is about to stop.
///
/// ```
/// use shovel_worker::{Error, ShutdownEvent};
///
/// async fn shutdown(event: ShutdownEvent<()>) -> Result<(), Error> {
///     event.channel("workers")?.publish("one less").await?;
///     Ok(())
/// }
/// ```
pub struct ShutdownEvent<S> {
    context: Arc<Context<S>>,
}

impl<S> StartEvent<S> {
    pub(crate) fn new(context: Arc<Context<S>>) -> StartEvent<S> {
        StartEvent { context }
    }

    shared_methods!();
    wait_until!();
}

impl<S> ShutdownEvent<S> {
    pub(crate) fn new(context: Arc<Context<S>>) -> ShutdownEvent<S> {
        ShutdownEvent { context }
    }

    shared_methods!();
}
