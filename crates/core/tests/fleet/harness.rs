//! A fleet with a clock of its own.

use std::time::{Duration, Instant};

use shovel_core::fleet::{Command, Config, Event, Exit, Fleet, Outcome, Report, WorkerState};
use shovel_protocol::id::{Generation, WorkerId, WorkerIndex};

pub(crate) const CRASH: Exit = Exit::Code(101);

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn worker(id: u32) -> WorkerId {
    WorkerId(id)
}

pub(crate) fn spawn(id: u32, index: u32, generation: u32) -> Command {
    Command::Spawn {
        worker: WorkerId(id),
        index: WorkerIndex(index),
        generation: Generation(generation),
    }
}

/// Ends a worker that has gone wrong.
pub(crate) fn kill(id: u32) -> Command {
    Command::Kill { worker: WorkerId(id), at_fault: true }
}

/// Ends a worker that nobody needs, or that has been told to leave.
pub(crate) fn dismiss(id: u32) -> Command {
    Command::Kill { worker: WorkerId(id), at_fault: false }
}

pub(crate) fn offer(ids: &[u32]) -> Command {
    offer_but(ids, &[])
}

/// These are offered, and those are late.
pub(crate) fn offer_but(ids: &[u32], late: &[u32]) -> Command {
    let [workers, late] = [ids, late].map(|ids| ids.iter().copied().map(WorkerId).collect());
    Command::Offer { workers, late }
}

pub(crate) fn shutdown(id: u32) -> Command {
    Command::Shutdown { worker: WorkerId(id) }
}

pub(crate) fn load_image(generation: u32) -> Command {
    Command::LoadImage { generation: Generation(generation) }
}

pub(crate) fn drop_image(generation: u32) -> Command {
    Command::DropImage { generation: Generation(generation) }
}

pub(crate) fn config(workers: u32) -> Config {
    Config {
        workers,
        min_workers: 1,
        ready_timeout: seconds(30),
        hang_timeout: seconds(30),
        drain_timeout: seconds(60),
        shutdown_timeout: seconds(25),
        max_age: None,
        waits_for_a_better_program: false,
        seed: 7,
    }
}

/// Some point in time: only differences to it matter.
#[expect(clippy::disallowed_methods, reason = "an `Instant` cannot be made in any other way")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

pub(crate) struct Simulation {
    pub(crate) fleet: Fleet,
    pub(crate) now: Instant,
    /// Since they were last cleared.
    pub(crate) reports: Vec<Report>,
    /// Whether workers answer pings.
    pub(crate) answers_pings: bool,
}

impl Simulation {
    pub(crate) fn new(config: Config) -> Self {
        let now = epoch();
        let fleet = Fleet::new(config, now);
        let mut simulation = Simulation { fleet, now, reports: Vec::new(), answers_pings: true };
        assert_eq!(simulation.drain_commands(), [load_image(1)]);
        simulation
    }

    /// A fleet whose workers, 1 to `workers`, are all ready.
    pub(crate) fn running(workers: u32) -> Self {
        Self::running_with(config(workers))
    }

    pub(crate) fn running_with(config: Config) -> Self {
        let workers = config.workers;
        let mut simulation = Simulation::new(config);
        simulation.event(Event::ImageLoaded { generation: Generation(1) });
        for id in 1..=workers {
            simulation.bring_up(id);
        }
        simulation.reports.clear();
        simulation
    }

    /// What the fleet wants done about this; reports and pings aside.
    pub(crate) fn event(&mut self, event: Event) -> Vec<Command> {
        self.fleet.handle_event(event, self.now);
        self.drain_commands()
    }

    /// Lets time pass and returns what the fleet wanted done meanwhile.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Command> {
        let end = self.now + time;
        let mut commands = Vec::new();
        while let Some(at) = self.fleet.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.fleet.handle_timeout(self.now);
            commands.extend(self.drain_commands());
            assert!(self.fleet.poll_timeout().is_none_or(|next| next > self.now), "no progress");
        }
        self.now = end;
        commands
    }

    pub(crate) fn image_loaded(&mut self, generation: u32) -> Vec<Command> {
        self.event(Event::ImageLoaded { generation: Generation(generation) })
    }

    pub(crate) fn bring_up(&mut self, id: u32) -> Vec<Command> {
        let mut commands = self.event(Event::Spawned { worker: worker(id), pid: 1000 + id });
        commands.extend(self.event(Event::LinkObtained { worker: worker(id) }));
        commands.extend(self.event(Event::Ready { worker: worker(id) }));
        commands
    }

    pub(crate) fn gone(&mut self, id: u32, exit: Exit) -> Vec<Command> {
        self.event(Event::Gone { worker: worker(id), exit })
    }

    pub(crate) fn drained(&mut self, id: u32) -> Vec<Command> {
        self.event(Event::Drained { worker: worker(id) })
    }

    /// A worker that was told to shut down does so.
    pub(crate) fn finishes(&mut self, id: u32) -> Vec<Command> {
        let mut commands = self.event(Event::ShutdownCompleted { worker: worker(id) });
        commands.extend(self.event(Event::LinkEnded { worker: worker(id), why: None }));
        commands.extend(self.gone(id, Exit::Code(0)));
        commands
    }

    pub(crate) fn reload(&mut self) -> Vec<Command> {
        self.event(Event::ReloadRequested)
    }

    pub(crate) fn terminate(&mut self) -> Vec<Command> {
        self.event(Event::TerminateRequested)
    }

    /// Nothing is left that a worker would have to be started for.
    pub(crate) fn emptied(&mut self) -> Vec<Command> {
        self.event(Event::Emptied)
    }

    /// Something has no worker.
    pub(crate) fn work(&mut self) -> Vec<Command> {
        self.event(Event::WorkWanted)
    }

    pub(crate) fn state(&self, id: u32) -> Option<WorkerState> {
        self.fleet.workers().find(|view| view.id == worker(id)).map(|view| view.state)
    }

    pub(crate) fn abandonment(&self) -> Option<&str> {
        self.reports.iter().find_map(|report| match report {
            Report::ReloadAbandoned { why, .. } => Some(why.as_str()),
            _ => None,
        })
    }

    fn drain_commands(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some(command) = self.fleet.poll_command() {
            match command {
                Command::Report(report) => self.reports.push(report),
                Command::Ping { worker } if self.answers_pings => {
                    self.fleet.handle_event(Event::Ponged { worker }, self.now);
                }
                Command::Ping { .. } => {}
                command => commands.push(command),
            }
        }
        commands
    }
}

/// Why the fleet has failed, if its last command says so.
pub(crate) fn failure(commands: &[Command]) -> Option<&str> {
    match commands.last() {
        Some(Command::Exit(Outcome::Failure { why })) => Some(why),
        _ => None,
    }
}
