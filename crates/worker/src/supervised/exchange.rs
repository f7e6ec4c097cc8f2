//! One request and its answer, as a link knows them.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, Uri};
use shovel_protocol::control::{Headers, OfferedConnection, RequestHead};
use shovel_protocol::credit::Credit;
use shovel_protocol::limits::FRAME_PAYLOAD_BYTES;
use shovel_protocol::{ConnectionUuid, LeaseId, RequestId};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::link::Link;
use super::tenure::SharedTenure;
use super::upload::Upload;
use crate::lock::lock;
use crate::{Connection, UpgradeError};

/// A request until its answer has been sent.
pub(crate) struct Exchange {
    pub(crate) request: RequestId,
    pub(crate) link: Arc<Link>,
    /// The request's body; none if it is empty.
    pub(crate) upload: Option<Arc<Upload>>,
    offer: Option<UpgradeIds>,
    state: Mutex<State>,
    credited: Notify,
}

/// What an upgrade would be called.
#[derive(Clone, Copy)]
pub(crate) struct UpgradeIds {
    pub(crate) connection: LeaseId,
    pub(crate) uuid: ConnectionUuid,
}

struct State {
    stage: Stage,
    credit: Credit,
    task: Option<AbortHandle>,
}

enum Stage {
    Open,
    /// The handler has asked for the upgrade and not yet returned.
    Upgraded(Arc<SharedTenure>),
    /// By the handler, or because nobody wants an answer any more.
    Answered,
}

/// What an answer turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The upgrade; it has been sent.
    Upgrade,
    /// A response, to be sent.
    Response,
    /// A response that accepts another request's upgrade, or one withdrawn meanwhile.
    Stray,
}

impl Exchange {
    pub(crate) fn new(
        link: Arc<Link>,
        request: RequestId,
        head: &RequestHead<'_>,
        has_body: bool,
    ) -> Self {
        let is_awaited = head.headers.0.iter().any(|(name, _)| *name == "expect");
        let state =
            State { stage: Stage::Open, credit: Credit::new(link.body_window_bytes), task: None };
        Exchange {
            request,
            upload: has_body.then(|| Arc::new(Upload::new(link.clone(), request, is_awaited))),
            link,
            offer: head.offer.map(UpgradeIds::from),
            state: Mutex::new(state),
            credited: Notify::new(),
        }
    }

    pub(crate) fn offer(&self) -> Option<UpgradeIds> {
        self.offer
    }

    /// Makes the connection that the request may become.
    pub(crate) fn upgrade(
        &self,
        url: &Uri,
        headers: &HeaderMap,
        protocol: Option<&str>,
    ) -> Result<Connection, UpgradeError> {
        let offer = self.offer.ok_or(UpgradeError::NotOffered)?;
        let mut state = lock(&self.state);
        match state.stage {
            Stage::Open => {}
            Stage::Upgraded(_) => return Err(UpgradeError::Twice),
            Stage::Answered => return Err(UpgradeError::Answered),
        }
        let ids = (offer.connection, offer.uuid);
        let tenure = SharedTenure::offered(self.link.clone(), ids, url, headers, protocol);
        let tenure = Arc::new(tenure);
        state.stage = Stage::Upgraded(tenure.clone());
        Ok(Connection { tenure })
    }

    /// The handler has answered; `accepted`: with the response to this upgrade.
    pub(crate) fn settle(&self, accepted: Option<&Connection>, headers: Headers<'_>) -> Settled {
        let stage = std::mem::replace(&mut lock(&self.state).stage, Stage::Answered);
        match (stage, accepted) {
            (Stage::Upgraded(ours), Some(connection)) if Arc::ptr_eq(&ours, &connection.tenure) => {
                match ours.accept(self.request, headers) {
                    true => Settled::Upgrade,
                    false => Settled::Stray,
                }
            }
            (stage, accepted) => {
                if let Stage::Upgraded(tenure) = stage {
                    tenure.withdraw();
                }
                if accepted.is_some() { Settled::Stray } else { Settled::Response }
            }
        }
    }

    /// Nobody wants the answer any more: drops its task. Returns the connection that the handler
    /// had begun, which is no more.
    pub(crate) fn cancel(&self) -> Option<Connection> {
        let (stage, task) = {
            let mut state = lock(&self.state);
            (std::mem::replace(&mut state.stage, Stage::Answered), state.task.take())
        };
        if let Some(task) = task {
            task.abort();
        }
        self.close_upload();
        match stage {
            Stage::Upgraded(tenure) if tenure.withdraw() => Some(Connection { tenure }),
            _ => None,
        }
    }

    /// Nothing more is taken of the request's body.
    pub(crate) fn close_upload(&self) {
        if let Some(upload) = &self.upload {
            upload.cut_off();
        }
    }

    /// The task that makes the answer.
    pub(crate) fn set_task(&self, task: AbortHandle) {
        lock(&self.state).task = Some(task);
    }

    pub(crate) fn grant(&self, bytes: u32) {
        lock(&self.state).credit.grant(bytes);
        self.credited.notify_one();
    }

    /// Waits until something of the response's body may be sent; returns how much, at least 1.
    pub(crate) async fn spend_credit(&self, most_bytes: usize) -> usize {
        loop {
            self.link.wait_for_room().await;
            {
                let credit = &mut lock(&self.state).credit;
                let bytes = credit.available_bytes().min(most_bytes).min(FRAME_PAYLOAD_BYTES);
                if bytes > 0 {
                    credit.spend(bytes);
                    return bytes;
                }
            }
            self.credited.notified().await;
        }
    }
}

impl From<OfferedConnection> for UpgradeIds {
    fn from(offered: OfferedConnection) -> Self {
        let uuid = ConnectionUuid(Uuid::from_bytes(offered.uuid));
        UpgradeIds { connection: LeaseId::from_wire(offered.connection), uuid }
    }
}
