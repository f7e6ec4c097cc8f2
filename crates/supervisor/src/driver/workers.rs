//! The processes of workers: started, watched, reaped; and what I/O threads say of them.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use shovel_core::fleet::{Death, Event, Exit, RecycleReason, Told};
use shovel_edge::listener::Bound;
use shovel_protocol::WorkerId;
use shovel_protocol::control::Welcome;
use tokio::process::Child;
use tokio::task::JoinSet;

use crate::worker::image::Image;
use crate::worker::memory::resident_bytes;
use crate::worker::output::{self, LastWords, Stream};
use crate::worker::process::{Launch, Started};
use shovel_router::{FromThread, IoThread, News, SharedCell, ToThread};

/// A worker that closed its links and does not exit is killed after this. One that is about to exit
/// is not killed: that would change how it ended.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);

/// All processes that have not been reaped, or that I/O threads still have something of.
pub struct Workers {
    launch: Launch,
    /// Kept to remove their files in the end.
    bound: Vec<Bound>,
    processes: BTreeMap<WorkerId, Process>,
    exits: JoinSet<(WorkerId, std::io::Result<ExitStatus>)>,
    outputs: JoinSet<()>,
    last_words: LastWords,
    lingering: BTreeMap<WorkerId, Instant>,
    last_gone: Option<(WorkerId, u32)>,
}

struct Process {
    pid: u32,
    exit: Option<Exit>,
    /// What each thread has of it.
    holdings: Vec<Holdings>,
    too_large: bool,
    told: Told,
}

/// What an I/O thread has of a worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holdings {
    /// A link, and perhaps requests and connections.
    Some,
    /// A link, and nothing else any more.
    None,
    Gone,
}

impl Process {
    /// Notes what a thread says; whether that is news. What is gone does not come back.
    fn note(&mut self, thread: usize, holdings: Holdings) -> bool {
        let Some(before) = self.holdings.get_mut(thread) else { return false };
        let is_news = *before != holdings && *before != Holdings::Gone;
        if is_news {
            *before = holdings;
        }
        is_news
    }

    fn is_drained(&self) -> bool {
        self.holdings.iter().all(|holdings| *holdings != Holdings::Some)
    }

    fn is_gone(&self) -> bool {
        self.holdings.iter().all(|holdings| *holdings == Holdings::Gone)
    }
}

/// An end that the fleet is to hear of.
pub enum Ended {
    /// The process has exited and was reaped.
    Exited { worker: WorkerId, exit: Exit },
    /// It has closed its links and lives on.
    Lingering { worker: WorkerId },
}

impl Workers {
    pub fn new(launch: Launch, bound: Vec<Bound>) -> Self {
        Workers {
            launch,
            bound,
            processes: BTreeMap::new(),
            exits: JoinSet::new(),
            outputs: JoinSet::new(),
            last_words: LastWords::default(),
            lingering: BTreeMap::new(),
            last_gone: None,
        }
    }

    /// Starts a worker and gives each thread its link. Returns what the fleet is to know.
    pub fn spawn(
        &mut self,
        worker: WorkerId,
        image: Option<&Image>,
        welcome: impl Fn(u32) -> Welcome,
        threads: &[IoThread],
    ) -> Vec<Event> {
        let Some(image) = image else {
            let why = "its image is not there".to_owned();
            return vec![Event::SpawnFailed { worker, why }];
        };
        let Started { mut child, links } = match self.launch.start(image) {
            Ok(started) => started,
            Err(error) => {
                let why = format!("{}: {error}", image.program.display());
                return vec![Event::SpawnFailed { worker, why }];
            }
        };
        // It is not reaped yet, so it has one.
        let pid = child.id().unwrap_or(0);
        self.pass_on_output(worker, pid, &mut child);
        self.exits.spawn(async move { (worker, child.wait().await) });
        let process = Process {
            pid,
            exit: None,
            holdings: vec![Holdings::Some; threads.len()],
            too_large: false,
            told: Told::Nothing,
        };
        self.processes.insert(worker, process);
        let cell = Arc::new(SharedCell::of(image.record.clone()));
        for (link, (thread, stream)) in threads.iter().zip(links).enumerate() {
            let (welcome, cell) = (welcome(link as u32), cell.clone());
            thread.tell(ToThread::Join { worker, stream, welcome, cell });
        }
        vec![Event::Spawned { worker, pid }, Event::LinkObtained { worker }]
    }

    /// It is about to be told that it may leave.
    pub fn may_leave(&mut self, worker: WorkerId) {
        if let Some(process) = self.processes.get_mut(&worker) {
            process.told = Told::Leave;
        }
    }

    /// Ends a process that has not been reaped.
    pub fn kill(&mut self, worker: WorkerId, at_fault: bool) {
        let alive = self.processes.get_mut(&worker).filter(|process| process.exit.is_none());
        if let Some(process) = alive.filter(|process| process.pid != 0) {
            // If it has ended by itself, that says more: its link may have broken off for it.
            if !has_exited(process.pid) {
                process.told = if at_fault { Told::Blamed } else { Told::Dismissed };
            }
            // It may have exited in this moment; its pid is not given to another until we reap it.
            let _ = kill(Pid::from_raw(process.pid as i32), Signal::SIGKILL);
        }
    }

    /// The next process that has ended, or has closed its links and was waited for long enough.
    ///
    /// # Cancel safety
    /// No end is lost.
    pub async fn next_end(&mut self) -> Ended {
        let first = self.lingering.iter().min_by_key(|(_, at)| **at);
        let next = first.map(|(worker, at)| (*worker, *at));
        // Cancel-safe: a set of tasks keeps what was not taken, and the other branch only waits.
        tokio::select! {
            Some(Ok((worker, status))) = self.exits.join_next() => {
                let exit = status.map_or(Exit::Code(-1), |status| match status.code() {
                    Some(code) => Exit::Code(code),
                    None => Exit::Signal(status.signal().unwrap_or(0)),
                });
                Ended::Exited { worker, exit }
            }
            worker = outlast(next) => {
                self.lingering.remove(&worker);
                Ended::Lingering { worker }
            }
        }
    }

