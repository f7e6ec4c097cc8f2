//! What operators ask the driver, and what it remembers for them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shovel_core::fleet::{Event, Fleet, Report};
use shovel_protocol::{Generation, WorkerId, WorkerIndex};
use tokio::sync::{mpsc, oneshot};

use super::Driver;
use crate::admin::desk::{Done, DriverQuestion, EndedReload, History, View};
use crate::admin::wire::ENDING;

/// The driver's side of the admin thread's desk.
pub struct Operators {
    asked: mpsc::Receiver<DriverQuestion>,
    started: Instant,
    history: History,
    waiting: Vec<ReloadWaiter>,
    /// The places of workers that are not gone: the report of an end names only the worker.
    places: BTreeMap<WorkerId, WorkerIndex>,
}

/// Somebody waits for a reload.
struct ReloadWaiter {
    /// Which, once it has started.
    generation: Option<Generation>,
    answer: oneshot::Sender<Result<Done, String>>,
}

impl Driver {
    /// Answers a question, or makes an event of it whose outcome answers it.
    pub(super) fn on_asked(&mut self, asked: DriverQuestion) -> Option<Event> {
        match asked {
            DriverQuestion::View(answer) => {
                // Whoever has stopped waiting wants no answer.
                let _ = answer.send(self.operators.view(&self.fleet, Instant::now()));
                None
            }
            DriverQuestion::Reload(answer) => {
                let request = self.read_settings_again();
                self.operators.wait_for(&request, answer);
                Some(request)
            }
            DriverQuestion::Scale { workers, answer } => {
                let outcome = match self.fleet.is_ending() {
                    true => Err(ENDING.into()),
                    false => self.config.room(self.descriptors).check(workers),
                };
                let outcome = outcome.map(|()| self.fleet.wanted());
                let event = outcome.is_ok().then_some(Event::ScaleRequested { workers });
                let _ = answer.send(outcome);
                event
            }
        }
    }
}

impl Operators {
    pub fn new(asked: mpsc::Receiver<DriverQuestion>, now: Instant) -> Self {
        Operators {
            asked,
            started: now,
            history: History::default(),
            waiting: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    /// The next question; pending for ever once nobody can ask any more.
    ///
    /// # Cancel safety
    /// No question is lost.
    pub async fn next(&mut self) -> DriverQuestion {
        match self.asked.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// Somebody wants to know what comes of this request for a reload.
    fn wait_for(&mut self, request: &Event, answer: oneshot::Sender<Result<Done, String>>) {
        match request {
            Event::ReloadRefused { why } => drop(answer.send(Err(why.clone()))),
            _ => self.waiting.push(ReloadWaiter { generation: None, answer }),
        }
    }

    /// A worker is about to be started.
    pub fn on_spawn(&mut self, worker: WorkerId, index: WorkerIndex) {
        self.places.insert(worker, index);
    }

    /// Remembers what the fleet tells, and answers those who wait for it.
    pub fn on_report(&mut self, report: &Report, now: Instant) {
        match report {
            Report::ReloadStarted { generation } => {
                for waiting in &mut self.waiting {
                    waiting.generation.get_or_insert(*generation);
                }
            }
            Report::ReloadFinished { generation, took } => {
                self.history.reloads_finished += 1;
                self.remember(Some(*generation), Ok(*took), now);
                self.answer(*generation, Ok(Done { generation: *generation, took: *took }));
            }
            Report::ReloadAbandoned { generation, why } => {
                self.history.reloads_abandoned += 1;
                self.remember(Some(*generation), Err(why.clone()), now);
                self.answer(*generation, Err(why.clone()));
            }
            Report::ReloadCutShort { generation } => {
                self.history.reloads_abandoned += 1;
                self.remember(Some(*generation), Err("the pool ended".to_owned()), now);
            }
            Report::ReloadRefused { why } => {
                self.history.reloads_refused += 1;
                self.remember(None, Err(why.clone()), now);
            }
            Report::ReloadIgnored | Report::TerminateStarted { .. } => self.tell_ending(),
            Report::RecycleStarted { .. } => self.history.recycles += 1,
            Report::WorkerFailed { worker, restart_in, .. } => {
                if let Some(index) = self.places.remove(worker)
                    && restart_in.is_some()
                {
                    *self.history.restarts.entry(index).or_default() += 1;
                }
            }
            Report::WorkerStopped { worker, .. }
            | Report::RecycleAbandoned { replacement: worker, .. } => {
                self.places.remove(worker);
            }
            Report::StartFailed { .. }
            | Report::WorkerStarted { .. }
            | Report::WorkerReady { .. }
            | Report::WorkerHung { .. }
            | Report::WorkerLate { .. }
            | Report::WorkerOnTime { .. }
            | Report::DrainTimedOut { .. }
            | Report::HandlerStuck { .. }
            | Report::WorkerSleeps { .. }
            | Report::WorkerWakes { .. }
            | Report::WorkerNeeded { .. }
            | Report::StopTimedOut { .. }
            | Report::ReloadSwitched { .. }
            | Report::ReloadCoalesced
            | Report::Scaled { .. }
            | Report::ScaleIgnored
            | Report::TerminateTimedOut
            | Report::TerminateHurried => {}
        }
    }

    /// No reload will come any more, and no question is answered.
    pub fn close(&mut self) {
        self.asked.close();
        while self.asked.try_recv().is_ok() {}
        self.tell_ending();
    }

    fn view(&self, fleet: &Fleet, now: Instant) -> View {
        View {
            now,
            started: self.started,
            generation: fleet.generation(),
            is_ending: fleet.is_ending(),
            wanted: fleet.wanted(),
            asleep: fleet.asleep(),
            reload: fleet.reload_state(),
            workers: fleet.workers().collect(),
            pauses: fleet.pauses().collect(),
            history: self.history.clone(),
        }
    }

    fn remember(
        &mut self,
        generation: Option<Generation>,
        outcome: Result<Duration, String>,
        at: Instant,
    ) {
        self.history.last_reload = Some(EndedReload { generation, outcome, at });
    }

    fn answer(&mut self, generation: Generation, outcome: Result<Done, String>) {
        for waiting in self.waiting.extract_if(.., |waiting| waiting.generation == Some(generation))
        {
            let _ = waiting.answer.send(outcome.clone());
        }
    }

    /// Whoever waits is told that the pool ends.
    fn tell_ending(&mut self) {
        for waiting in self.waiting.drain(..) {
            let _ = waiting.answer.send(Err(ENDING.into()));
        }
    }
}
