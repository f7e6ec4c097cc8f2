//! Whom a connection without an owner goes to, and when.
//!
//! Moves are parallel and bounded, so that each connection pauses for two round trips to workers
//! rather than for all the others. A program that has not taken any connection over yet is asked for
//! one alone: it may not be able to.

use shovel_protocol::WorkerId;

use super::connection::{State, Wait};
use super::workers::Adopter;
use super::{ClientHandle, Command, Custody, Ending, Loss, Moment, Proof, Route, WorkerCell};

/// Connections of a thread that are on their way at once.
pub const UNDER_WAY: u32 = 64;

impl<W: WorkerCell, C: ClientHandle, M, E: Default> Custody<W, C, M, E> {
    /// Has a worker take a connection over that nobody owns. `false` if it has to wait for one.
    fn find_owner(&mut self, route: Route, now: Moment) -> bool {
        let Some((id, connection)) = self.on_route(route) else { return true };
        let State::Unowned { cause, .. } = connection.state else { return true };
        let worker = match self.adopter(self.tried_with(route)) {
            Adopter::Ready(worker) => worker,
            Adopter::Unable => {
                self.lose(route, Loss::Unable);
                return true;
            }
            Adopter::None if self.ending == Ending::Last => {
                self.lose(route, Loss::End);
                return true;
            }
            Adopter::None => return false,
        };
        // While its program is asked for a first adoption, no suspect takes the worker's trial.
        let is_asked = self.worker(worker).is_none_or(|cell| cell.proof() == Proof::Awaited);
        if is_asked || !self.may_adopt(route, worker, now) || !self.ask(worker) {
            return false;
        }
        self.want_help(worker, now);
        let step = self.asked(self.settings.adopt_timeout);
        self.change(route.slot, |its| {
            its.state = State::Adopting { owner: worker, cause, step };
        });
        self.commands.push_back(Command::Adopt { worker, connection: id, cause });
        true
    }

    /// An unowned connection has something to handle. Its deadline counts from the next moment that
    /// is told.
    pub(super) fn note_woken(&mut self, route: Route) {
        self.woken.push(route);
        self.seek(route);
    }

    pub(super) fn wake(&mut self, now: Moment) {
        while let Some(route) = self.woken.pop() {
            self.wait(route, Wait::Queued { until: now + self.settings.owner_wait });
        }
    }

    /// Puts a connection that nobody owns into the queue, if it is not there.
    pub(super) fn seek(&mut self, route: Route) {
        let Some((_, connection)) = self.on_route(route) else { return };
        if connection.is_unowned() {
            match connection.suspect() {
                Some(_) => self.seeking_suspects.push(route),
                None => self.seeking.push(route),
            }
            self.is_unsettled = true;
        }
    }

    /// Begins as many moves as there is room for. Unowned connections pause already, so they come
    /// first, and among them those that are no suspects.
    pub(super) fn begin_moves(&mut self, now: Moment) {
        let is_waiting = !self.seeking.is_empty() || !self.seeking_suspects.is_empty();
        if is_waiting && self.ending != Ending::Last && self.adopter(None) == Adopter::None {
            // They are looked at again when there is a worker.
            self.want_work(now);
        } else {
            self.begin_seeking(now);
        }
        while self.has_room() && self.may_ask() {
            let Some(route) = self.leaving.pop() else { return };
            self.leave(route);
        }
    }

    fn begin_seeking(&mut self, now: Moment) {
        while self.has_room()
            && let Some(route) = self.seeking.pop()
        {
            if !self.find_owner(route, now) {
                // Nor would those behind it find one.
                self.seeking.push_front(route);
                return;
            }
        }
        for _ in 0..self.seeking_suspects.len() {
            if !self.has_room() || !self.seeking.is_empty() {
                return;
            }
            let Some(route) = self.seeking_suspects.pop() else { return };
            if !self.find_owner(route, now) {
                self.seeking_suspects.push(route);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.under_way < self.most_under_way
    }

    /// Until the program that serves has answered its first adoption, only one connection leaves its
    /// worker at a time, and none while one is being adopted, however long that takes. A program that
    /// fails to adopt would lose all of them.
    fn may_ask(&self) -> bool {
        let cells = self.offered.iter().filter_map(|worker| self.worker(*worker));
        let proofs = cells.filter(|cell| cell.adopts()).map(WorkerCell::proof);
        let least = proofs.fold(Proof::Given, |least, proof| match (least, proof) {
            (Proof::Awaited, _) | (_, Proof::Awaited) => Proof::Awaited,
            (Proof::None, _) | (_, Proof::None) => Proof::None,
            (Proof::Given, Proof::Given) => Proof::Given,
        });
        self.is_ending()
            || match least {
                Proof::Given => true,
                Proof::None => self.under_way == 0 && self.seeking.is_empty(),
                Proof::Awaited => false,
            }
    }

    fn ask(&mut self, worker: WorkerId) -> bool {
        let Some(its) = self.workers.get_mut(&worker) else { return false };
        match its.cell.claim_first_adoption() {
            Proof::Given => true,
            Proof::Awaited => false,
            Proof::None => {
                its.is_proving = true;
                true
            }
        }
    }

    pub(super) fn note_proof(&mut self, worker: WorkerId, answered: bool) {
        if let Some(its) = self.workers.get_mut(&worker)
            && std::mem::take(&mut its.is_proving)
        {
            its.cell.prove(answered);
        }
    }

    /// Whether a connection waits for a worker.
    pub(super) fn is_seeking(&self, route: Route) -> bool {
        self.seeking.contains(route) || self.seeking_suspects.contains(route)
    }

    pub(super) fn wait(&mut self, route: Route, wait: Wait) {
        self.change(route.slot, |its| {
            if let State::Unowned { wait: before, .. } = &mut its.state {
                *before = wait;
            }
        });
    }
}
