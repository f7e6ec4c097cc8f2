//! Responses: from the frames of a worker to the body that a client reads.

use std::rc::Rc;

use shovel_core::custody::LateUpgrade;
use shovel_edge::Failure;
use shovel_protocol::control::ResponseHead;
use shovel_protocol::head::Kind;
use shovel_protocol::{BadFrame, RequestId, ToWorker};

use super::body::{Download, ResponseBody};
use super::head::response_head;
use super::table::Outcome;
use crate::BODY_WINDOW_BYTES;
use crate::counts::OfWorker;
use crate::links::link::Link;
use crate::router::Router;

impl Router {
    pub fn on_response(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: RequestId,
        head: &ResponseHead<'_>,
        end: bool,
    ) -> Result<(), BadFrame> {
        let mut requests = self.requests.borrow_mut();
        let request = requests.get_mut(id.0).filter(|found| Rc::ptr_eq(&found.link, link));
        let Some(request) = request else {
            // Cancelled, or timed out. The handler of an upgrade that came too late was not told, and
            // would wait for ever for somebody to take its body.
            if !end {
                link.answer(&ToWorker::Cancel { request: id });
            }
            return Ok(());
        };
        if request.download.is_some() {
            let why = "the response has begun already";
            return Err(BadFrame::OutOfTurn { kind: Kind::HttpResponse.name(), why });
        }
        let (response, length) = match response_head(head, request.is_head) {
            Ok(read) => read,
            Err(why) => {
                drop(requests);
                tell_unfit(link, why);
                self.fail(id, Failure::BadGateway(why));
                return Ok(());
            }
        };
        let download = Download::new(length, BODY_WINDOW_BYTES, self.turn.ledger().pot());
        request.download = Some(download.clone());
        let connection = request.connection.take();
        let body = ResponseBody::new(download, link.clone(), self.clone(), id);
        let waiting = request.waiting.take();
        drop(requests);
        if let Some(connection) = connection {
            self.custody.borrow_mut().withdraw(connection, LateUpgrade::Refused);
        }
        if let Some(waiting) = waiting {
            self.custody.borrow_mut().answer_request(link.worker);
            // Whoever has stopped waiting has cancelled.
            let _ = waiting.send(Outcome::Response(response.map(|()| body)));
        }
        self.go_on_if_needed();
        if end {
            self.end_response(link, id, |download| download.finish(None));
        }
        Ok(())
    }

    pub fn on_body(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: RequestId,
        data: &[u8],
        end: bool,
    ) -> Result<(), BadFrame> {
        let requests = self.requests.borrow();
        let request = requests.get(id.0).filter(|found| Rc::ptr_eq(&found.link, link));
        let Some(request) = request else { return Ok(()) };
        let out_of_turn =
            |why| Err(BadFrame::OutOfTurn { kind: Kind::HttpResponseBody.name(), why });
        let Some(download) = request.download.clone() else {
            return out_of_turn("the response has not begun");
        };
        drop(requests);
        link.tally.add(OfWorker::ResponseBytes, data.len() as u64);
        if !download.push(data) {
            return out_of_turn("there is no credit for it");
        }
        tell_fault(link, &download);
        if end {
            self.end_response(link, id, |download| download.finish(None));
        }
        Ok(())
    }

    pub fn end_response(
        self: &Rc<Self>,
        link: &Rc<Link>,
        id: RequestId,
        end: impl FnOnce(&Download),
    ) {
        let requests = self.requests.borrow();
        let request = requests.get(id.0).filter(|found| Rc::ptr_eq(&found.link, link));
        let Some(request) = request else { return };
        let download = request.download.clone();
        drop(requests);
        let Some(download) = download else {
            let why = "the response ended before it began";
            tell_unfit(link, why);
            return self.fail(id, Failure::BadGateway(why));
        };
        drop(self.forget_request(id));
        end(&download);
        tell_fault(link, &download);
        self.go_on_if_needed();
    }
}

/// Tells of a response that its client does not get as the worker sent it.
pub(crate) fn tell_unfit(link: &Link, why: &'static str) {
    if let Some(times) = link.faults.note(why) {
        let worker = link.worker;
        // The target is what the log knows lines by that others can cause.
        tracing::warn!(target: "refusals", %worker, why, times, "a response cannot be passed on");
    }
}

/// Tells of a body of another length than its head has said. What its client sees is a 502 if nothing
/// was sent yet, or a connection that breaks off.
fn tell_fault(link: &Link, download: &Download) {
    let fault = download.take_fault();
    if let Some((why, times)) = fault.and_then(|why| Some((why, link.faults.note(why)?))) {
        tracing::warn!(
            target: "refusals", worker = %link.worker, why, times,
            "a response has another length than its Content-Length says"
        );
    }
}
