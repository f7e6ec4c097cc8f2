//! The driver: the only caller of `core::fleet`. Takes in what happens, does what the fleet decides.
//!
//! It runs on the main thread, which spawns the workers: their death signal is bound to the thread
//! that spawns them. Messages and bodies never come here.

mod develop;
mod operators;
mod orphans;
mod reconfigure;
mod report;
mod starts;
mod workers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use shovel_core::fleet::{Command, Event, Fleet, Outcome, RecycleReason, Report};
use shovel_edge::Crowd;
use shovel_edge::listener::Bound;
use shovel_edge::socket_file::SocketFile;
use shovel_protocol::Generation;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use self::develop::Development;
use self::operators::Operators;
use self::orphans::Orphans;
use self::starts::{Absent, Starts};
use self::workers::Workers;
use crate::admin::Doors;
use crate::admin::desk::Desk;
use crate::config::sources::{Choices, Effective, Sources};
use crate::config::{Config, count};
use crate::service::ServiceManager;
use crate::watch::Watch;
use crate::worker::account::Account;
use crate::worker::descriptors;
use crate::worker::image::{Image, ImageError};
use crate::worker::process::Launch;
use crate::{listen, log};
use shovel_router::crossing::Crossings;
use shovel_router::{FromThread, IoThread, NewsReceiver, Start, ToThread};

/// How often the memory of workers is looked at.
const RSS_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait for the last output of workers that are gone; a grandchild may hold the pipe.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long clients may take to read why they are closed, when there is no time left.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(200);

/// Runs the pool until it ends.
///
/// # Errors
/// What the operator should read: an address that cannot be bound, a program that cannot be
/// started, workers that had to be killed in the end.
pub fn run(sources: Sources, settings: Effective) -> anyhow::Result<()> {
    if !settings.config.dumpable {
        descriptors::hide_memory();
    }
    let account = settings.config.worker_user.as_ref().map(Account::find).transpose()?;
    let bound = listen::bind_all(&settings.config.listen)?;
    let doors = Doors::open(&settings.config, &bound)?;
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let ended = runtime.block_on(async {
        let signals = Signals::new().context("cannot handle signals")?;
        Driver::start(sources, settings, bound, doors, account)?.run(signals).await
    });
    // I/O threads may still wait for clients; the process ends without them.
    runtime.shutdown_background();
    ended
}

struct Driver {
    sources: Sources,
    choices: Choices,
    config: Config,
    descriptors: u64,
    fleet: Fleet,
    threads: Vec<IoThread>,
    news: NewsReceiver,
    workers: Workers,
    starts: Starts,
    service: ServiceManager,
    operators: Operators,
    orphans: Orphans,
    /// Kept until the end, when it goes.
    _admin_socket: Option<SocketFile>,
    images: BTreeMap<Generation, Image>,
    development: Development,
    loading: JoinSet<(Generation, Result<Image, ImageError>)>,
    terminating_since: Option<Instant>,
    /// I/O threads for which nobody has to be started any more.
    emptied: usize,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// Those that say something to other servers, and would end a program that does not know them.
    foreign: [Signal; 3],
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            foreign: [
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
                signal(SignalKind::alarm())?,
            ],
        })
    }

    /// The next signal, as an event of the fleet.
    ///
    /// # Cancel safety
    /// No signal is lost.
    async fn next(&mut self) -> Event {
        let [user1, user2, alarm] = &mut self.foreign;
        loop {
            // Cancel-safe: a signal stays pending until its branch is taken.
            let foreign = tokio::select! {
                _ = self.hangup.recv() => return Event::ReloadRequested,
                _ = self.terminate.recv() => return Event::TerminateRequested,
                _ = self.interrupt.recv() => return Event::TerminateRequested,
                _ = self.quit.recv() => return Event::TerminateRequested,
                _ = user1.recv() => "SIGUSR1",
                _ = user2.recv() => "SIGUSR2",
                _ = alarm.recv() => "SIGALRM",
            };
            tracing::warn!("{foreign} means nothing here: SIGHUP reloads, SIGTERM ends");
        }
    }

    /// The next signal to terminate.
    async fn terminated(&mut self) {
        while self.next().await != Event::TerminateRequested {}
    }
}

