//! The body of a request on its way from a client to a worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use shovel_edge::{BrokenBody, RequestBody};
use shovel_protocol::control::Headers;
use shovel_protocol::credit::Credit;
use shovel_protocol::limits::FRAME_PAYLOAD_BYTES;
use shovel_protocol::{RequestId, ToWorker};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;

use super::head::headers;
use crate::counts::OfWorker;
use crate::links::link::Link;

/// A body that is being passed on. Dropping it stops that.
pub struct Upload {
    credit: Rc<SharedCredit>,
    task: AbortHandle,
}

/// How much may be sent: granted here, spent by the task.
struct SharedCredit {
    credit: RefCell<Credit>,
    window_bytes: u32,
    granted: Notify,
    /// When the client last had us wait; `None`: it does now.
    client_until: Cell<Option<Instant>>,
}

impl Upload {
    /// Passes `body` on in a task of its own. `is_awaited`: not before the worker has asked for it, by a
    /// credit. `break_off` is told why it does not become whole.
    pub fn start(
        link: Rc<Link>,
        request: RequestId,
        (body, is_awaited): (RequestBody, bool),
        window_bytes: u32,
        break_off: impl FnOnce(BrokenBody) + 'static,
    ) -> Self {
        let credit = RefCell::new(Credit::new(window_bytes));
        let (granted, client_until) = (Notify::new(), Cell::new(Some(Instant::now())));
        let credit = Rc::new(SharedCredit { credit, window_bytes, granted, client_until });
        let task = Task { link, request, credit: credit.clone() };
        let task = spawn_local(async move {
            if is_awaited {
                task.credit.granted.notified().await;
            }
            if let Err(broken) = task.run(body).await {
                break_off(broken);
            }
        });
        Upload { credit, task: task.abort_handle() }
    }

    /// Until when the client has had us wait for its body.
    pub fn client_until(&self) -> Instant {
        self.credit.client_until.get().unwrap_or_else(Instant::now)
    }

    /// The worker takes so many bytes more. Beyond the window it gets none: what it does not read
    /// would wait here.
    pub fn grant(&self, bytes: u32) {
        let mut credit = self.credit.credit.borrow_mut();
        let room = (self.credit.window_bytes as usize).saturating_sub(credit.available_bytes());
        credit.grant(bytes.min(room as u32));
        drop(credit);
        self.credit.granted.notify_one();
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    link: Rc<Link>,
    request: RequestId,
    credit: Rc<SharedCredit>,
}

impl Task {
    async fn run(&self, mut body: RequestBody) -> Result<(), BrokenBody> {
        let request = self.request;
        while let Some(frame) = self.next(&mut body).await {
            match frame?.into_data() {
                Ok(data) => self.pass(data).await,
                Err(frame) => {
                    self.link.room().await;
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let trailers = headers(&trailers);
                    self.link.send(&ToWorker::RequestEnd { request, trailers });
                    return Ok(());
                }
            }
        }
        self.link.room().await;
        self.link.send(&ToWorker::RequestEnd { request, trailers: Headers::default() });
        Ok(())
    }

    async fn next(&self, body: &mut RequestBody) -> Option<Result<Frame<Bytes>, BrokenBody>> {
        self.credit.client_until.set(None);
        let frame = body.frame().await;
        self.credit.client_until.set(Some(Instant::now()));
        frame
    }

    async fn pass(&self, mut data: Bytes) {
        while !data.is_empty() {
            let available = self.credit.credit.borrow().available_bytes();
            if available == 0 {
                self.credit.granted.notified().await;
                continue;
            }
            // A worker may have many requests, and their credit is no bound on what waits for it.
            self.link.room().await;
            // In frames of their own, which can be dropped if nobody waits for the answer any more.
            let part = data.split_to(available.min(data.len()).min(FRAME_PAYLOAD_BYTES));
            self.credit.credit.borrow_mut().spend(part.len());
            self.link.tally.add(OfWorker::RequestBytes, part.len() as u64);
            let (request, end) = (self.request, false);
            self.link.send(&ToWorker::RequestBody { request, data: &part, end });
        }
    }
}
