//! What comes of what happens: each thread does what its custody says.

use std::time::Duration;

use shovel_core::custody::{
    Arrived, Attachment, Command, Event, GiveUpCause, Left, LoneCell, Loss, Moment, WorkerCell,
};
use shovel_protocol::id::Leased;
use shovel_protocol::{LeaseId, RequestId, WorkerId};

use super::cells::{CELLS, Cell};
use super::company::{Holder, Seen};
use super::{Action, Config, Link, PLACES, THREADS, World};
use crate::thread::missing;
use crate::witness::{Step, Violation, demand};
use crate::world::{Kept, NOW, id_of, place_of};

const FIRST: Leased = Leased { slot: 0, lease: 0 };

/// No worker has this id.
const NOBODY: WorkerId = WorkerId(0);

impl World {
    pub(super) fn judged(&mut self, config: &Config, action: Action, seen: &mut Vec<Seen>) -> Step {
        CELLS.set(self.cells.clone());
        let expected = match action {
            Action::IsGone(number, place) => {
                self.truth.is_buried(number, place, config.death, seen)
            }
            _ => [0, 1].map(|number| self.truth.clients[number].convictions),
        };
        self.act(config, action)?;
        self.cells = CELLS.take();
        let convicted = [0, 1].map(|number| self.truth.clients[number].convictions);
        demand(convicted <= expected, "an event is convicted that had company")?;
        demand(convicted >= expected, "an event is not convicted though it was alone")?;
        self.judge_counters()
    }

    pub(super) fn act(&mut self, config: &Config, action: Action) -> Step {
        match action {
            Action::Read(number) => self.read(number)?,
            Action::Commit(number) => self.commit(number)?,
            Action::Adopted(number) => self.adopted(number)?,
            Action::Die(place) => {
                self.deaths -= 1;
                self.is_alive[place] = false;
            }
            Action::Poisoned(place) => self.is_alive[place] = false,
            Action::LinkEnds(number, place) => {
                self.threads[number].links[place] = Link::Ended;
                self.happens(number, Event::LinkEnded { worker: id_of(place) })?;
            }
            Action::IsGone(number, place) => {
                self.threads[number].links[place] = Link::Absent;
                let (worker, death) = (id_of(place), config.death);
                self.happens(number, Event::Died { worker, death })?;
            }
            Action::Spawn(place) => {
                let mut cell = LoneCell::new(true);
                if config.is_proven {
                    cell.claim_first_adoption();
                    cell.prove(true);
                }
                CELLS.with_borrow_mut(|cells| cells[place] = cell);
                self.is_alive[place] = true;
                self.is_offered = self.is_alive;
                self.truth.forget(place);
                for number in 0..THREADS {
                    self.threads[number].links[place] = Link::There;
                    self.threads[number].custody.join(id_of(place), Cell(place), NOW);
                    self.happens(number, Event::Offered { workers: self.offered() })?;
                }
            }
            Action::TimePasses(first) => self.pass_time(first)?,
            Action::TimeIsUp(first) => {
                self.times -= 1;
                self.pass_time(first)?;
            }
        }
        (0..THREADS).try_for_each(|number| self.drain(number, NOW).map(drop))
    }

    /// Both connections begin with the first worker.
    pub(super) fn accept(&mut self, number: usize) -> Step {
        let (worker, request) = (id_of(0), RequestId(FIRST));
        let thread = &mut self.threads[number];
        let kept = Kept { connection: number as u8, is_open: true };
        let lease = thread.custody.reserve(kept, worker, request);
        thread.route = thread.custody.accept(lease, worker, request, true);
        let route = thread.route.ok_or_else(|| missing("it was not accepted"))?;
        let found = thread.custody.at_mut(route.slot).ok_or_else(|| missing("it is not there"))?;
        found.attach(Attachment { version: 1, data: Box::default() });
        self.truth.clients[number].holder = Holder::Owner(0);
        self.drain(number, NOW).map(drop)
    }

    fn happens(&mut self, number: usize, event: Event) -> Step {
        self.threads[number].custody.handle_event(event, NOW);
        self.drain(number, NOW).map(drop)
    }

    /// The connection of a thread, by its present lease.
    fn lease(&self, number: usize) -> Result<LeaseId, Violation> {
        let thread = &self.threads[number];
        let found = thread.route.and_then(|route| thread.custody.on_route(route));
        found.map(|(lease, _)| lease).ok_or_else(|| missing("the connection is no more"))
    }

    fn read(&mut self, number: usize) -> Step {
        self.truth.clients[number].read += 1;
        let message = self.truth.clients[number].read;
        let thread = &mut self.threads[number];
        let route = thread.route.ok_or_else(|| missing("the connection is no more"))?;
        let is_kept = matches!(thread.custody.hand_over(route, 1), Arrived::ToKeep);
        let lease = thread.custody.take_in(route, message, 1).filter(|_| is_kept);
        let lease = lease.ok_or_else(|| missing("a message was not taken in"))?;
        self.give(number, lease).map(drop)
    }