impl Driver {
    fn start(
        sources: Sources,
        settings: Effective,
        bound: Vec<Bound>,
        doors: Doors,
        account: Option<Account>,
    ) -> anyhow::Result<Self> {
        let Effective { config, choices, .. } = settings;
        let orphans = Orphans::new().context("cannot handle signals")?;
        let limit = descriptors::raise_limit();
        let descriptors = count::descriptors();
        let watch = Watch::start(&config, log::has_colours(), limit)?;
        let (sender, news) = shovel_router::news();
        let count = config.io_threads as usize;
        let (mut threads, crowd) = (Vec::with_capacity(count), Crowd::default());
        for (index, crossings) in Crossings::between(count).into_iter().enumerate() {
            let listeners = bound.iter().map(|bound| bound.try_clone()).collect::<Result<_, _>>();
            let start = Start {
                listeners: listeners.context("cannot share a listener")?,
                tcp: config.tcp(),
                settings: config.io(descriptors, index),
                http: config.http(),
                crowd: crowd.clone(),
                news: sender.of_thread(index),
                crossings,
            };
            threads.push(IoThread::start(index, start).context("cannot start an I/O thread")?);
        }
        let launch = Launch { links: count, limit, account };
        let (desk, asked) = Desk::new(threads.iter().map(IoThread::inspector).collect());
        let admin_socket = doors.serve(&config, &bound, desk);
        let now = Instant::now();
        Ok(Driver {
            fleet: Fleet::new(config.fleet(), now),
            workers: Workers::new(launch, bound),
            starts: Starts::default(),
            service: ServiceManager::of_environment(),
            orphans,
            sources,
            choices,
            operators: Operators::new(asked, now),
            _admin_socket: admin_socket,
            config,
            descriptors,
            threads,
            news,
            images: BTreeMap::new(),
            development: Development::new(watch),
            loading: JoinSet::new(),
            terminating_since: None,
            emptied: 0,
        })
    }

