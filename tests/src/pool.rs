//! A running `shovel-pool`, its log and its processes.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::log::{Line, Log};
use crate::options::{Options, RUNTIME_FOLDER};
use crate::process::{children, is_alive, resident_bytes, signal};
use crate::wait::eventually;

/// A worker as the log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its process.
    pub pid: u32,
    /// Its id.
    pub id: u64,
    /// Its place, from 0.
    pub index: u64,
    /// Its generation, from 1.
    pub generation: u64,
}

impl Worker {
    fn of(line: &Line) -> Option<Worker> {
        Some(Worker {
            pid: line.number("pid")?.try_into().ok()?,
            id: line.number("worker")?,
            index: line.number("index")?,
            generation: line.number("generation")?,
        })
    }
}

/// A supervisor with its workers. All of them end with it.
#[derive(Debug)]
pub struct Pool {
    supervisor: Child,
    log: Log,
    /// The log is read once this is dropped.
    log_waits: Option<mpsc::Sender<()>>,
    address: Option<SocketAddr>,
    gates: TempDir,
    /// Where its admin socket is.
    pub(crate) runtime: PathBuf,
    is_init: bool,
    alone: bool,
}

impl Pool {
    /// Starts the supervisor and waits until it listens and all workers are ready.
    pub async fn start(options: Options) -> Pool {
        let workers = if options.alone { 0 } else { options.workers as usize };
        let mut pool = Pool::launch(options);
        pool.wait_until_it_listens().await;
        pool.wait_until_ready(1, workers).await;
        pool
    }

    /// Starts the supervisor and waits for nothing: for pools that do not come up.
    pub fn launch(options: Options) -> Pool {
        let gates = TempDir::new().expect("temporary folder");
        let mut supervisor = options
            .command()
            .envs(options.runtime_folder(gates.path()))
            .env("FIXTURE_GATES", gates.path())
            .spawn()
            .expect("start of the supervisor");
        let (begin, begun) = mpsc::channel();
        let log = Log::read(supervisor.stderr.take().expect("piped"), begun);
        let log_waits = options.log_waits.then_some(begin);
        let given = options.environment.iter().find(|(name, _)| name == RUNTIME_FOLDER);
        let runtime = given.map_or_else(|| gates.path().into(), |(_, folder)| folder.into());
        let (is_init, alone) = (options.is_init, options.alone);
        Pool { supervisor, log, log_waits, address: None, gates, runtime, is_init, alone }
    }

    /// Waits until it listens on TCP; [`Pool::address`] knows from then on.
    pub async fn wait_until_it_listens(&mut self) {
        self.address = Some(self.log.find("an address", Line::address).await);
    }

    /// It listens there, as a log says that is no JSON.
    pub fn listens_at(&mut self, address: SocketAddr) {
        self.address = Some(address);
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Unless [`Pool::start`] or [`Pool::wait_until_it_listens`] has found out.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("a pool that listens on TCP")
    }

