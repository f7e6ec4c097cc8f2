//! What is done to workers and clients while they converse: a schedule that follows from a seed,
//! and its execution.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Season, Weather};
use super::record::{Deed, Published};
use super::words::{Word, now};
use crate::{Deploy, Pool, is_alive, signal};

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// kill -9, of one worker.
    Kill,
    /// kill -9, of all at once.
    KillAll,
    /// SIGSTOP, and SIGCONT after so many milliseconds.
    Stop(u64),
    /// SIGSTOP, and kill -9 after so many milliseconds.
    StopAndKill(u64),
    /// SIGHUP.
    Reload,
    /// SIGHUP, and kill -9 of one worker after so many milliseconds.
    ReloadAndKill(u64),
    /// SIGHUP twice, so many milliseconds apart.
    ReloadTwice(u64),
    /// A program that cannot serve lies at the path, and SIGHUP.
    Break(Broken),
    /// A good program lies there again, and SIGHUP.
    Mend,
    /// Many visitors end at once.
    Gust,
    /// The same, and kill -9 of one worker.
    GustAndKill,
    /// Nobody orders anything for so many milliseconds; then an operator publishes to some rooms.
    Quiet(u64),
}

/// How a program cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It exits at once.
    Exits,
    /// It never gets ready.
    Hangs,
    /// It speaks another protocol.
    Stranger,
    /// It is no program.
    Garbage,
}

/// When to do what, counted from the beginning.
pub type Schedule = Vec<(Duration, Plan)>;

/// The schedule of this seed, for so long.
pub fn schedule(seed: u64, lasts: Duration) -> Schedule {
    let mut random = Rng::with_seed(seed);
    let mut schedule = Schedule::new();
    let mut at = Duration::from_millis(500);
    let mut mend_at = None;
    while at < lasts {
        let plan = match mend_at {
            Some(mend) if at >= mend => {
                mend_at = None;
                Plan::Mend
            }
            _ => random_plan(&mut random, mend_at.is_some()),
        };
        if let Plan::Break(_) = plan {
            mend_at = Some(at + Duration::from_millis(random.u64(200..3500)));
        }
        schedule.push((at, plan));
        at += Duration::from_millis(random.u64(150..1200));
    }
    // Each run has a time in which workers may sleep.
    schedule.push((at, Plan::Quiet(1500)));
    schedule
}

fn random_plan(random: &mut Rng, is_broken: bool) -> Plan {
    match random.u8(..100) {
        0..22 => Plan::Kill,
        22..28 => Plan::KillAll,
        28..40 => Plan::Stop(random.u64(20..1500)),
        40..43 => Plan::Stop(random.u64(3000..6000)),
        43..49 => Plan::StopAndKill(random.u64(20..1000)),
        49..64 => Plan::Reload,
        64..74 => Plan::ReloadAndKill(random.u64(0..400)),
        74..80 => Plan::ReloadTwice(random.u64(0..200)),
        80..85 if !is_broken => Plan::Break(match random.u8(..4) {
            0 => Broken::Exits,
            1 => Broken::Hangs,
            2 => Broken::Stranger,
            _ => Broken::Garbage,
        }),
        80..88 => Plan::Gust,
        88..92 => Plan::GustAndKill,
        _ => Plan::Quiet(random.u64(200..2500)),
    }
}

/// Does what a schedule says.
#[derive(Debug)]
pub struct Nemesis<'a> {
    pool: &'a Pool,
    deploy: &'a Deploy,
    weather: &'a watch::Sender<Weather>,
    random: Rng,
    deploys: u32,
    /// Workers that are to go on then.
    stopped: Vec<(Instant, u32)>,
    rooms: u32,
    deeds: Vec<Deed>,
    published: Vec<Published>,
}

/// Rooms that an operator publishes to at a time.
const PUBLISHES: usize = 3;

