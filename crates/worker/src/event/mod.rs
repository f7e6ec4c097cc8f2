//! Events: what handlers are given.
//!
//! Each event owns what it is about and shares the rest of the app by one pointer, so that it may
//! be moved into tasks.

mod adopt;
mod close;
mod fetch;
mod lifecycle;
mod message;
mod release;

use std::sync::Arc;

pub use adopt::{AdoptCause, AdoptEvent};
pub use close::CloseEvent;
pub use fetch::{ClientAddress, FetchEvent, UpgradeError};
pub use lifecycle::{ShutdownEvent, StartEvent};
pub use message::MessageEvent;
pub use release::ReleaseEvent;

pub(crate) use fetch::{Accepted, offered_protocols};
pub(crate) use message::Arrived;

use crate::work::Work;
use crate::{Channels, WorkerInfo};

/// What every event shares.
pub(crate) struct Context<S> {
    pub(crate) state: Arc<S>,
    pub(crate) worker: WorkerInfo,
    pub(crate) channels: Channels,
    pub(crate) work: Work,
    /// Connections are portable.
    pub(crate) portable: bool,
}

/// The methods that all events have.
macro_rules! shared_methods {
    () => {
        /// The app's state.
        ///
        /// ```
        /// # use std::collections::HashMap;
        /// # use shovel_worker::{Error, FetchEvent};
        /// async fn fetch(event: FetchEvent<HashMap<String, String>>) -> Result<String, Error> {
        ///     let path = event.request().uri().path();
        ///     Ok(event.state().get(path).cloned().unwrap_or_default())
        /// }
        /// ```
        pub fn state(&self) -> &std::sync::Arc<S> {
            &self.context.state
        }

        /// Which worker this is.
        ///
        /// ```
        /// # use shovel_worker::{Error, FetchEvent};
        /// async fn fetch(event: FetchEvent<()>) -> Result<String, Error> {
        ///     Ok(format!("process {}\n", event.worker().pid))
        /// }
        /// ```
        pub fn worker(&self) -> &$crate::WorkerInfo {
            &self.context.worker
        }

        /// Opens channels, also where no event is at hand.
        ///
        /// ```
        /// # use shovel_worker::{Channels, Error, FetchEvent};
        /// # async fn later(channels: Channels) {}
        /// async fn fetch(event: FetchEvent<()>) -> Result<(), Error> {
        ///     event.wait_until(later(event.channels().clone()));
        ///     Ok(())
        /// }
        /// ```
        pub fn channels(&self) -> &$crate::Channels {
            &self.context.channels
        }

        /// Opens a channel: a party of its own on it.
        ///
        /// ```
        /// # use shovel_worker::{Error, FetchEvent};
        /// async fn fetch(event: FetchEvent<()>) -> Result<(), Error> {
        ///     event.channel("news")?.publish("somebody looks").await?;
        ///     Ok(())
        /// }
        /// ```
        ///
        /// # Errors
        /// [`ChannelError`](crate::ChannelError) unless the name has 1 to 1,024 bytes.
        pub fn channel(
            &self,
            name: &str,
        ) -> Result<$crate::BroadcastChannel, $crate::ChannelError> {
            self.context.channels.channel(name)
        }
    };
}

/// The method of the events that may leave work behind.
macro_rules! wait_until {
    () => {
        /// Starts work that goes on after the handler, and that the worker finishes before it
        /// stops. It does not hold up later events.
        ///
        /// Not for work without an end, which is a task of its own: the worker would be killed at
        /// its deadline.
        ///
        /// ```
        /// # use shovel_worker::{Error, FetchEvent};
        /// # async fn write_to_audit_log(path: String) {}
        /// async fn fetch(event: FetchEvent<()>) -> Result<&'static str, Error> {
        ///     let path = event.request().uri().path().to_owned();
        ///     event.wait_until(write_to_audit_log(path));
        ///     Ok("answered before it is written")
        /// }
        /// ```
        pub fn wait_until(&self, work: impl Future<Output = ()> + Send + 'static) {
            drop(self.context.work.spawn(work));
        }
    };
}

/// The method of the events of a connection that may have an attachment.
macro_rules! attachment {
    () => {
        /// What was attached to the connection last, by this worker or another; see
        /// [`Connection::attach`](crate::Connection::attach).
        ///
        /// ```
        /// # use shovel_worker::{Attachment, Error, MessageEvent};
        /// # #[derive(serde::Serialize, serde::Deserialize)]
        /// # struct Member { name: String }
        /// # impl Attachment for Member {}
        /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
        ///     let member: Option<Member> = event.attachment()?;
        ///     let name = member.map_or_else(|| "somebody".to_owned(), |member| member.name);
        ///     Ok(event.connection().send(format!("hello {name}")).await?)
        /// }
        /// ```
        ///
        /// # Errors
        /// [`AttachmentError`](crate::AttachmentError): it cannot be read as a `T`.
        pub fn attachment<T: $crate::Attachment>(
            &self,
        ) -> Result<Option<T>, $crate::AttachmentError> {
            self.connection().attachment()
        }
    };
}

/// The methods of the events that may come a second time.
macro_rules! again {
    () => {
        /// Whether a worker that has lost the connection since may have begun to handle this.
        ///
        /// What that one did to the connection did not happen. What it did elsewhere, such as in a
        /// database, may have: this event's number, [`seq`](Self::seq), together with the
        /// connection's id is a key by which to find out.
        ///
        /// ```
        /// # use shovel_worker::{Error, MessageEvent};
        /// # async fn is_booked(_key: &str) -> bool { true }
        /// # async fn book(_key: &str) {}
        /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
        ///     let key = format!("{} {}", event.connection().id(), event.seq());
        ///     if !(event.redelivered() && is_booked(&key).await) {
        ///         book(&key).await;
        ///     }
        ///     Ok(())
        /// }
        /// ```
        pub fn redelivered(&self) -> bool {
            self.again().redelivered
        }

        /// Whether, beyond that, the client has seen something of it already: what was let out by
        /// [`Connection::flush`](crate::Connection::flush), or because it was over 1 MiB.
        ///
        /// ```
        /// # use shovel_worker::{Error, MessageEvent};
        /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
        ///     if event.partial() {
        ///         event.connection().send("from the beginning:").await?;
        ///     }
        ///     Ok(event.connection().send("a long answer").await?)
        /// }
        /// ```
        pub fn partial(&self) -> bool {
            self.again().partial
        }
    };
}

use {again, attachment, shared_methods, wait_until};
