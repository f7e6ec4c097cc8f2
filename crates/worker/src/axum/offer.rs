//! The upgrade that a request offers, until somebody takes it.

use std::sync::{Arc, Mutex};

use axum::response::Response;
use http::HeaderValue;

use super::delivery::{Delivery, Events};
use crate::lock::lock;
use crate::{Connection, FetchEvent, UpgradeError};

/// In the extensions of each request that offers an upgrade.
#[derive(Clone)]
pub(super) struct Offer(Arc<Mutex<FetchEvent<()>>>);

/// An upgrade begun, which takes effect when the response is returned.
pub(super) struct Taken {
    pub(super) connection: Connection,
    pub(super) events: Events,
    pub(super) response: Response,
}

impl Offer {
    pub(super) fn new(event: FetchEvent<()>) -> Offer {
        Offer(Arc::new(Mutex::new(event)))
    }

    /// The subprotocols that the client offers, the preferred one first.
    pub(super) fn protocols(&self) -> Vec<HeaderValue> {
        let event = lock(&self.0);
        event.protocols().filter_map(|name| HeaderValue::from_str(name).ok()).collect()
    }

    /// Upgrades the request.
    pub(super) fn take(&self, protocol: Option<&str>) -> Result<Taken, UpgradeError> {
        let mut event = lock(&self.0);
        let (connection, response) = match protocol {
            Some(protocol) => event.upgrade_websocket_with_protocol(protocol)?,
            None => event.upgrade_websocket()?,
        };
        let (delivery, events) = Delivery::new();
        // It is new, so nothing is set.
        let _ = connection.tenure.delivery.set(delivery);
        Ok(Taken { connection, events, response })
    }
}

/// Starts the task that holds a connection's socket. The close event waits for it.
pub(super) fn spawn(connection: &Connection, task: impl Future<Output = ()> + Send + 'static) {
    if let Some(delivery) = connection.tenure.delivery.get() {
        delivery.set_task(tokio::spawn(task));
    }
}
