//! Requests under way: from the head on the link to the end of the response.

use std::rc::Rc;

use http::Response;
use shovel_core::custody::Route;
use shovel_edge::{Accepted, Failure};
use shovel_protocol::LeaseId;
use tokio::sync::oneshot;

use super::body::{Download, ResponseBody};
use super::upload::Upload;
use crate::links::link::Link;

/// A request that a worker has.
pub struct Request {
    pub link: Rc<Link>,
    /// Whoever waits for the head of the response; gone once it has come.
    pub waiting: Option<oneshot::Sender<Outcome>>,
    /// The body of the response, once it has begun.
    pub download: Option<Rc<Download>>,
    /// The body of the request, while it is being passed on.
    pub upload: Option<Upload>,
    /// The connection that was reserved, if it offers an upgrade.
    pub connection: Option<LeaseId>,
    pub is_head: bool,
    /// Another worker may be asked while its own is late.
    pub may_ask_another: bool,
    /// The subprotocols that its client offers, if it offers an upgrade.
    pub protocols: Vec<String>,
}

/// What came of a request.
pub enum Outcome {
    /// The worker answered.
    Response(Response<ResponseBody>),
    /// The worker accepted the upgrade.
    Accepted(Accepted<Route>),
    /// The worker died before it answered.
    WorkerGone,
    /// The worker is late, and the request may be done again.
    WorkerLate,
    /// There will be no answer that can be passed on.
    Failed(Failure),
}
