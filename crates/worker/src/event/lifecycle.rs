//! The worker starts, and stops.

use std::sync::Arc;

use super::{Context, shared_methods, wait_until};

/// The worker is about to take work.
pub struct StartEvent<S> {
    context: Arc<Context<S>>,
}

/// The worker has finished all its work and is about to stop.
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