impl<'a> Nemesis<'a> {
    /// Whom it harms follows from `seed`, as far as there is a choice.
    pub fn new(
        pool: &'a Pool,
        deploy: &'a Deploy,
        weather: &'a watch::Sender<Weather>,
        (seed, rooms): (u64, u32),
    ) -> Self {
        let random = Rng::with_seed(!seed);
        let (deploys, stopped, deeds, published) = (0, Vec::new(), Vec::new(), Vec::new());
        Nemesis { pool, deploy, weather, random, deploys, stopped, rooms, deeds, published }
    }

    /// Does it all, mends what is broken, and tells what it did.
    pub async fn run(mut self, schedule: &Schedule) -> (Vec<Deed>, Vec<Published>) {
        let begin = Instant::now();
        for (at, plan) in schedule {
            self.wait_until(begin + *at).await;
            self.perform(*plan).await;
        }
        let last = self.stopped.iter().map(|(until, _)| *until).max();
        self.wait_until(last.unwrap_or(begin)).await;
        self.perform(Plan::Mend).await;
        (self.deeds, self.published)
    }

    /// Waits, and lets those go on meanwhile whose time it is.
    async fn wait_until(&mut self, at: Instant) {
        loop {
            self.stopped.sort_unstable();
            match self.stopped.first() {
                Some((until, pid)) if *until <= at => {
                    let (until, pid) = (*until, *pid);
                    sleep_until(until).await;
                    signal(pid, Signal::SIGCONT);
                    self.stopped.remove(0);
                }
                _ => return sleep_until(at).await,
            }
        }
    }

    async fn perform(&mut self, plan: Plan) {
        let (from, mut pids) = (now(), Vec::new());
        match plan {
            Plan::Kill | Plan::GustAndKill => {
                if plan == Plan::GustAndKill {
                    self.gust();
                }
                pids.extend(self.kill_one());
            }
            Plan::KillAll => {
                pids = self.workers();
                pids.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
            }
            Plan::Stop(milliseconds) | Plan::StopAndKill(milliseconds) => {
                if let Some(pid) = self.choose() {
                    let lasts = Duration::from_millis(milliseconds);
                    signal(pid, Signal::SIGSTOP);
                    if let Plan::StopAndKill(_) = plan {
                        sleep(lasts).await;
                        self.kill(pid);
                    } else {
                        self.stopped.push((Instant::now() + lasts, pid));
                    }
                    pids.push(pid);
                }
            }
            Plan::Reload => self.pool.sighup(),
            Plan::ReloadAndKill(milliseconds) => {
                self.pool.sighup();
                sleep(Duration::from_millis(milliseconds)).await;
                pids.extend(self.kill_one());
            }
            Plan::ReloadTwice(milliseconds) => {
                self.pool.sighup();
                sleep(Duration::from_millis(milliseconds)).await;
                self.pool.sighup();
            }
            Plan::Break(how) => {
                match how {
                    Broken::Exits => self.deploy.rogue("exit"),
                    Broken::Hangs => self.deploy.rogue("never-ready"),
                    Broken::Stranger => self.deploy.rogue("stranger"),
                    Broken::Garbage => self.deploy.not_executable(),
                }
                self.pool.sighup();
            }
            Plan::Mend => {
                self.deploys += 1;
                self.deploy.app(&format!("mended {}", self.deploys));
                self.pool.sighup();
            }
            Plan::Gust => self.gust(),
            Plan::Quiet(milliseconds) => {
                self.weather.send_modify(|weather| weather.season = Season::Quiet);
                sleep(Duration::from_millis(milliseconds)).await;
                // Who is there while nobody has anything to do: none, if they may sleep.
                pids = self.workers();
                self.publish().await;
                self.weather.send_modify(|weather| weather.season = Season::Busy);
            }
        }
        let (harms, reloads) = (plan.harms(), plan.reloads());
        let stalls = matches!(plan, Plan::Stop(_) | Plan::StopAndKill(_));
        let to = now() + plan.lasts();
        let what = if pids.is_empty() { plan.to_string() } else { format!("{plan} {pids:?}") };
        let workers = pids.len();
        self.deeds.push(Deed { from, to, harms, workers, stalls, reloads, what });
    }

