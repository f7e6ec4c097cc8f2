//! Calls that make no sense, in any order.

use std::time::Duration;

use fastrand::Rng;
use shovel_core::custody::{
    Arrived, Command, Custody, Death, Event, LateUpgrade, LoneCell, Moment, Phase, Route, Settings,
};
use shovel_core::fleet::DrainReason;
use shovel_protocol::id::Leased;
use shovel_protocol::{LeaseId, WorkerId};

use crate::house::{Acts, Socket, attachment, bye, request, settings};

const DEATHS: [Death; 4] = [Death::Ours, Death::Fault, Death::Hang, Death::Killed];

const REASONS: [DrainReason; 4] =
    [DrainReason::Reload, DrainReason::Recycle, DrainReason::Sleep, DrainReason::Terminate];

/// Calls whatever comes to its mind.
#[derive(Clone)]
pub struct Fool {
    pub custody: Custody<LoneCell, Socket, u32, Acts>,
    now: Moment,
    random: Rng,
}

impl Fool {
    pub fn new(seed: u64) -> Self {
        let mut fool = Fool {
            custody: Custody::new(0, settings()),
            now: Moment::default(),
            random: Rng::with_seed(seed),
        };
        for _ in 1..4 {
            fool.join();
        }
        let workers = (1..7).map(WorkerId).collect();
        fool.custody.handle_event(Event::Offered { workers }, fool.now);
        fool
    }

    /// Goes on with a custody that was made elsewhere.
    pub fn with(custody: Custody<LoneCell, Socket, u32, Acts>, seed: u64) -> Self {
        Fool { custody, now: Moment::default(), random: Rng::with_seed(seed) }
    }

    /// One call, and all that follows from it; returns all that could be seen of it.
    pub fn call(&mut self) -> String {
        self.now = self.now + Duration::from_millis(self.random.u64(0..4).pow(6));
        let result = match self.random.u32(0..14) {
            0 => self.happen(),
            1..5 => self.handle(),
            5..9 => self.move_on(),
            9 => self.begin(),
            10 => self.end(),
            11 => self.ask(),
            12 => {
                // A clock that goes back.
                let pause = Duration::from_millis(self.random.u64(0..10_000));
                let now = if self.random.u32(0..50) == 0 {
                    Moment(self.now - Moment(pause))
                } else {
                    self.now
                };
                self.custody.handle_timeout(now);
                String::new()
            }
            _ => self.message(),
        };
        format!("{result} {:?} {:?}", self.obey(), self.custody.poll_timeout())
    }

    /// Does what is due, as often as it is due at once.
    pub fn look(&mut self) {
        for _ in 0..10 {
            self.custody.handle_timeout(self.now);
            self.obey();
            if self.custody.poll_timeout().is_none_or(|due| due > self.now) {
                return;
            }
        }
        panic!("it spins");
    }

    fn worker(&mut self) -> WorkerId {
        WorkerId(self.random.u32(0..7))
    }

    fn route(&mut self) -> Option<Route> {
        let slot = self.random.u32(0..12);
        self.custody.route_at(slot)
    }

    /// Mostly of a connection that is there, and its owner.
    fn id(&mut self) -> (LeaseId, WorkerId) {
        let worker = self.worker();
        let (slot, lease) = (self.random.u32(0..12), self.random.u32(0..5));
        let found = self.custody.route_at(slot).and_then(|route| self.custody.on_route(route));
        match found {
            Some((id, connection)) if self.random.u32(0..20) > 0 => {
                (id, connection.owner().unwrap_or(worker))
            }
            Some(_) | None => (LeaseId(Leased { slot, lease }), worker),
        }
    }

    fn join(&mut self) -> WorkerId {
        let worker = self.worker();
        let mut cell = LoneCell::default();
        cell.adopts = self.random.u32(0..10) > 0;
        self.custody.join(worker, cell, self.now);
        worker
    }

    fn happen(&mut self) -> String {
        let worker = self.worker();
        let event = match self.random.u32(0..9) {
            0..3 => return format!("{:?}", self.join()),
            3 => {
                let count = self.random.usize(0..7);
                Event::Offered { workers: (0..count).map(|_| self.worker()).collect() }
            }
            4 => Event::DrainWanted { worker, why: REASONS[self.random.usize(0..4)] },
            5 if self.random.bool() => Event::LinkEnded { worker },
            5 | 6 => Event::Died { worker, death: DEATHS[self.random.usize(0..4)] },
            7 if self.random.u32(0..8) > 0 => {
                Event::ActivityTold { worker, activity: self.random.u64(0..2) }
            }
            7 if self.random.u32(0..8) > 0 => Event::TimeUp { worker },
            7 if self.random.u32(0..4) == 0 => Event::WaitsEnded,
            7 => Event::EndBegan,
            _ => {
                let random = &mut self.random;
                let mut some = || Duration::from_millis(random.u64(0..5).pow(6));
                let (handler_timeout, adopt_timeout) = (some(), some());
                let (owner_wait, close_spread, sleep) = (some(), some(), some());
                let sleep_after = (!sleep.is_zero()).then_some(sleep);
                self.custody.configure(Settings {
                    handler_timeout,
                    adopt_timeout,
                    owner_wait,
                    close_spread,
                    sleep_after,
                });
                return String::new();
            }
        };
        self.custody.handle_event(event, self.now);
        String::new()
    }

