//! What the edge calls.

use std::rc::Rc;

use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use shovel_core::custody::Route;
use shovel_edge::ws::Socket;
use shovel_edge::{Answer, Backend, Failure, Notes, Peer, Refused, Relief, RequestBody, Upgrade};
use shovel_protocol::{Close, MessageKind};

use crate::counts::OfThread;
use crate::requests::ask::ClientRequest;
use crate::requests::body::ResponseBody;
use crate::requests::table::Outcome;
use crate::router::Router;

impl Backend for Router {
    type Body = ResponseBody;
    type Route = Route;

    async fn fetch(
        self: Rc<Self>,
        request: Box<Request<RequestBody>>,
        peer: Rc<Peer>,
        notes: Notes,
    ) -> Result<Response<ResponseBody>, Failure> {
        let (parts, body) = request.into_parts();
        let (parts, body) = (Box::new(parts), (!body.is_end_stream()).then_some(body));
        match self.measure(ClientRequest { parts, peer, notes, body, socket: None }).await? {
            Outcome::Response(response) => Ok(response),
            Outcome::Accepted(_)
            | Outcome::WorkerGone
            | Outcome::WorkerLate
            | Outcome::Failed(_) => Err(Failure::BadGateway("an upgrade that was not offered")),
        }
    }

    async fn upgrade(
        self: Rc<Self>,
        parts: Box<Parts>,
        peer: Rc<Peer>,
        notes: Notes,
        socket: Socket,
    ) -> Result<Answer<Self>, Failure> {
        let request = ClientRequest { parts, peer, notes, body: None, socket: Some(socket) };
        match self.measure(request).await? {
            Outcome::Response(response) => Ok(Upgrade::Declined(response)),
            Outcome::Accepted(accepted) => Ok(Upgrade::Accepted(accepted)),
            Outcome::WorkerGone | Outcome::WorkerLate | Outcome::Failed(_) => {
                Err(Failure::BadGateway("worker lost"))
            }
        }
    }

    fn message(self: &Rc<Self>, route: Route, kind: MessageKind, data: &[u8]) {
        self.on_message(route, kind, data);
    }

    fn is_idle(&self, route: Route) -> bool {
        let custody = self.custody.borrow();
        custody.on_route(route).is_none_or(|(_, connection)| connection.is_idle())
    }

    fn pressure(&self, route: Route, over: bool) {
        self.press(route, over);
        self.look_at_route(route);
    }

    fn emptied(&self, route: Route) {
        self.on_emptied(route);
    }

    fn closed(self: &Rc<Self>, route: Route, close: Close) {
        self.on_closed(route, close);
    }

    fn asks(self: &Rc<Self>, is_asking: bool) {
        let mut custody = self.custody.borrow_mut();
        if is_asking {
            custody.begin_asking();
        } else {
            custody.end_asking();
        }
        drop(custody);
        self.go_on_if_needed();
    }

    fn refused(&self, why: Refused) {
        self.measures.tally.add(OfThread::of_refusal(why), 1);
    }

    fn relieved(&self, how: Relief) {
        self.measures.tally.add(OfThread::of_relief(how), 1);
    }

    fn held_back(&self) {
        self.measures.tally.add(OfThread::HeldBack, 1);
    }
}