    async fn publish(&mut self) {
        for _ in 0..PUBLISHES {
            let (room, n) = (self.random.u32(0..self.rooms), self.published.len() as u64 + 1);
            let news = Word::News { publisher: 0, n }.to_string();
            let from = now();
            let told = self.pool.operate(&["publish", &format!("room:{room}"), &news]).await;
            told.text();
            self.published.push(Published { room, n, from, to: now() });
        }
    }

    fn gust(&self) {
        self.weather.send_modify(|weather| weather.gusts += 1);
    }

    fn kill_one(&mut self) -> Option<u32> {
        let pid = self.choose()?;
        self.kill(pid);
        Some(pid)
    }

    fn kill(&mut self, pid: u32) {
        signal(pid, Signal::SIGKILL);
        // Its number may soon be another's.
        self.stopped.retain(|(_, stopped)| *stopped != pid);
    }

    fn choose(&mut self) -> Option<u32> {
        let workers = self.workers();
        self.random.choice(workers)
    }

    fn workers(&self) -> Vec<u32> {
        let workers = self.pool.workers().into_iter().map(|worker| worker.pid);
        workers.filter(|pid| is_alive(*pid)).collect()
    }
}

impl Plan {
    fn harms(self) -> bool {
        match self {
            Plan::Kill | Plan::KillAll | Plan::GustAndKill | Plan::ReloadAndKill(_) => true,
            Plan::Stop(_) | Plan::StopAndKill(_) => true,
            Plan::Reload | Plan::ReloadTwice(_) | Plan::Break(_) | Plan::Mend => false,
            Plan::Gust | Plan::Quiet(_) => false,
        }
    }

    fn reloads(self) -> bool {
        match self {
            Plan::Reload | Plan::ReloadAndKill(_) | Plan::ReloadTwice(_) | Plan::Mend => true,
            Plan::Kill | Plan::KillAll | Plan::Stop(_) | Plan::StopAndKill(_) => false,
            Plan::Break(_) | Plan::Gust | Plan::GustAndKill | Plan::Quiet(_) => false,
        }
    }

    /// For how long it may still lead to something, in nanoseconds: who was killed has to be reaped;
    /// who stands still is asked, told and killed after some seconds.
    fn lasts(self) -> u64 {
        match self {
            Plan::Stop(milliseconds) => (milliseconds + 8000) * 1_000_000,
            _ => 2_000_000_000,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Plan::Kill => write!(f, "kill"),
            Plan::KillAll => write!(f, "kill all"),
            Plan::Stop(milliseconds) => write!(f, "stop for {milliseconds} ms"),
            Plan::StopAndKill(milliseconds) => {
                write!(f, "stop for {milliseconds} ms, then kill")
            }
            Plan::Reload => write!(f, "reload"),
            Plan::ReloadAndKill(milliseconds) => {
                write!(f, "reload, and kill after {milliseconds} ms")
            }
            Plan::ReloadTwice(milliseconds) => write!(f, "reload twice within {milliseconds} ms"),
            Plan::Break(how) => write!(f, "deploy what is broken ({how:?}), reload"),
            Plan::Mend => write!(f, "deploy what works, reload"),
            Plan::Gust => write!(f, "many visitors end"),
            Plan::GustAndKill => write!(f, "many visitors end, kill"),
            Plan::Quiet(milliseconds) => write!(f, "quiet for {milliseconds} ms, then publish"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_schedule_in_which_all_that_breaks_is_mended() {
        let lasts = Duration::from_secs(20);
        for seed in 0..200 {
            let plans = schedule(seed, lasts);
            assert_eq!(plans, schedule(seed, lasts));
            let is =
                |wanted: fn(&Plan) -> bool| plans.iter().filter(|(_, plan)| wanted(plan)).count();
            let (breaks, mends) =
                (is(|plan| matches!(plan, Plan::Break(_))), is(|plan| *plan == Plan::Mend));
            // The last may be mended by the end of the run.
            assert!(breaks == mends || breaks == mends + 1, "{plans:?}");
        }
        assert_ne!(schedule(1, lasts), schedule(2, lasts));
    }
}