    fn begin(&mut self) -> String {
        let worker = self.worker();
        let number = request(self.random.u32(0..2));
        if self.random.bool() && self.custody.len() < 12 {
            let id = self.custody.reserve(Socket { is_open: true }, worker, number);
            if self.random.bool() {
                return format!("{id:?}");
            }
            let route = self.custody.accept(id, worker, number, self.random.u32(0..4) > 0);
            if let Some((_, found)) = route.and_then(|route| self.custody.on_route_mut(route)) {
                found.attach(attachment());
            }
            return format!("{route:?}");
        }
        let (id, worker) = self.id();
        format!("{:?}", self.custody.accept(id, worker, number, self.random.bool()))
    }

    fn message(&mut self) -> String {
        let Some(route) = self.route() else { return String::new() };
        let bytes = self.random.usize(0..20).pow(4);
        let arrived = match self.custody.hand_over(route, bytes) {
            Arrived::Goes(handed) => format!("{} {}", handed.seq, handed.has_room),
            Arrived::ToKeep => "kept".to_owned(),
            Arrived::Dropped => "dropped".to_owned(),
        };
        let taken = self.custody.take_in(route, self.random.u32(..), bytes);
        let has_room = self.custody.on_route(route).map(|(_, found)| found.has_room());
        format!("{arrived} {taken:?} {has_room:?} {}", self.custody.keeps_too_much(route))
    }

    fn handle(&mut self) -> String {
        let (id, worker) = self.id();
        match self.random.u32(0..7) {
            0 => format!("{:?}", self.custody.next(id)),
            1 => {
                let staged = self.custody.stage(id, worker);
                format!("{:?}", staged.map(|staged| staged.map(|acts| acts.push(1))))
            }
            2 => format!("{:?}", self.custody.act(id, worker, self.random.bool())),
            3 => format!("{:?}", self.custody.commit(id, worker, Some(self.random.u64(0..9)))),
            4 => {
                let plain = self.custody.at_mut(id.0.slot);
                format!("{:?}", plain.and_then(|plain| plain.commit_next_of_plain()))
            }
            _ => format!("{:?}", self.custody.commit(id, worker, None)),
        }
    }

    /// Mostly what is waited for.
    fn move_on(&mut self) -> String {
        let (id, worker) = self.id();
        let found = self.custody.get(id);
        let committed = found.map_or(0, |found| found.committed());
        let is_adopting = found.is_some_and(|found| found.phase() == Phase::Adopting);
        let is_sensible = self.random.u32(0..8) > 0;
        if is_adopting == is_sensible {
            let taken = self.random.u32(0..5) > 0;
            return format!("{:?}", self.custody.adopted(id, worker, taken, self.now));
        }
        let handled = if is_sensible { committed } else { self.random.u64(0..3) };
        let numbers = (handled, handled + u64::from(self.random.u32(0..4) == 0));
        format!("{:?}", self.custody.released(id, worker, numbers, self.now))
    }

    fn end(&mut self) -> String {
        let (id, _) = self.id();
        match (self.random.u32(0..6), self.route()) {
            (0, _) => format!("{:?}", self.custody.remove(id)),
            (1, _) => format!("{:?}", self.custody.withdraw(id, LateUpgrade::ClientGone)),
            (2, Some(route)) => format!("{:?}", self.custody.close(route, bye())),
            (2, None) => format!("{:?}", self.custody.late_upgrade(id)),
            _ => String::new(),
        }
    }

    fn ask(&mut self) -> String {
        let worker = self.worker();
        match self.random.u32(0..5) {
            0 => format!("{:?}", self.custody.pick(self.now)),
            1 => {
                self.custody.want_work(self.now);
                String::new()
            }
            2 => {
                self.custody.begin_request(worker);
                String::new()
            }
            3 => {
                self.custody.answer_request(worker);
                String::new()
            }
            _ => {
                self.custody.end_request(worker);
                format!("{:?} {}", self.custody.holdings(worker), self.custody.kept_bytes())
            }
        }
    }

    /// Mostly does what it is told; returns what that was.
    fn obey(&mut self) -> Vec<Command<Acts>> {
        let mut told = Vec::new();
        loop {
            if self.custody.is_unsettled() {
                self.custody.handle_timeout(self.now);
            }
            let Some(command) = self.custody.poll_command() else { return told };
            let is_obeyed = self.random.u32(0..20) > 0;
            match &command {
                Command::HandOver { connection } if is_obeyed => {
                    while self.custody.next(*connection).is_some() {}
                }
                Command::End { route, .. } | Command::CutOff { route, .. } if is_obeyed => {
                    if let Some((id, _)) = self.custody.on_route(*route) {
                        self.custody.remove(id);
                    }
                }
                Command::Finish { route, .. } | Command::GiveUp { route, .. } if is_obeyed => {
                    if let Some((_, connection)) = self.custody.on_route_mut(*route) {
                        connection.client.is_open = false;
                    }
                }
                Command::HandOver { .. }
                | Command::End { .. }
                | Command::CutOff { .. }
                | Command::Finish { .. }
                | Command::GiveUp { .. }
                | Command::Release { .. }
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
            told.push(command);
        }
    }
}

#[test]
fn no_sequence_of_calls_makes_it_panic_or_spin() {
    for seed in 0..1000 {
        println!("seed {seed}");
        let mut fool = Fool::new(seed);
        for _ in 0..600 {
            fool.call();
            fool.look();
        }
    }
}
