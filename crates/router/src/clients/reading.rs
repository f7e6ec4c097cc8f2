//! When a client is read: not while too much of it is unfinished, or waits anywhere.

use std::rc::Rc;

use shovel_core::custody::Route;
use shovel_protocol::{LeaseId, ToWorker};

use crate::links::link::Link;
use crate::router::Router;

impl Router {
    /// Lets the reader of a connection go on if nothing speaks against it.
    pub(crate) fn look_at_reader(&self, id: LeaseId) {
        let route = self.custody.borrow().route(id);
        if let Some(route) = route {
            self.look_at_route(route);
        }
    }

    /// The link of a connection's owner has room again.
    pub(crate) fn go_on_with(self: &Rc<Self>, id: LeaseId) {
        self.pump(&mut self.custody.borrow_mut(), id);
        self.look_at_reader(id);
        self.go_on_if_needed();
    }

    /// A worker's link has no room: none of its clients is read, or each would bring one message more.
    /// A WebSocket frame that has begun is read to its end.
    #[cold]
    pub(crate) fn pause_clients_of(&self, link: &Link) {
        if link.begin_pauses() {
            let routes = self.custody.borrow().routes_of(link.worker);
            routes.into_iter().for_each(|route| self.look_at_route(route));
        }
    }

    /// As [`Router::look_at_reader`], whatever the lease.
    pub(crate) fn look_at_route(&self, route: Route) {
        let mut custody = self.custody.borrow_mut();
        let keeps_too_much = custody.keeps_too_much(route);
        let Some((id, connection)) = custody.on_route(route) else { return };
        let link =
            connection.owner().and_then(|owner| custody.worker(owner)).map(|its| its.0.clone());
        let is_handled = connection.is_handling();
        let full_link = link.filter(|link| link.is_over());
        let is_paused = connection.is_accepted()
            && (!connection.has_room()
                || connection.client.pressure.is_on()
                || full_link.is_some()
                || keeps_too_much);
        if let Some(link) = full_link.filter(|_| is_paused) {
            link.note_paused(id, is_handled);
        }
        if let Some((_, connection)) = custody.on_route_mut(route) {
            let client = &mut connection.client;
            if std::mem::replace(&mut client.is_paused, is_paused) != is_paused {
                client.socket.pause(is_paused);
            }
        }
    }

    /// The owner knows that its client reads too slowly.
    pub(crate) fn on_pressed(&self, link: &Rc<Link>, id: LeaseId) {
        let mut custody = self.custody.borrow_mut();
        if custody.of_owner(id, link.worker).is_some()
            && let Some(client) = custody.client_mut(id)
        {
            client.pressure.answered();
        }
    }

    /// Tells the owner, if there is one, whether its client reads too slowly.
    pub(crate) fn press(&self, route: Route, over: bool) {
        let max_message_bytes = self.settings.get().ws.max_message_bytes;
        let mut custody = self.custody.borrow_mut();
        let Some((connection, found)) = custody.on_route_mut(route) else { return };
        let pressure = &mut found.client.pressure;
        match over {
            true => pressure.begin(max_message_bytes),
            false => pressure.end(),
        }
        let owner = found.owner();
        if let Some(link) = owner.and_then(|owner| custody.worker(owner)) {
            link.send(&ToWorker::Pressure { connection, over });
        }
    }
}
