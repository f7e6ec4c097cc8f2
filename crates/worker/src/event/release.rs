//! A connection goes to another worker.

use std::sync::Arc;

use super::{Context, attachment, shared_methods, wait_until};
use crate::Connection;

/// A connection is about to leave this worker, which is replaced or goes to sleep: its last event
/// here. No handler of it runs, and no more messages come.
///
/// The place to attach what the next worker needs, and to end tasks that belong to the connection.
/// If this worker dies instead, there is no such event.
///
/// ```
/// use shovel_worker::{Error, ReleaseEvent};
///
/// async fn release(event: ReleaseEvent<()>) -> Result<(), Error> {
///     event.connection().attach_bytes(1, b"what was only in memory until now")?;
///     Ok(())
/// }
/// ```
pub struct ReleaseEvent<S> {
    context: Arc<Context<S>>,
    connection: Connection,
    revoked: bool,
}

impl<S> ReleaseEvent<S> {
    pub(crate) fn new(
        context: Arc<Context<S>>,
        connection: Connection,
        revoked: bool,
    ) -> ReleaseEvent<S> {
        ReleaseEvent { context, connection, revoked }
    }

    /// The connection.
    ///
    /// ```
    /// # use shovel_worker::{Error, ReleaseEvent};
    /// async fn release(event: ReleaseEvent<()>) -> Result<(), Error> {
    ///     println!("{} leaves", event.connection().id());
    ///     Ok(())
    /// }
    /// ```
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether a handler was dropped for it, so that nothing may be done to the connection any more.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked
    }

    attachment!();
    shared_methods!();
    wait_until!();
}
