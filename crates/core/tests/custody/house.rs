//! A thread with its custody, on a clock that the test moves: it hands over what may be handed over
//! and does what it is told, as a router would; what it was told is what tests look at.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shovel_core::custody::{
    Arrived, Attachment, ClientHandle, Closing, Command, Connection, Custody, Death, Event, Left,
    Moment, OutOfTurn, Phase, Proof, Route, Settings, WorkerCell,
};
use shovel_core::fleet::DrainReason;
use shovel_protocol::control::AdoptCause;
use shovel_protocol::id::Leased;
use shovel_protocol::{Close, CloseCode, LeaseId, RequestId, WorkerId};

use crate::cell::SharedCell;

pub type Acts = Vec<u32>;
pub type Told = Command<Acts>;

pub const FIRST: WorkerId = WorkerId(1);
pub const SECOND: WorkerId = WorkerId(2);
pub const THIRD: WorkerId = WorkerId(3);

pub const HANDLER_TIMEOUT: Duration = Duration::from_secs(5);
pub const ADOPT_TIMEOUT: Duration = Duration::from_secs(4);
pub const OWNER_WAIT: Duration = Duration::from_secs(30);

/// Longer than the clock stands still between any two looks.
pub const MOMENT: Duration = Duration::from_millis(11);

/// A client's socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    pub is_open: bool,
}

impl ClientHandle for Socket {
    fn is_open(&self) -> bool {
        self.is_open
    }
}

/// An event that an owner was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    pub route: Route,
    pub seq: u64,
    pub redelivered: bool,
    pub partial: bool,
}

pub struct House<W> {
    pub custody: Custody<W, Socket, u32, Acts>,
    pub now: Moment,
    /// All that was handed over and not looked at.
    pub given: Vec<Given>,
    /// All commands that were not looked at, except those to hand something over.
    pub told: Vec<Told>,
}

pub fn settings() -> Settings {
    Settings {
        handler_timeout: HANDLER_TIMEOUT,
        adopt_timeout: ADOPT_TIMEOUT,
        owner_wait: OWNER_WAIT,
        close_spread: Duration::ZERO,
        sleep_after: None,
    }
}

pub fn request(number: u32) -> RequestId {
    RequestId(Leased { slot: number, lease: 0 })
}

pub fn bye() -> Close {
    Close { code: CloseCode::GOING_AWAY, reason: "bye".to_owned(), was_clean: true }
}

pub fn attachment() -> Attachment {
    Attachment { version: 7, data: Box::from(*b"state") }
}

impl House<SharedCell> {
    /// Workers of one program, which can adopt and has shown it, all of them offered.
    pub fn of(workers: &[WorkerId]) -> Self {
        let mut house = House::of_new(workers);
        for worker in workers {
            house.prove(*worker);
        }
        house
    }

    /// As [`House::of`], but the program has not adopted a connection yet.
    pub fn of_new(workers: &[WorkerId]) -> Self {
        let mut house = House::new(0);
        let cell = SharedCell::able();
        workers.iter().for_each(|worker| house.join(*worker, cell.sibling()));
        house.offer(workers);
        house
    }

    /// Another worker of the same program as this one.
    pub fn join_sibling(&mut self, worker: WorkerId, of: WorkerId) {
        let cell = self.cell(of).sibling();
        self.join(worker, cell);
    }
}

impl<W: WorkerCell> House<W> {
    pub fn new(thread: u32) -> Self {
        let custody = Custody::new(thread, settings());
        House { custody, now: Moment::default(), given: Vec::new(), told: Vec::new() }
    }

    pub fn join(&mut self, worker: WorkerId, cell: W) {
        self.custody.join(worker, cell, self.now);
        self.obey();
    }

    pub fn cell(&self, worker: WorkerId) -> &W {
        self.custody.worker(worker).expect("the worker has a link")
    }

    /// Its program has adopted a connection before.
    pub fn prove(&mut self, worker: WorkerId)
    where
        W: Clone,
    {
        let mut cell = self.cell(worker).clone();
        cell.claim_first_adoption();
        cell.prove(true);
        assert_eq!(cell.proof(), Proof::Given);
    }

    pub fn happens(&mut self, event: Event) {
        self.custody.handle_event(event, self.now);
        self.obey();
    }

    pub fn offer(&mut self, workers: &[WorkerId]) {
        self.happens(Event::Offered { workers: workers.to_vec() });
    }

