//! A connection came from another worker.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri};
use shovel_protocol::control;

use super::{Context, attachment, shared_methods, wait_until};
use crate::Connection;
use crate::supervised::tenure::Adoption;
use crate::work::Work;

/// This worker takes over a connection that another one had: its first event here.
///
/// The client has noticed nothing. The connection has its id, its url and headers, its
/// subscriptions, and what was attached to it. A handler that returns an error refuses it: it is
/// closed with 1012, and only its close event comes.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shovel_worker::{AdoptEvent, Attachment, Error};
///
/// #[derive(Serialize, Deserialize)]
/// struct Member {
///     name: String,
/// }
///
/// impl Attachment for Member {}
///
/// async fn adopt(event: AdoptEvent<()>) -> Result<(), Error> {
///     if let Some(member) = event.attachment::<Member>()? {
///         println!("{} goes on here after a {:?}", member.name, event.cause());
///     }
///     Ok(())
/// }
/// ```
pub struct AdoptEvent<S> {
    context: Arc<Context<S>>,
    connection: Connection,
    adoption: Adoption,
}

/// Why a connection needs another worker.
///
/// ```
/// use shovel_worker::{AdoptCause, AdoptEvent};
///
/// fn is_planned(event: &AdoptEvent<()>) -> bool {
///     event.cause() != AdoptCause::Crash
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdoptCause {
    /// Its worker was replaced by a new one.
    Reload,
    /// Its worker died.
    Crash,
    /// No worker was needed for some time.
    Wake,
    /// Another worker had more to do.
    Rebalance,
}

impl<S> AdoptEvent<S> {
    pub(crate) fn new(
        context: Arc<Context<S>>,
        connection: Connection,
        adoption: Adoption,
    ) -> AdoptEvent<S> {
        AdoptEvent { context, connection, adoption }
    }

    /// The connection.
    ///
    /// ```
    /// # use shovel_worker::{AdoptEvent, Error};
    /// async fn adopt(event: AdoptEvent<()>) -> Result<(), Error> {
    ///     event.connection().send("another worker is here for you now").await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Why this worker has it now.
    ///
    /// ```
    /// # use shovel_worker::{AdoptEvent, Error};
    /// async fn adopt(event: AdoptEvent<()>) -> Result<(), Error> {
    ///     println!("{} comes here after a {:?}", event.connection().id(), event.cause());
    ///     Ok(())
    /// }
    /// ```
    pub fn cause(&self) -> AdoptCause {
        match self.adoption.cause {
            control::AdoptCause::Reload => AdoptCause::Reload,
            control::AdoptCause::Crash => AdoptCause::Crash,
            control::AdoptCause::Wake => AdoptCause::Wake,
            control::AdoptCause::Rebalance => AdoptCause::Rebalance,
        }
    }

    /// The channels that the connection is subscribed to, in no order.
    ///
    /// ```
    /// # use shovel_worker::{AdoptEvent, Error};
    /// async fn adopt(event: AdoptEvent<()>) -> Result<(), Error> {
    ///     println!("subscribed to {:?}", event.channels_subscribed().collect::<Vec<_>>());
    ///     Ok(())
    /// }
    /// ```
    pub fn channels_subscribed(&self) -> impl Iterator<Item = &str> {
        self.adoption.channels.iter().map(String::as_str)
    }

    /// The address of the client when it connected; none on a Unix socket.
    ///
    /// ```
    /// # use shovel_worker::{AdoptEvent, Error};
    /// async fn adopt(event: AdoptEvent<()>) -> Result<(), Error> {
    ///     println!("of {:?}", event.client());
    ///     Ok(())
    /// }
    /// ```
    pub fn client(&self) -> Option<SocketAddr> {
        self.adoption.client
    }

    /// The head of the request that became the connection.
    pub(crate) fn request(&self) -> (&Method, &Uri, &HeaderMap) {
        (&self.adoption.method, &self.adoption.uri, &self.adoption.headers)
    }

    /// What the worker has under way.
    pub(crate) fn work(&self) -> &Work {
        &self.context.work
    }

    attachment!();
    shared_methods!();
    wait_until!();
}
