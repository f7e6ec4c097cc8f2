//! Events: what handlers are given.
//!
//! Each event owns what it is about and shares the rest of the app by one pointer, so that it may
//! be moved into tasks.

mod close;
mod fetch;
mod lifecycle;
mod message;

use std::sync::Arc;

pub use close::CloseEvent;
pub use fetch::{ClientAddress, FetchEvent, UpgradeError};
pub use lifecycle::{ShutdownEvent, StartEvent};
pub use message::MessageEvent;

pub(crate) use fetch::Accepted;

use crate::work::Work;
use crate::{Channels, WorkerInfo};

/// What every event shares.
pub(crate) struct Context<S> {
    pub(crate) state: Arc<S>,
    pub(crate) worker: WorkerInfo,
    pub(crate) channels: Channels,
    pub(crate) work: Work,
}

/// The methods that all events have.
macro_rules! shared_methods {
    () => {
        /// The app's state.
        pub fn state(&self) -> &std::sync::Arc<S> {
            &self.context.state
        }

        /// Which worker this is.
        pub fn worker(&self) -> &$crate::WorkerInfo {
            &self.context.worker
        }

        /// Opens channels, also where no event is at hand.
        pub fn channels(&self) -> &$crate::Channels {
            &self.context.channels
        }

        /// Opens a channel: a party of its own on it.
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
        pub fn wait_until(&self, work: impl Future<Output = ()> + Send + 'static) {
            self.context.work.spawn(work);
        }
    };
}

use {shared_methods, wait_until};