    pub fn drain(&mut self, worker: WorkerId, why: DrainReason) {
        self.happens(Event::DrainWanted { worker, why });
    }

    pub fn die(&mut self, worker: WorkerId, death: Death) {
        self.happens(Event::LinkEnded { worker });
        self.happens(Event::Died { worker, death });
    }

    /// Does all that it is told.
    pub fn obey(&mut self) {
        for turn in 0.. {
            assert!(turn < 100_000, "it goes round in circles");
            if self.custody.is_unsettled() {
                self.custody.handle_timeout(self.now);
            }
            let Some(command) = self.custody.poll_command() else { return };
            match &command {
                Command::HandOver { connection } => {
                    self.hand_over(*connection);
                    continue;
                }
                Command::End { route, .. } | Command::CutOff { route, .. } => {
                    let id = self.id(*route);
                    self.custody.remove(id);
                }
                Command::Finish { route, .. } | Command::GiveUp { route, .. } => {
                    self.custody.on_route_mut(*route).expect("it is there").1.client.is_open =
                        false;
                }
                Command::Release { .. }
                | Command::Revoke { .. }
                | Command::Adopt { .. }
                | Command::Act { .. }
                | Command::CheckReader { .. }
                | Command::CountReleased { .. }
                | Command::CountAdopted { .. }
                | Command::Drained { .. }
                | Command::Idle { .. }
                | Command::WorkWanted
                | Command::Emptied
                | Command::Stuck { .. } => {}
            }
            self.told.push(command);
        }
    }

    pub fn hand_over(&mut self, id: LeaseId) {
        let Some(route) = self.custody.route(id) else { return };
        while let Some(next) = self.custody.next(id) {
            let (seq, redelivered, partial) = (next.seq, next.redelivered, next.partial);
            self.given.push(Given { route, seq, redelivered, partial });
        }
    }

