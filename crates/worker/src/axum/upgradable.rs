//! The upgrade that a request offers, or the connection that it once became, until somebody takes
//! it.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode};

use super::delivery::{Delivery, Events};
use crate::event::{Accepted, offered_protocols};
use crate::lock::lock;
use crate::work::Work;
use crate::{Connection, FetchEvent, UpgradeError};

/// In the extensions of each request that offers an upgrade.
#[derive(Clone)]
pub(super) struct Upgradable {
    source: Arc<Mutex<Source>>,
    /// Whose task will hold the socket.
    work: Work,
}

enum Source {
    Request(Box<FetchEvent<()>>),
    /// Another worker had it. Taken once.
    Connection {
        connection: Connection,
        is_taken: bool,
    },
}

/// An upgrade begun, which takes effect when the response is returned.
pub(super) struct Taken {
    pub(super) connection: Connection,
    pub(super) events: Events,
    pub(super) response: Response,
    /// It is not new: another worker had it.
    pub(super) is_adopted: bool,
}

impl Upgradable {
    pub(super) fn new(event: FetchEvent<()>) -> Upgradable {
        let work = event.work().clone();
        Upgradable { source: Arc::new(Mutex::new(Source::Request(Box::new(event)))), work }
    }

    pub(super) fn adopted(connection: Connection, work: Work) -> Upgradable {
        let source = Source::Connection { connection, is_taken: false };
        Upgradable { source: Arc::new(Mutex::new(source)), work }
    }

    /// The subprotocols that the client offers, the preferred one first.
    pub(super) fn protocols(&self) -> Vec<HeaderValue> {
        let source = lock(&self.source);
        let headers = match &*source {
            Source::Request(event) => event.request().headers(),
            Source::Connection { connection, .. } => connection.headers(),
        };
        offered_protocols(headers).filter_map(|name| HeaderValue::from_str(name).ok()).collect()
    }

    /// Upgrades the request, or takes the connection over: that one keeps its subprotocol.
    pub(super) fn take(&self, protocol: Option<&str>) -> Result<Taken, UpgradeError> {
        let mut source = lock(&self.source);
        let is_adopted = matches!(&*source, Source::Connection { .. });
        let (connection, response) = match (&mut *source, protocol) {
            (Source::Request(event), Some(protocol)) => {
                event.upgrade_websocket_with_protocol(protocol)?
            }
            (Source::Request(event), None) => event.upgrade_websocket()?,
            (Source::Connection { is_taken: true, .. }, _) => return Err(UpgradeError::Twice),
            (Source::Connection { connection, is_taken }, _) => {
                *is_taken = true;
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.extensions_mut().insert(Accepted(connection.clone()));
                (connection.clone(), response)
            }
        };
        let (delivery, events) = Delivery::new();
        // It is new, so nothing is set.
        let _ = connection.tenure.delivery.set(delivery);
        Ok(Taken { connection, events, response, is_adopted })
    }

    /// Starts the task that holds the socket of the connection that was taken. The close event waits
    /// for it.
    pub(super) fn spawn(
        &self,
        connection: &Connection,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        if let Some(delivery) = connection.tenure.delivery.get() {
            let task = tokio::spawn(task);
            self.work.note(&task);
            delivery.set_task(task);
        }
    }
}
