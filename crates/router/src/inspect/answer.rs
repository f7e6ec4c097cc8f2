//! How a thread answers what it is asked.

use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use shovel_edge::connection::Server;
use tokio::task::spawn_local;

use super::{
    ChannelList, ChannelView, ConnectionView, Inspect, Numbers, Page, Range, WorkerNumbers,
};
use crate::router::Router;

/// Channels that a connection is said to be subscribed to, at most; the number tells of the rest.
const CHANNELS_TOLD: usize = 16;

/// Places of the table that are looked at for one page.
const PLACES_PER_PAGE: usize = 16 * 1024;

/// Answers a question.
pub(crate) fn answer(router: &Rc<Router>, server: &Server<Router>, question: Inspect) {
    match question {
        Inspect::Numbers(answer) => {
            let numbers = Numbers {
                clients: server.clients() as u64,
                client_limit: server.client_limit() as u64,
                accepted: server.accepted(),
                ..router.numbers()
            };
            let _ = answer.send(numbers);
        }
        Inspect::Channels { limit, answer } => drop(answer.send(router.list_channels(limit))),
        Inspect::Connections { range, answer } => drop(answer.send(router.page(range))),
        Inspect::Publish { channel, kind, data, answer } => {
            let router = router.clone();
            spawn_local(async move {
                // A full queue of another thread holds the operator up, and nobody else.
                router.publisher.room().await;
                router.publish_for_operator(&channel, kind, data, answer);
            });
        }
    }
}

impl Router {
    fn numbers(&self) -> Numbers {
        let mut workers = BTreeMap::<_, WorkerNumbers>::new();
        let mut places = self.measures.buried();
        let custody = self.custody.borrow();
        for (worker, link) in custody.workers() {
            let sums = link.tally.sums();
            *places.entry(link.index).or_default() += sums;
            let (connections, requests) = custody.holdings(worker);
            let numbers = WorkerNumbers {
                // Less what is only offered, below.
                connections: connections.into(),
                waiting_bytes: link.waiting_bytes() as u64,
                requests: requests.into(),
                sums,
            };
            workers.insert(worker, numbers);
        }
        let mut offered = 0;
        for (_, request) in self.requests.borrow().iter() {
            if let (Some(numbers), Some(_)) =
                (workers.get_mut(&request.link.worker), request.connection)
            {
                numbers.connections = numbers.connections.saturating_sub(1);
                offered += 1;
            }
        }
        let owned: u64 = workers.values().map(|worker| worker.connections).sum();
        let all = custody.len().saturating_sub(offered) as u64;
        Numbers {
            workers,
            places,
            thread: self.measures.tally.sums(),
            latencies: self.measures.latencies.sums(),
            unowned: all.saturating_sub(owned),
            kept_bytes: custody.kept_bytes() as u64,
            client_memory_bytes: self.turn.ledger().held_bytes() as u64,
            client_memory_limit_bytes: self.turn.ledger().limit_bytes() as u64,
            requests_waiting: self.queue.len() as u64,
            channels: self.channels.borrow().len() as u64,
            subscriptions: self.channels.borrow().subscriptions() as u64,
            outbox_bytes: self.turn.waiting_bytes() as u64,
            crossing_bytes: self.publisher.crossing_bytes() as u64,
            ..Numbers::default()
        }
    }

    fn list_channels(&self, limit: usize) -> ChannelList {
        let channels = self.channels.borrow();
        // The smallest on top, to be replaced by larger ones.
        let mut most = BinaryHeap::with_capacity(limit.min(channels.len()) + 1);
        for (name, index) in channels.iter() {
            let connections = channels.connections(index).len();
            let workers = channels.workers(index).len();
            most.push((std::cmp::Reverse(connections + workers), name, connections, workers));
            if most.len() > limit {
                most.pop();
            }
        }
        let sorted = most.into_sorted_vec().into_iter();
        let views = sorted.map(|(_, name, connections, workers)| ChannelView {
            name: name.to_owned(),
            connections: connections as u64,
            workers: workers as u64,
        });
        ChannelList { channels: views.collect(), total: channels.len() as u64 }
    }

    fn page(&self, range: Range) -> Page {
        let (custody, channels) = (self.custody.borrow(), self.channels.borrow());
        let mut page = Page::default();
        let end = range.place.saturating_add(PLACES_PER_PAGE as u32);
        for (place, connection) in custody.starting_at(range.place) {
            if place >= end || page.connections.len() >= range.limit {
                page.next = Some(place);
                return page;
            }
            let worker = connection.owner();
            let is_wanted = range.worker.is_none_or(|only| worker == Some(only));
            if !connection.is_accepted() || !is_wanted {
                continue;
            }
            let client = &connection.client;
            let subscribed = client.subscriptions.channels();
            let names = subscribed.take(CHANNELS_TOLD).map(|index| channels.name(index).to_owned());
            page.connections.push(ConnectionView {
                uuid: client.uuid,
                worker,
                peer: client.opening.peer,
                url: client.opening.url.to_string(),
                channels: names.collect(),
                subscriptions: client.subscriptions.channels().count(),
                outbox_bytes: client.socket.waiting_bytes(),
                slow_consumer: client.slow_consumer,
                uncommitted: connection.uncommitted(),
                is_paused: client.is_paused,
            });
        }
        page
    }
}
