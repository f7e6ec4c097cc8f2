//! What truly happened on two threads that have their workers in common, kept beside their custody:
//! who was handed what, who died with it, and in whose company.

use std::time::Duration;

use shovel_core::custody::Death;

use super::{PLACES, THREADS};
use crate::witness::{Step, Violation, demand};

/// Deaths that make a suspect; that convict it if it was alone at the last; that convict it anyway.
const SUSPECT: u8 = 2;
const GUILTY: u8 = 3;
const HOPELESS: u8 = 8;

/// For so long at least nothing is begun beside a suspect.
const TRIAL: Duration = Duration::from_secs(1);

/// What a search has come across.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    Served,
    Convicted,
    AdoptConvicted,
    /// It would have been convicted, had it been alone.
    HadCompany,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Truth {
    pub clients: [Client; THREADS],
    /// What each thread had handed to a worker that it has buried, and that was not finished. It may
    /// have been handed to a dead one: no thread can tell.
    left_behind: [[bool; PLACES]; THREADS],
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    pub holder: Holder,
    pub read: u8,
    pub done: u8,
    /// To its owner, and not finished.
    pub given: u8,
    pub convictions: u8,
    /// With its first unfinished event, and with its adoption.
    blame: Blame,
    adopt_blame: Blame,
    /// For how long a suspect of it has been under way, at most [`TRIAL`].
    tried_for: Option<Duration>,
}

/// Who has a connection, by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Holder {
    #[default]
    Nobody,
    Owner(usize),
    Adopter(usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Blame {
    deaths: u8,
    suspicion: u8,
}

impl Client {
    fn place(&self) -> Option<usize> {
        match self.holder {
            Holder::Nobody => None,
            Holder::Owner(place) | Holder::Adopter(place) => Some(place),
        }
    }

    pub fn is_under_way(&self, place: usize) -> bool {
        match self.holder {
            Holder::Nobody => false,
            Holder::Owner(its) => its == place && self.given > 0,
            Holder::Adopter(its) => its == place,
        }
    }

    fn is_suspect(&self) -> bool {
        self.blame.suspicion.max(self.adopt_blame.suspicion) >= SUSPECT
    }

    /// Its messages are given up.
    pub fn is_convicted(&mut self) {
        self.convictions += 1;
        self.blame = Blame::default();
    }

    pub fn is_over(&mut self) {
        self.holder = Holder::Nobody;
        self.given = 0;
        self.tried_for = None;
    }
}

impl Truth {
    pub fn place(&self, number: usize) -> Result<usize, Violation> {
        let place = self.clients[number].place();
        place.ok_or_else(|| Violation("nobody has the connection".to_string()))
    }

    /// A new worker has come to this place.
    pub fn forget(&mut self, place: usize) {
        self.left_behind.iter_mut().for_each(|left| left[place] = false);
    }

    /// What a worker has, and what of that is under way.
    pub fn counts(&self, place: usize) -> (u32, u32) {
        let has = self.clients.iter().filter(|client| client.place() == Some(place)).count();
        let busy = self.clients.iter().filter(|client| client.is_under_way(place)).count();
        (has as u32, busy as u32)
    }

    pub fn time_passes(&mut self, passed: Duration) {
        for tried_for in self.clients.iter_mut().filter_map(|client| client.tried_for.as_mut()) {
            *tried_for = (*tried_for + passed).min(TRIAL);
        }
    }

    /// A worker was told to take a connection over.
    pub fn is_asked(&mut self, number: usize, place: usize) -> Step {
        let was_nobodys = self.clients[number].holder == Holder::Nobody;
        demand(was_nobodys, "a connection has two owners")?;
        self.clients[number].holder = Holder::Adopter(place);
        self.begins(number, place)
    }

    /// Its owner was given its next event.
    pub fn is_given(&mut self, number: usize) -> Step {
        let Holder::Owner(place) = self.clients[number].holder else {
            return Err(Violation("handed over to nobody".to_string()));
        };
        self.clients[number].given += 1;
        self.begins(number, place)
    }

    /// Something is begun with a worker: nobody is tried there.
    fn begins(&mut self, number: usize, place: usize) -> Step {
        let other = &self.clients[1 - number];
        let is_tried = other.tried_for.is_some_and(|tried_for| tried_for < TRIAL);
        demand(!is_tried || other.place() != Some(place), "begun beside a suspect on trial")?;
        let client = &mut self.clients[number];
        let goes_on = client.tried_for.filter(|tried_for| *tried_for < TRIAL);
        client.tried_for = client.is_suspect().then_some(goes_on.unwrap_or_default());
        Ok(())
    }

    pub fn is_adopted(&mut self, number: usize, place: usize) {
        let client = &mut self.clients[number];
        client.holder = Holder::Owner(place);
        client.adopt_blame = Blame::default();
        client.tried_for.take_if(|_| client.blame.suspicion < SUSPECT);
    }

    pub fn commits(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.given -= 1;
        client.done += u8::from(client.convictions == 0);
        client.blame = Blame::default();
        client.tried_for = None;
    }

    /// A thread is about to learn that a worker is gone. Returns how often each connection must have
    /// been convicted once it knows.
    pub fn is_buried(
        &mut self,
        number: usize,
        place: usize,
        death: Death,
        seen: &mut Vec<Seen>,
    ) -> [u8; THREADS] {
        let other = 1 - number;
        let has_company = self.clients[other].is_under_way(place) || self.left_behind[other][place];
        let mut expected = [0, 1].map(|number| self.clients[number].convictions);
        let client = &mut self.clients[number];
        if client.place() != Some(place) {
            return expected;
        }
        let is_adopter = matches!(client.holder, Holder::Adopter(_));
        if client.is_under_way(place) {
            self.left_behind[number][place] = true;
            let blame = if is_adopter { &mut client.adopt_blame } else { &mut client.blame };
            blame.deaths += 1;
            blame.suspicion += if death == Death::Hang { SUSPECT } else { 1 };
            let is_due = blame.deaths >= GUILTY;
            let is_guilty = is_due && (!has_company || blame.deaths >= HOPELESS);
            expected[number] += u8::from(is_guilty);
            seen.extend(match (is_due, is_guilty, is_adopter) {
                (false, ..) => None,
                (true, false, _) => Some(Seen::HadCompany),
                (true, true, false) => Some(Seen::Convicted),
                (true, true, true) => Some(Seen::AdoptConvicted),
            });
        }
        client.is_over();
        expected
    }
}
