//! The access log: one line per request, when its response has gone or will not go, and one for what
//! was refused before it was one.

use std::rc::Rc;
use std::time::Instant;

use http::{Method, Request, StatusCode};
use shovel_protocol::ConnectionUuid;
use tracing::info;

use super::identity::Names;
use crate::backend::{Notes, Peer};

/// Says that the client did not wait for the answer. No client ever sees it; nginx writes the same.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request that is to have its line: written when this is dropped.
pub(crate) struct Access {
    begun: Instant,
    names: Names,
    method: Method,
    path: String,
    peer: Rc<Peer>,
    notes: Notes,
    status: Option<StatusCode>,
    body_bytes: u64,
    is_whole: bool,
}

impl Access {
    pub(crate) fn begin<Body>(
        request: &Request<Body>,
        names: Names,
        peer: &Rc<Peer>,
        notes: &Notes,
    ) -> Self {
        Access {
            begun: Instant::now(),
            names,
            method: request.method().clone(),
            // Without its query, which may hold what nobody should read in a log.
            path: request.uri().path().to_owned(),
            peer: peer.clone(),
            notes: notes.clone(),
            status: None,
            body_bytes: 0,
            is_whole: false,
        }
    }

    /// There is a response. One to HEAD, a 304 or a 204 is whole without its body, and so is a 101.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        let bodiless =
            [StatusCode::NOT_MODIFIED, StatusCode::NO_CONTENT, StatusCode::SWITCHING_PROTOCOLS];
        self.is_whole = self.method == Method::HEAD || bodiless.contains(&status);
    }

    /// More of the body goes out.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.body_bytes += bytes as u64;
    }

    /// Nothing of the body is left.
    pub(crate) fn ended(&mut self) {
        self.is_whole = true;
    }
}

impl Access {
    fn connection(&self) -> Option<ConnectionUuid> {
        let is_upgrade = self.status == Some(StatusCode::SWITCHING_PROTOCOLS);
        self.notes.connection().filter(|_| is_upgrade)
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let status = self.status.map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16());
        // A `None` is left out.
        info!(
            target: "access",
            id = self.names.id.to_str().unwrap_or_default(),
            trace = self.names.trace_id(),
            method = self.method.as_str(),
            path = self.path,
            status,
            bytes = self.body_bytes,
            took_us = self.begun.elapsed().as_micros() as u64,
            worker = self.notes.worker().map(tracing::field::display),
            connection = self.connection().map(tracing::field::display),
            client = self.peer.address.map(tracing::field::display),
            broken_off = (!self.is_whole).then_some(true),
            "request"
        );
    }
}

/// The line of what became no request, or of one that was not answered by whoever answers them.
pub(crate) fn log_refused(peer: &Peer, status: StatusCode, why: &'static str) {
    info!(
        target: "access",
        status = status.as_u16(),
        client = peer.address.map(tracing::field::display),
        why,
        "request refused"
    );
}