    fn commit(&mut self, number: usize) -> Step {
        let (lease, worker) = (self.lease(number)?, id_of(self.truth.place(number)?));
        let committed = self.threads[number].custody.commit(lease, worker, None);
        let committed = committed.map_err(|why| missing(&why.to_string()))?;
        let committed = committed.ok_or_else(|| missing("it is not its owner's"))?;
        self.truth.commits(number);
        if committed.left == Left::Closed {
            return self.take_out(number);
        }
        self.give(number, lease).map(drop)
    }

    fn adopted(&mut self, number: usize) -> Step {
        let (lease, place) = (self.lease(number)?, self.truth.place(number)?);
        let taken = self.threads[number].custody.adopted(lease, id_of(place), true, NOW);
        demand(taken == Ok(true), "an adoption is not taken")?;
        self.truth.is_adopted(number, place);
        self.drain(number, NOW).map(drop)
    }

    fn take_out(&mut self, number: usize) -> Step {
        let lease = self.lease(number)?;
        let thread = &mut self.threads[number];
        demand(thread.custody.remove(lease).is_some(), "it could not be taken out")?;
        thread.route = None;
        self.truth.clients[number].is_over();
        Ok(())
    }

    /// Hands over what may go; whether anything did.
    fn give(&mut self, number: usize, lease: LeaseId) -> Result<bool, Violation> {
        let mut has_given = false;
        while self.threads[number].custody.next(lease).is_some() {
            has_given = true;
            self.truth.is_given(number)?;
        }
        Ok(has_given)
    }

    /// Until something is due that is not just another look at what the other thread does.
    fn pass_time(&mut self, first: usize) -> Step {
        let due = self.threads.iter().filter_map(|its| its.custody.poll_deadline()).min();
        let due = due.map(|at| at - NOW);
        let mut passed = Duration::ZERO;
        for _ in 0..10_000 {
            let next = self.threads.iter().filter_map(|its| its.custody.poll_timeout()).min();
            let Some(now) = next.map(|at| at.max(NOW)) else { return Ok(()) };
            passed += now - NOW;
            self.truth.time_passes(now - NOW);
            let mut has_done = false;
            for number in [first, 1 - first] {
                let custody = &mut self.threads[number].custody;
                if custody.poll_timeout().is_some_and(|at| at <= now) {
                    custody.handle_timeout(now);
                    has_done |= self.drain(number, now)?;
                }
            }
            for its in &mut self.threads {
                // A frame that comes too late tells it what time it is: else it would not be the same
                // how long nothing has happened on a thread.
                let _ = its.custody.adopted(LeaseId(FIRST), NOBODY, true, now);
                its.custody.rebase(now, NOW);
            }
            if has_done || due.is_none_or(|due| passed >= due) {
                return Ok(());
            }
        }
        demand(false, "time does not pass")
    }

    /// Does what a thread's custody says; whether that changed anything.
    fn drain(&mut self, number: usize, now: Moment) -> Result<bool, Violation> {
        let mut has_done = false;
        for _ in 0..1000 {
            let custody = &mut self.threads[number].custody;
            if custody.is_unsettled() {
                custody.handle_timeout(now);
            }
            let Some(command) = custody.poll_command() else { return Ok(has_done) };
            has_done |= self.obey(number, command)?;
        }
        Err(missing("it goes round in circles"))
    }

    fn obey(&mut self, number: usize, command: Command<()>) -> Result<bool, Violation> {
        match command {
            Command::HandOver { connection } => return self.give(number, connection),
            Command::Adopt { worker, .. } => self.truth.is_asked(number, place_of(worker))?,
            Command::GiveUp { cause: GiveUpCause::Poison, .. } => {
                let lease = self.lease(number)?;
                if let Some(kept) = self.threads[number].custody.client_mut(lease) {
                    kept.is_open = false;
                }
                self.truth.clients[number].is_convicted();
            }
            Command::End { loss: Loss::Poison | Loss::PoisonAdopt, .. } => {
                self.truth.clients[number].is_convicted();
                self.take_out(number)?;
            }
            // A worker that is told to give up what it takes over may answer that it has.
            Command::Revoke { .. }
            | Command::Act { .. }
            | Command::CheckReader { .. }
            | Command::CountAdopted { .. }
            | Command::WorkWanted => return Ok(false),
            Command::Release { .. }
            | Command::Finish { .. }
            | Command::GiveUp { .. }
            | Command::End { .. }
            | Command::CutOff { .. }
            | Command::CountReleased { .. }
            | Command::Drained { .. }
            | Command::Idle { .. }
            | Command::Emptied
            | Command::Stuck { .. } => {
                return Err(missing(&format!("nobody asked for {command:?}")));
            }
        }
        Ok(true)
    }

    fn judge_counters(&self) -> Step {
        for place in (0..PLACES).filter(|place| self.is_alive[*place]) {
            let cell = &self.cells[place];
            let (load, company) = self.truth.counts(place);
            demand(cell.load() == load, "its load is another than what it has")?;
            demand(cell.company() == company, "its company is another than what is under way")?;
        }
        Ok(())
    }
}