    async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        let mut rss = interval(RSS_INTERVAL);
        rss.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(outcome) = self.obey_all() {
                // Not cancel-safe, and need not be: the process ends either way.
                return tokio::select! {
                    left = self.leave(outcome) => left,
                    () = signals.terminated() => Err(anyhow!("told again to terminate")),
                };
            }
            let timeout = self.fleet.poll_timeout();
            // Cancel-safe: queues and sets keep what was not taken; the rest only waits.
            let event = tokio::select! {
                event = signals.next() => Some(event),
                Some(news) = self.news.recv() => self.on_news(news),
                ended = self.workers.next_end() => self.workers.on_end(ended, &self.threads),
                asked = self.operators.next() => self.on_asked(asked),
                Some(loaded) = self.loading.join_next() => self.on_loaded(loaded),
                () = self.starts.due() => {
                    self.start_next();
                    None
                }
                () = self.service.look_due() => {
                    self.probe();
                    None
                }
                () = self.orphans.some_ended() => {
                    self.reap_orphans();
                    None
                }
                watched = self.development.next() => {
                    let events = self.on_watched(watched);
                    events.into_iter().for_each(|event| self.handle(event));
                    None
                }
                _ = rss.tick(), if self.config.worker_max_rss_bytes.is_some() => {
                    self.look_at_memory();
                    None
                }
                () = sleep_until(timeout.unwrap_or_else(Instant::now).into()), if timeout.is_some() => {
                    self.on_timeout();
                    None
                }
            };
            if let Some(event) = event {
                self.handle(event);
            }
        }
    }

    fn on_news(&mut self, news: shovel_router::News) -> Option<Event> {
        match news.what {
            FromThread::Alive => {
                self.service.on_alive();
                None
            }
            FromThread::Emptied => {
                self.emptied += 1;
                (self.emptied == self.threads.len()).then_some(Event::Emptied)
            }
            _ => self.workers.on_news(news),
        }
    }

    /// Takes in what was told before it looks at deadlines: on a busy machine a worker's answer may
    /// have come though its deadline is over.
    fn on_timeout(&mut self) {
        while let Some(news) = self.news.try_recv() {
            let event = self.on_news(news);
            event.into_iter().for_each(|event| self.handle(event));
        }
        self.fleet.handle_timeout(Instant::now());
    }

    fn reap_orphans(&self) {
        self.orphans.reap(|pid| self.workers.awaits(pid) || self.development.awaits(pid));
    }

    /// The service manager hears that we are alive only if every thread is.
    fn probe(&mut self) {
        if self.service.begin_look(self.threads.len()) {
            self.tell_all(|| ToThread::Probe);
        }
    }

    fn handle(&mut self, event: Event) {
        let event = match event {
            Event::TerminateRequested => {
                self.development.stop();
                self.terminating_since.get_or_insert_with(Instant::now);
                event
            }
            Event::ReloadRequested => self.read_settings_again(),
            event => event,
        };
        self.fleet.handle_event(event, Instant::now());
    }

    /// Does what the fleet has decided; returns how the pool ended, if it has.
    fn obey_all(&mut self) -> Option<Outcome> {
        let (mut reports, mut outcome) = (Vec::new(), None);
        while let Some(command) = self.fleet.poll_command() {
            match command {
                Command::Report(report) => reports.push(report),
                Command::Exit(ended) => outcome = Some(ended),
                command => self.obey(command),
            }
        }
        // Told when it is done: who reads that a worker is ready may rely on it.
        for report in &reports {
            report::log(report, &self.fleet, &self.workers);
            self.operators.on_report(report, Instant::now());
            if let Report::Scaled { .. } = report {
                self.tell_settings();
            }
        }
        if !reports.is_empty() {
            self.service.tell(&reports, &self.fleet);
        }
        outcome
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::LoadImage { generation } => self.load_image(generation),
            Command::DropImage { generation } => drop(self.images.remove(&generation)),
            Command::Spawn { worker, index, generation } => {
                self.starts.add(Absent { worker, index, generation });
            }
            Command::Ping { worker } => self.tell_first(ToThread::Ping { worker }),
            Command::Offer { workers, late } => {
                let offer = || ToThread::Offer { workers: workers.clone(), late: late.clone() };
                self.tell_all(offer);
            }
            Command::Drain { worker, why } => self.tell_all(|| ToThread::Drain { worker, why }),
            Command::Cut { worker } => self.tell_all(|| ToThread::Cut { worker }),
            Command::Shutdown { worker } => {
                self.workers.may_leave(worker);
                self.tell_first(ToThread::Shutdown { worker });
            }
            Command::Kill { worker, at_fault } => match self.starts.withdraw(worker) {
                true => {
                    let why = "nobody needs it any more".to_owned();
                    self.handle(Event::SpawnFailed { worker, why });
                }
                false => self.workers.kill(worker, at_fault),
            },
            Command::StopAccepting => {
                self.workers.close_listeners();
                self.tell_all(|| ToThread::StopAccepting);
            }
            Command::EndWaits => self.tell_all(|| ToThread::EndWaits),
            Command::Report(_) | Command::Exit(_) => {}
        }
    }

    fn on_loaded(
        &mut self,
        loaded: Result<(Generation, Result<Image, ImageError>), tokio::task::JoinError>,
    ) -> Option<Event> {
        self.on_copied();
        match loaded {
            Ok((generation, Ok(image))) => {
                if self.images.is_empty() {
                    self.workers.announce_listeners();
                    report::openness(&self.config);
                }
                self.images.insert(generation, image);
                Some(Event::ImageLoaded { generation })
            }
            Ok((generation, Err(error))) => {
                Some(Event::ImageFailed { generation, why: error.to_string() })
            }
            Err(error) => {
                tracing::error!(%error, "copying the program failed");
                None
            }
        }
    }

    fn look_at_memory(&mut self) {
        let limit = self.config.worker_max_rss_bytes.unwrap_or(usize::MAX);
        for worker in self.workers.over_memory(limit) {
            self.handle(Event::RecycleWanted { worker, why: RecycleReason::MaxRss });
        }
    }

    /// Tells I/O threads the settings. Clients are limited so that workers find descriptors.
    fn tell_settings(&self) {
        let workers = self.fleet.wanted();
        let config = Config { workers, ..self.config.clone() };
        let http = Box::new(config.http());
        for (index, thread) in self.threads.iter().enumerate() {
            let settings = Box::new(config.io(self.descriptors, index));
            thread.tell(ToThread::Configure { settings, http: http.clone() });
        }
    }

    fn tell_all(&self, command: impl Fn() -> ToThread) {
        self.threads.iter().for_each(|thread| thread.tell(command()));
    }

    /// What is about a worker as a whole goes over its first link.
    fn tell_first(&self, command: ToThread) {
        if let Some(first) = self.threads.first() {
            first.tell(command);
        }
    }

    /// Waits until the I/O threads have ended, and shows meanwhile that the others are alive.
    async fn threads_ended(&mut self) {
        while let Some(last) = self.threads.last_mut() {
            // Cancel-safe: a queue keeps what was not taken, and the others only wait.
            tokio::select! {
                () = last.ended() => {
                    self.threads.pop().into_iter().for_each(IoThread::join);
                    self.service.forget_look();
                }
                Some(news) = self.news.recv() => drop(self.on_news(news)),
                () = self.service.look_due() => self.probe(),
            }
        }
    }

    /// Responses and close frames may still be on their way to clients, and output of workers on
    /// its way to the log.
    async fn leave(mut self, outcome: Outcome) -> anyhow::Result<()> {
        self.operators.close();
        let deadline = self.terminating_since.map(|since| since + self.config.shutdown_timeout);
        let within = match (&outcome, deadline) {
            (Outcome::Success, Some(deadline)) => {
                deadline.saturating_duration_since(Instant::now())
            }
            _ => FAREWELL_TIMEOUT,
        };
        self.tell_all(|| ToThread::Finish { within });
        let _ = timeout(OUTPUT_TIMEOUT, self.workers.output_ended()).await;
        self.threads_ended().await;
        match outcome {
            Outcome::Success => {
                tracing::info!("terminated");
                Ok(())
            }
            Outcome::Failure { why } => {
                let lines = self.workers.last_words();
                let told = lines.iter().map(|line| format!("\n    {line}")).collect::<String>();
                match told.is_empty() || self.terminating_since.is_some() {
                    true => Err(anyhow!("{why}")),
                    false => Err(anyhow!("{why}; its last lines on stderr:{told}")),
                }
            }
        }
    }
}
