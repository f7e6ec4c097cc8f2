//! The trials of suspects, as the router holds them: what may be begun with a worker, and whose
//! fault its death is.

use shovel_core::transfer::{Blame, Phase};

use crate::witness::{Seen, Step, demand};
use crate::world::{Config, Connection, Life, World};

/// One connection is the only one with which anything is begun at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trial {
    pub connection: usize,
    /// It was handed over. Before that it waits for what is under way.
    pub has_begun: bool,
}

impl World {
    /// Whether the next event of a connection, or its adoption, may be given to a worker.
    pub fn may_begin(&mut self, connection: usize, worker: usize) -> bool {
        let is_suspect = self.is_suspect(connection);
        let is_alone = self.under_way(worker) == 0;
        let trial = &mut self.workers[worker].trial;
        if trial.is_none() && is_suspect {
            *trial = Some(Trial { connection, has_begun: false });
        }
        match trial {
            None => true,
            Some(trial) if trial.connection != connection => false,
            Some(trial) => {
                trial.has_begun |= is_alone;
                trial.has_begun
            }
        }
    }

    /// Whether it makes a difference to have it adopted now.
    pub fn may_seek(&self, connection: usize, worker: usize) -> bool {
        let elsewhere = self.workers.iter().enumerate().any(|(other, at)| {
            other != worker && at.trial.is_some_and(|trial| trial.connection == connection)
        });
        !elsewhere
            && match self.workers[worker].trial {
                None => true,
                Some(trial) => {
                    trial.connection == connection
                        && (trial.has_begun || self.under_way(worker) == 0)
                }
            }
    }

    /// Ends trials that are over, and goes on with what waited for that.
    pub fn settle_trials(&mut self, config: &Config) -> Step {
        for worker in 0..self.workers.len() {
            let Some(trial) = self.workers[worker].trial else { continue };
            if !self.is_on(trial, worker) {
                self.workers[worker].trial = None;
            }
            self.pump_all(config, worker)?;
        }
        Ok(())
    }

    /// A trial, or the wait for it, has lasted as long as it may.
    pub fn lapse(&mut self, config: &Config, worker: usize) -> Step {
        let Some(trial) = &mut self.workers[worker].trial else { return Ok(()) };
        if trial.has_begun {
            self.workers[worker].trial = None;
        } else {
            trial.has_begun = true;
        }
        self.pump_all(config, worker)
    }

    /// Whose fault the death of a worker is.
    pub fn blame(&self, worker: usize) -> Blame {
        match self.under_way(worker) {
            _ if self.workers[worker].life != (Life::Dead { blamed: true }) => Blame::None,
            0 | 1 => Blame::Alone,
            _ => Blame::InCompany,
        }
    }

    /// How much a worker has under way, upgrades included.
    fn under_way(&self, worker: usize) -> usize {
        let is_offered = |state: &&Connection| state.phase() == Phase::Offered;
        let under_way = self.states_of(worker).filter(|state| state.is_under_way()).count();
        under_way + self.states_of(worker).filter(is_offered).count()
    }

    fn states_of(&self, worker: usize) -> impl Iterator<Item = &Connection> {
        self.owned_by(worker).filter_map(|its| self.slots[its].state.as_ref())
    }

    fn is_suspect(&self, connection: usize) -> bool {
        self.slots[connection].state.as_ref().is_some_and(|state| state.suspect().is_some())
    }

    fn is_on(&self, trial: Trial, worker: usize) -> bool {
        let Some(state) = &self.slots[trial.connection].state else { return false };
        match state.owner() {
            Some(owner) if *owner != worker => false,
            Some(_) if trial.has_begun => state.carries_suspect() || state.suspect().is_some(),
            None if !self.is_ready(worker) => false,
            Some(_) | None => state.suspect().is_some(),
        }
    }

    /// What must hold of suspects in every state.
    pub fn suspects_hold(&self, config: &Config, seen: &mut Vec<Seen>) -> Step {
        for slot in &self.slots {
            let Some(state) = &slot.state else { continue };
            let is_adopting = state.phase() == Phase::Adopting;
            let is_suspect = slot.witness.is_suspect(is_adopting);
            demand(state.carries_suspect() == is_suspect, "it is not clear who is suspect")?;
            if state.has_next() && state.suspect().is_some() {
                seen.push(Seen::SuspectWaits);
            }
        }
        for worker in 0..self.workers.len() {
            let is_suspect = self.states_of(worker).any(Connection::carries_suspect);
            // Upgrades may come at any time.
            let has_company =
                self.states_of(worker).filter(|state| state.is_under_way()).count() > 1;
            if is_suspect && has_company {
                seen.push(Seen::SuspectInCompany);
                let has_lapsed = self.faults.lapses < config.faults.lapses;
                demand(has_lapsed, "a suspect is not alone with its worker")?;
            }
        }
        Ok(())
    }
}
