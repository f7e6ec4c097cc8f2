//! What a supervisor knows: workers, connections, requests, channels. No IO.
//!
//! `core::custody` decides who has a connection and what its owner is given, here as in the pool.
//! This tells it what happens, and does what it says.
//!
//! Rooms: [`frames`] what workers say, [`commands`] what custody wants done, [`requests`],
//! [`clients`], [`outbox`] what waits for them, [`acts`] what handlers do to connections and channels.

mod acts;
mod clients;
mod commands;
mod frames;
mod outbox;
mod requests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use shovel_core::custody::{
    Attachment, Custody, Death, Event, LoneCell, Moment, Phase, Route, Settings, WorkerCell,
};
use shovel_protocol::{RequestId, WorkerId};

use self::acts::Subscriber;
use self::clients::Client;
use super::exchange::Exchange;
use super::workers::{Life, Workers};
use crate::Message;

const SETTINGS: Settings = Settings {
    // The supervisor's defaults.
    handler_timeout: Duration::from_secs(5),
    adopt_timeout: Duration::from_secs(5),
    // The next worker comes when the test says so, and only the test's patience ends.
    owner_wait: Duration::MAX,
    close_spread: Duration::ZERO,
    sleep_after: None,
};

/// All that the workers have been told and have told.
///
/// What a test does not look at is kept until its end; bodies of responses are bounded by their
/// window.
pub(super) struct State {
    pub(super) now: Moment,
    pub(super) workers: Workers,
    custody: Custody<LoneCell, Client, Message, Vec<u8>>,
    /// Clients whose connections are over, each with what was attached at the end.
    over: HashMap<Route, (Client, Option<Attachment>)>,
    exchanges: HashMap<RequestId, Exchange>,
    subscriptions: BTreeMap<Box<str>, BTreeSet<Subscriber>>,
    published: HashMap<Box<str>, VecDeque<Message>>,
}

impl Default for State {
    fn default() -> Self {
        State {
            now: Moment::default(),
            workers: Workers::default(),
            custody: Custody::new(0, SETTINGS),
            over: HashMap::new(),
            exchanges: HashMap::new(),
            subscriptions: BTreeMap::new(),
            published: HashMap::new(),
        }
    }
}

impl State {
    /// A worker has ended, and all that it said has been read.
    pub(super) fn end(&mut self, worker: WorkerId) {
        let death = match self.workers.set_life(worker, Life::Ended) {
            Life::Starting | Life::Ready => Death::Fault,
            Life::Stopping => Death::Ours,
            Life::Ended => return,
        };
        self.unsubscribe_all(Subscriber::Worker(worker));
        self.take_in(Event::LinkEnded { worker });
        // Its requests are still there: they may be to blame for its death.
        self.take_in(Event::Died { worker, death });
        self.lose_requests(worker, !self.workers.have_all_ended());
    }

    /// Nothing comes of any worker any more.
    pub(super) fn end_all(&mut self) {
        self.workers.end_all().into_iter().for_each(|worker| self.lose_requests(worker, false));
    }

    /// Whether each connection is with a worker, or waits while another one is tried alone.
    pub(super) fn are_all_settled(&self) -> Option<()> {
        let is_trying = self.custody.workers().any(|(_, cell)| cell.has_trial());
        let mut connections = self.custody.starting_at(0);
        let are_settled = connections.all(|(_, connection)| match connection.phase() {
            Phase::Offered | Phase::Owned | Phase::Over => true,
            Phase::Unowned => is_trying,
            Phase::Releasing | Phase::Adopting => false,
        });
        are_settled.then_some(())
    }
}