    /// A process has ended: each thread reads its link to the end and lets go.
    pub fn on_end(&mut self, ended: Ended, threads: &[IoThread]) -> Option<Event> {
        match ended {
            Ended::Lingering { worker } => Some(Event::LinkEnded { worker, why: None }),
            Ended::Exited { worker, exit } => {
                self.lingering.remove(&worker);
                let process = self.processes.get_mut(&worker)?;
                process.exit = Some(exit);
                let death = Death::of(exit, process.told);
                let reaped = || ToThread::Reaped { worker, death };
                threads.iter().for_each(|thread| thread.tell(reaped()));
                None
            }
        }
    }

    /// What an I/O thread says, as an event of the fleet.
    pub fn on_news(&mut self, News { thread, what }: News) -> Option<Event> {
        match what {
            // Those are about the thread, and no worker.
            FromThread::Alive | FromThread::Emptied => None,
            FromThread::Ready { worker } => Some(Event::Ready { worker }),
            FromThread::Refused { worker, why } => {
                let why = format!("was refused: {why}");
                Some(Event::Refused { worker, why })
            }
            FromThread::Awaited { worker } => Some(Event::Awaited { worker }),
            FromThread::Ponged { worker } => Some(Event::Ponged { worker }),
            FromThread::Stuck { worker, has_requests } => {
                Some(Event::Stuck { worker, has_requests })
            }
            FromThread::Idle { worker } => Some(Event::Idle { worker }),
            FromThread::WorkWanted => Some(Event::WorkWanted),
            FromThread::ShutdownCompleted { worker } => Some(Event::ShutdownCompleted { worker }),
            FromThread::HadItsRequests { worker } => {
                Some(Event::RecycleWanted { worker, why: RecycleReason::MaxRequests })
            }
            FromThread::LinkEnded { worker, why: None } => {
                let lives = self.processes.get(&worker).is_some_and(|found| found.exit.is_none());
                if lives {
                    self.lingering.entry(worker).or_insert_with(|| Instant::now() + LINGER_TIMEOUT);
                }
                None
            }
            FromThread::LinkEnded { worker, why } => Some(Event::LinkEnded { worker, why }),
            FromThread::Drained { worker } => {
                let process = self.processes.get_mut(&worker)?;
                let is_news = process.note(thread, Holdings::None);
                (is_news && process.is_drained()).then_some(Event::Drained { worker })
            }
            FromThread::Gone { worker } => {
                let process = self.processes.get_mut(&worker)?;
                process.note(thread, Holdings::Gone);
                if !process.is_gone() {
                    return None;
                }
                let exit = process.exit.unwrap_or(Exit::Code(-1));
                self.last_gone = Some((worker, process.pid));
                self.processes.remove(&worker);
                Some(Event::Gone { worker, exit })
            }
        }
    }

    /// Workers that hold more memory than this, each told once.
    pub fn over_memory(&mut self, limit_bytes: usize) -> Vec<WorkerId> {
        let mut over = Vec::new();
        for (worker, process) in &mut self.processes {
            if !process.too_large && resident_bytes(process.pid) > limit_bytes {
                process.too_large = true;
                over.push(*worker);
            }
        }
        over
    }

    /// The process id; also of the worker that was gone last, whose end is still to be told.
    pub fn pid(&self, worker: WorkerId) -> Option<u32> {
        let gone = self.last_gone.filter(|(gone, _)| *gone == worker).map(|(_, pid)| pid);
        self.processes.get(&worker).map(|process| process.pid).or(gone)
    }

    /// Whether this process is a worker that has not been reaped.
    pub fn awaits(&self, pid: u32) -> bool {
        self.processes.values().any(|process| process.pid == pid && process.exit.is_none())
    }

    /// What workers last wrote to stderr.
    pub fn last_words(&self) -> Vec<String> {
        self.last_words.lines()
    }

    /// Waits until everything that workers wrote is in the log.
    pub async fn output_ended(&mut self) {
        while self.outputs.join_next().await.is_some() {}
    }

    /// Says where clients connect, once there is a program to serve them.
    pub fn announce_listeners(&self) {
        for bound in &self.bound {
            tracing::info!(address = bound.describe(), pid = std::process::id(), "listening");
        }
    }

    /// Nobody can connect any more.
    pub fn close_listeners(&mut self) {
        self.bound.clear();
    }

    fn pass_on_output(&mut self, worker: WorkerId, pid: u32, child: &mut Child) {
        while self.outputs.try_join_next().is_some() {}
        let words = &self.last_words;
        if let Some(stdout) = child.stdout.take() {
            self.outputs.spawn(output::pass_on(worker, pid, Stream::Stdout, stdout, words.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            self.outputs.spawn(output::pass_on(worker, pid, Stream::Stderr, stderr, words.clone()));
        }
    }
}

/// Whether a child has ended and was not reaped.
fn has_exited(pid: u32) -> bool {
    let looks = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let status = waitid(Id::Pid(Pid::from_raw(pid as i32)), looks);
    status.is_ok_and(|status| status != WaitStatus::StillAlive)
}

async fn outlast(next: Option<(WorkerId, Instant)>) -> WorkerId {
    match next {
        None => std::future::pending().await,
        Some((worker, at)) => {
            tokio::time::sleep_until(at.into()).await;
            worker
        }
    }
}