    /// Lets so much time pass, and does what is due in it when it is due.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut looks = 0;
        while let Some(due) = self.custody.poll_timeout().filter(|due| *due <= end) {
            looks = if due <= self.now { looks + 1 } else { 0 };
            assert!(looks < 10, "it spins at {:?}", self.now);
            self.now = self.now.max(due);
            self.custody.handle_timeout(self.now);
            self.obey();
        }
        self.now = end;
    }

    pub fn id(&self, route: Route) -> LeaseId {
        self.custody.on_route(route).expect("the connection is there").0
    }

    pub fn get(&self, route: Route) -> &Connection<Socket, u32, Acts> {
        self.custody.on_route(route).expect("the connection is there").1
    }

    pub fn is_there(&self, route: Route) -> bool {
        self.custody.on_route(route).is_some()
    }

    pub fn owner(&self, route: Route) -> Option<WorkerId> {
        self.custody.on_route(route).and_then(|(_, connection)| connection.owner())
    }

    pub fn phase(&self, route: Route) -> Phase {
        self.get(route).phase()
    }

    pub fn reserve(&mut self, worker: WorkerId) -> LeaseId {
        self.custody.reserve(Socket { is_open: true }, worker, request(1))
    }

    pub fn accept(&mut self, worker: WorkerId, is_portable: bool) -> Route {
        let id = self.reserve(worker);
        let route = self.custody.accept(id, worker, request(1), is_portable);
        self.obey();
        route.expect("it is offered")
    }

    /// A connection that ends with its worker.
    pub fn plain(&mut self, worker: WorkerId) -> Route {
        self.accept(worker, false)
    }

    /// A connection that can move.
    pub fn portable(&mut self, worker: WorkerId) -> Route {
        let route = self.accept(worker, true);
        self.custody.on_route_mut(route).expect("it is there").1.attach(attachment());
        route
    }

    /// A message comes. Returns whether it is taken.
    pub fn message(&mut self, route: Route) -> bool {
        self.large(route, 1)
    }

    pub fn large(&mut self, route: Route, bytes: usize) -> bool {
        let is_taken = match self.custody.hand_over(route, bytes) {
            Arrived::Goes(_) => true,
            Arrived::Dropped => false,
            Arrived::ToKeep => match self.custody.take_in(route, 0, bytes) {
                Some(id) => {
                    self.hand_over(id);
                    true
                }
                None => false,
            },
        };
        self.obey();
        is_taken
    }

    pub fn messages(&mut self, route: Route, count: usize) {
        (0..count).for_each(|_| assert!(self.message(route)));
    }

    /// The client closes.
    pub fn close(&mut self, route: Route) -> Closing {
        let Some((_, connection)) = self.custody.on_route_mut(route) else {
            return Closing::Nothing;
        };
        connection.client.is_open = false;
        let closing = self.custody.close(route, bye());
        let id = self.id(route);
        self.hand_over(id);
        self.obey();
        closing
    }

    pub fn stage(&mut self, route: Route, act: u32) {
        let (id, owner) = (self.id(route), self.owner(route).expect("it has an owner"));
        self.custody.stage(id, owner).expect("it may act").expect("it is its").push(act);
    }

    /// Its owner lets an act out in the middle of a handler.
    pub fn flush(&mut self, route: Route) {
        let (id, owner) = (self.id(route), self.owner(route).expect("it has an owner"));
        assert_eq!(self.custody.act(id, owner, true), Ok(true));
    }

    /// Its owner has finished up to this event; returns what that lets out.
    pub fn try_commit(
        &mut self,
        route: Route,
        seq: Option<u64>,
    ) -> Result<(Acts, Left), OutOfTurn> {
        let (id, owner) = (self.id(route), self.owner(route).expect("it has an owner"));
        let committed = self.custody.commit(id, owner, seq)?.expect("it is its");
        match committed.left {
            Left::Closed => drop(self.custody.remove(id)),
            Left::Some { .. } | Left::Nothing => self.hand_over(id),
        }
        self.obey();
        Ok((committed.acts, committed.left))
    }

    pub fn commit(&mut self, route: Route, seq: u64) -> Left {
        self.try_commit(route, Some(seq)).expect("it was sent").1
    }

    pub fn try_release(
        &mut self,
        route: Route,
        handled: u64,
        started: u64,
    ) -> Result<bool, OutOfTurn> {
        let (id, owner) = (self.id(route), self.owner(route).expect("it has an owner"));
        let released = self.custody.released(id, owner, (handled, started), self.now);
        self.obey();
        released
    }

    /// Its owner gives it up, having begun nothing that it did not finish.
    pub fn release(&mut self, route: Route) {
        let handled = self.get(route).committed();
        assert_eq!(self.try_release(route, handled, handled), Ok(true));
    }

    pub fn try_adopt(&mut self, route: Route, taken: bool) -> Result<bool, OutOfTurn> {
        let (id, owner) = (self.id(route), self.owner(route).expect("it has an owner"));
        let adopted = self.custody.adopted(id, owner, taken, self.now);
        self.obey();
        adopted
    }

    /// Its new owner has taken it over.
    pub fn adopt(&mut self, route: Route) {
        assert_eq!(self.try_adopt(route, true), Ok(true));
    }

    pub fn refuse(&mut self, route: Route) {
        assert_eq!(self.try_adopt(route, false), Ok(true));
    }

    /// What was handed over of a connection: number, redelivered, partial.
    pub fn given(&mut self, route: Route) -> Vec<(u64, bool, bool)> {
        let (its, others) = self.given.drain(..).partition(|given: &Given| given.route == route);
        self.given = others;
        let its: Vec<Given> = its;
        its.into_iter().map(|given| (given.seq, given.redelivered, given.partial)).collect()
    }

    /// The numbers of what was handed over of a connection.
    pub fn numbers(&mut self, route: Route) -> Vec<u64> {
        self.given(route).into_iter().map(|(seq, ..)| seq).collect()
    }

    /// What was told since the last look.
    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// How often something was told since the last look, which goes on to count.
    pub fn count(&self, is_counted: impl Fn(&Told) -> bool) -> usize {
        self.told.iter().filter(|told| is_counted(told)).count()
    }

    /// Why a connection was given to a worker since the last look.
    pub fn adoptions(&mut self) -> Vec<(WorkerId, AdoptCause)> {
        let mut adoptions = Vec::new();
        for told in self.told() {
            if let Command::Adopt { worker, cause, .. } = told {
                adoptions.push((worker, cause));
            }
        }
        adoptions
    }

    pub fn releases(&self) -> usize {
        self.count(|told| matches!(told, Command::Release { .. }))
    }

    pub fn tells_drained(&self, worker: WorkerId) -> usize {
        self.count(|told| *told == Command::Drained { worker })
    }
}