    /// Memory of the supervisor and all its workers that is resident, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let workers = if self.alone { Vec::new() } else { self.workers() };
        let workers = workers.into_iter().map(|worker| worker.pid);
        workers.chain([self.pid()]).map(resident_bytes).sum()
    }

    /// The supervisor's process.
    ///
    /// # Panics
    /// If it was to be pid 1 and has not been started yet, or has ended.
    pub fn pid(&self) -> u32 {
        match self.is_init {
            true => children(self.supervisor.id())[0],
            false => self.supervisor.id(),
        }
    }

    /// Begins to read the log, if [`Options::log_unread`] was chosen.
    pub fn read_log(&mut self) {
        self.log_waits = None;
    }

    /// Whether this is an app by itself.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// What it wrote.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The first line, past or to come, that `is_it`. Panics with the whole log if none comes.
    pub async fn wait_for(&self, what: &str, is_it: impl Fn(&Line) -> bool) -> Line {
        self.log.find(what, |line| is_it(line).then(|| line.clone())).await
    }

    /// The first event, past or to come, that a fixture told and that `is_it`.
    pub async fn wait_for_event(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.log.find(what, |line| line.event().filter(&is_it)).await
    }

    /// The events so far that fixtures told under this name.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.log.lines();
        lines.iter().filter_map(Line::event).filter(|event| event["event"] == name).collect()
    }

    /// Waits until so many workers of a generation have become ready, and returns them.
    pub async fn wait_until_ready(&self, generation: u64, workers: usize) -> Vec<Worker> {
        let mut ready = Vec::new();
        let what = format!("{workers} ready workers of generation {generation}");
        self.log
            .find(&what, |line| {
                if line.is_of_generation("worker ready", generation) {
                    ready.extend(Worker::of(line));
                }
                (ready.len() >= workers).then_some(())
            })
            .await;
        ready
    }

    /// Waits until the worker with this process has ended and been reaped.
    pub async fn wait_until_exited(&self, pid: u32) {
        let worker = self.started().into_iter().find(|worker| worker.pid == pid);
        let id = worker.expect("a worker of this pool").id;
        let is_it = |line: &Line| line.is("worker exited") && line.number("worker") == Some(id);
        self.wait_for(&format!("the exit of worker {id} with pid {pid}"), is_it).await;
    }

    /// The workers that have exited so far, in that order.
    pub fn exited(&self) -> Vec<Worker> {
        let started = self.started();
        let lines = self.log.lines();
        let ids = lines.iter().filter(|line| line.is("worker exited"));
        let ids = ids.filter_map(|line| line.number("worker"));
        ids.filter_map(|id| started.iter().find(|worker| worker.id == id).copied()).collect()
    }

    /// All workers that were ever started, in that order.
    pub fn started(&self) -> Vec<Worker> {
        let lines = self.log.lines();
        lines.iter().filter(|line| line.is("worker started")).filter_map(Worker::of).collect()
    }

    /// The workers that were started and have not exited; an app by itself is its only one.
    pub fn workers(&self) -> Vec<Worker> {
        if self.alone {
            return vec![Worker { pid: self.pid(), id: 0, index: 0, generation: 0 }];
        }
        let exited = self.exited();
        self.started().into_iter().filter(|worker| !exited.contains(worker)).collect()
    }

    /// Lets handlers of the fixture pass that wait at this gate, in all workers.
    pub fn open_gate(&self, name: &str) {
        File::create(self.gates.path().join(name)).expect("gate");
    }

    /// From now on whoever comes to this gate waits.
    pub fn shut_gate(&self, name: &str) {
        std::fs::remove_file(self.gates.path().join(name)).expect("an open gate");
    }

    /// Waits until a handler stands at this gate; returns what it told.
    pub async fn wait_at_gate(&self, name: &str) -> Value {
        let is_it = |event: &Value| event["event"] == "waiting" && event["gate"] == name;
        self.wait_for_event(&format!("a handler at gate {name}"), is_it).await
    }

    /// Waits for the close event of a connection.
    pub async fn wait_for_close_event(&self, connection: &str) -> Value {
        let is_it = |event: &Value| event["event"] == "close" && event["id"] == connection;
        self.wait_for_event(&format!("the close event of {connection}"), is_it).await
    }

    /// Asks for a reload.
    pub fn sighup(&self) {
        signal(self.pid(), Signal::SIGHUP);
    }

    /// Asks it to end.
    pub fn sigterm(&self) {
        signal(self.pid(), Signal::SIGTERM);
    }

    /// Reloads and waits until the reload to this generation has finished.
    pub async fn reload(&self, generation: u64) {
        self.sighup();
        self.wait_for_reload(generation).await;
    }

    /// Waits until the reload to this generation has finished.
    pub async fn wait_for_reload(&self, generation: u64) {
        let what = format!("the end of the reload to generation {generation}");
        self.wait_for(&what, |line| line.is_of_generation("reload finished", generation)).await;
    }

    /// Kills a worker as the kernel does when memory runs out.
    pub fn kill_worker(&self, pid: u32) {
        signal(pid, Signal::SIGKILL);
    }

    /// Kills the supervisor in the same way, and reaps it.
    pub fn kill(&mut self) {
        // Not by its number, which is another's once it has been reaped.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }

    /// Waits until the supervisor has ended.
    pub async fn exit_status(&mut self) -> ExitStatus {
        let log = self.log.clone();
        let supervisor = &mut self.supervisor;
        let wait = eventually("the supervisor's end", || {
            supervisor.try_wait().expect("status of the supervisor")
        });
        match tokio::time::timeout(crate::PATIENCE, wait).await {
            Ok(status) => status,
            Err(_) => panic!("the supervisor did not end:\n{log}"),
        }
    }

    /// Asks it to end, and expects that it does so with success.
    pub async fn terminate(mut self) {
        self.sigterm();
        let status = self.exit_status().await;
        assert_eq!(status.code(), Some(0), "{}", self.log);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The pids of a namespace are those of others here, and it ends as a whole.
        let has_known_workers = !self.alone && !self.is_init;
        let workers = if has_known_workers { self.workers() } else { Vec::new() };
        self.kill();
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut left = workers;
        while !left.is_empty() && Instant::now() < deadline {
            left.retain(|worker| is_alive(worker.pid));
            std::thread::sleep(Duration::from_millis(2));
        }
        for worker in &left {
            signal(worker.pid, Signal::SIGKILL);
        }
        if !left.is_empty() && !std::thread::panicking() {
            panic!("workers outlived their supervisor: {left:?}\n{}", self.log);
        }
        if std::thread::panicking() {
            eprintln!("log of the pool:\n{}", self.log);
        }
    }
}
