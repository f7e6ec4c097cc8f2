//! Replacing a generation by a new one.
//!
//! The walk: load the image, start all workers, switch when every one is ready, drain the old
//! generation, drop its image when its last worker is gone. At most two generations are alive at
//! any time, so requests that come meanwhile make one more reload afterwards.

use std::mem;
use std::time::Instant;

use shovel_protocol::id::Generation;

use super::command::{Command, DrainReason};
use super::report::Report;
use super::restart::Load;
use super::{Fleet, Phase};

#[derive(Debug)]
pub(super) enum Reload {
    Idle,
    /// The new generation is not whole yet.
    Starting {
        load: Load,
        started: Instant,
    },
    /// The new generation serves and the old one is leaving.
    Draining {
        old: Generation,
        started: Instant,
    },
    /// The new generation was abandoned, and its workers are not all gone.
    Abandoned {
        generation: Generation,
        has_image: bool,
    },
}

/// How far a reload is, as the status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadState {
    /// None is under way.
    Idle,
    /// The new generation is not whole yet; the old one serves.
    Starting {
        /// The new one.
        generation: Generation,
    },
    /// The new generation serves and the old one is leaving.
    Draining {
        /// The old one.
        generation: Generation,
    },
    /// The new generation was abandoned and is leaving.
    Abandoned {
        /// The new one.
        generation: Generation,
    },
}

impl Reload {
    pub(super) fn state(&self) -> ReloadState {
        match self {
            Reload::Idle => ReloadState::Idle,
            Reload::Starting { load, .. } => ReloadState::Starting { generation: load.generation },
            Reload::Draining { old, .. } => ReloadState::Draining { generation: *old },
            Reload::Abandoned { generation, .. } => {
                ReloadState::Abandoned { generation: *generation }
            }
        }
    }

    /// The generation that does not serve yet.
    pub(super) fn incoming(&self) -> Option<Generation> {
        match self {
            Reload::Starting { load, .. } => Some(load.generation),
            Reload::Idle | Reload::Draining { .. } | Reload::Abandoned { .. } => None,
        }
    }
}

impl Fleet {
    pub(super) fn on_reload_requested(&mut self) {
        if !matches!(self.phase, Phase::Running) {
            self.report(Report::ReloadIgnored);
            return;
        }
        if self.is_reloading() {
            self.report(Report::ReloadCoalesced);
        }
        self.reload_wanted = true;
    }

    /// Abandons the new generation; the old one goes on. Does nothing after the switch.
    pub(super) fn abandon_reload(&mut self, why: String, now: Instant) {
        let Reload::Starting { load, .. } = &self.reload else { return };
        let (generation, has_image) = (load.generation, load.image_loaded);
        self.reload = Reload::Abandoned { generation, has_image };
        self.report(Report::ReloadAbandoned { generation, why });
        for id in self.ids_where(|worker| worker.generation == generation) {
            self.dismiss(id, now);
        }
    }

    /// Takes each step of the reload that has become possible.
    pub(super) fn settle_reload(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        self.switch_if_whole(now);
        match self.reload {
            Reload::Draining { old, started } if !self.is_alive(old) => {
                self.reload = Reload::Idle;
                self.commands.push_back(Command::DropImage { generation: old });
                let took = now.saturating_duration_since(started);
                let generation = self.serving.generation;
                self.report(Report::ReloadFinished { generation, took });
            }
            Reload::Abandoned { generation, has_image } if !self.is_alive(generation) => {
                self.reload = Reload::Idle;
                if has_image {
                    self.commands.push_back(Command::DropImage { generation });
                }
            }
            _ => {}
        }
        if matches!(self.reload, Reload::Idle) && mem::take(&mut self.reload_wanted) {
            self.start_reload(now);
        }
    }

    fn start_reload(&mut self, now: Instant) {
        self.cancel_recycle(now);
        let generation = Generation(self.next_generation);
        self.next_generation += 1;
        self.reload =
            Reload::Starting { load: Load::new(generation, self.config.workers), started: now };
        self.report(Report::ReloadStarted { generation });
        self.commands.push_back(Command::LoadImage { generation });
    }

    fn switch_if_whole(&mut self, now: Instant) {
        let Reload::Starting { load, started } = &self.reload else { return };
        let started = *started;
        let incoming = load.generation;
        let ready = self.ids_where(|worker| worker.generation == incoming && worker.is_ready());
        if !load.image_loaded || ready.len() < load.size() {
            return;
        }
        let Reload::Starting { load, .. } = mem::replace(&mut self.reload, Reload::Idle) else {
            return;
        };
        let old = mem::replace(&mut self.serving, load).generation;
        self.reload = Reload::Draining { old, started };
        self.report(Report::ReloadSwitched { generation: self.serving.generation });
        for id in self.ids_where(|worker| worker.generation == old && worker.is_ready()) {
            self.drain(id, DrainReason::Reload, now);
        }
        self.hurry_sleepers(0, DrainReason::Reload, now);
        for id in self.ids_where(|worker| worker.generation == old && worker.is_starting()) {
            self.dismiss(id, now);
        }
    }

    fn is_alive(&self, generation: Generation) -> bool {
        self.workers.values().any(|worker| worker.generation == generation)
    }
}
