//! A running `shovel-pool`, its log and its processes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::log::{Line, Log};
use crate::process::{children, is_alive, resident_bytes, signal};
use crate::program::{Deploy, program};
use crate::wait::eventually;

/// The variable that names the folder of admin sockets.
pub(crate) const RUNTIME_FOLDER: &str = "XDG_RUNTIME_DIR";

/// How a pool is started.
#[derive(Debug)]
pub struct Options {
    program: PathBuf,
    arguments: Vec<OsString>,
    flags: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    workers: u32,
    config: Option<PathBuf>,
    listen: Option<String>,
    log_format: &'static str,
    shell: Option<String>,
    inherited: Vec<OwnedFd>,
    is_init: bool,
    alone: bool,
    log_waits: bool,
}

impl Options {
    /// Runs this program with one worker.
    pub fn program(program: impl Into<PathBuf>) -> Self {
        Options {
            program: program.into(),
            arguments: Vec::new(),
            flags: Vec::new(),
            environment: Vec::new(),
            workers: 1,
            config: None,
            listen: Some("127.0.0.1:0".to_owned()),
            log_format: "json",
            shell: None,
            inherited: Vec::new(),
            is_init: false,
            alone: false,
            log_waits: false,
        }
    }

    /// Runs the fixture app.
    pub fn app() -> Self {
        Self::program(program("fixture-app"))
    }

    /// Runs the fixture app with connections that outlive their worker.
    pub fn portable() -> Self {
        Self::app().argument("portable")
    }

    /// Runs the rogue fixture in one of its modes.
    pub fn rogue(mode: &str) -> Self {
        Self::program(program("fixture-rogue")).argument(mode)
    }

    /// Runs what is deployed.
    pub fn deployed(deploy: &Deploy) -> Self {
        Self::program(deploy.path())
    }

    /// The program serves by itself, without a supervisor; flags become variables then.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// `--workers`.
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// This file says what to run, with so many workers.
    pub fn configured_by(file: impl Into<PathBuf>, workers: u32) -> Self {
        Options { config: Some(file.into()), workers, ..Self::program("") }
    }

    /// A flag of the supervisor with its value.
    pub fn with(mut self, flag: &str, value: &str) -> Self {
        self.flags.extend([flag.into(), value.into()]);
        self
    }

    /// A flag of the supervisor that has no value.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Another address than a free port of 127.0.0.1.
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = Some(address.to_owned());
        self
    }

    /// No address: the environment or the default decides.
    pub fn without_listen(mut self) -> Self {
        self.listen = None;
        self
    }

    /// A log in text, of which tests see the raw lines only.
    pub fn log_in_text(mut self) -> Self {
        self.log_format = "text";
        self
    }

    /// A log that nobody reads until [`Pool::read_log`].
    pub fn log_unread(mut self) -> Self {
        self.log_waits = true;
        self
    }

    /// An argument of the program.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A variable of the environment that the supervisor is started with.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// A shell command that runs in the supervisor's process before it, such as a redirection.
    pub fn after(mut self, command: &str) -> Self {
        self.shell = Some(command.to_owned());
        self
    }

    /// A descriptor that the supervisor is started with: the first is 3, the next 4 and so on.
    pub fn inherit(mut self, descriptor: OwnedFd) -> Self {
        self.inherited.push(descriptor);
        self
    }

    /// A folder of its own, so that subcommands find this pool and no other, unless a test gives
    /// one to several.
    fn runtime_folder(&self, own: &Path) -> Option<(&'static str, PathBuf)> {
        let name = RUNTIME_FOLDER;
        let is_given = self.environment.iter().any(|(given, _)| given == name);
        (!is_given).then(|| (name, own.to_owned()))
    }

    /// The supervisor is pid 1 of a namespace of its own, as in a container. Process ids in its log
    /// are those of the namespace. See [`can_unshare`].
    pub fn as_pid_1(mut self) -> Self {
        self.is_init = true;
        self
    }

    fn command(&self) -> Command {
        let mut command = if self.alone { self.command_alone() } else { self.command_of_pool() };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mappings = self.inherited.iter().zip(3..).map(|(descriptor, child_fd)| {
            let parent_fd = descriptor.try_clone().expect("a twin of the descriptor");
            FdMapping { parent_fd, child_fd }
        });
        command.fd_mappings(mappings.collect()).expect("descriptors without a collision");
        command
    }

    /// What the program tells on stdout goes where its log goes, as the supervisor would have it.
    fn command_alone(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" >&2", "sh"]).arg(&self.program).args(&self.arguments);
        command.env("HOST", "127.0.0.1").env("PORT", "0");
        command.envs(self.flags_as_variables());
        command
    }

    /// The flags as the variables of the same settings: `--dev` is `SHOVEL_DEV=true`, and a flag
    /// that is repeated one list.
    fn flags_as_variables(&self) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::<String, String>::new();
        let mut words = self.flags.iter().map(|word| word.to_str().expect("UTF-8")).peekable();
        while let Some(flag) = words.next() {
            let key = flag.strip_prefix("--").expect("a flag");
            let name = format!("SHOVEL_{}", key.replace('-', "_").to_uppercase());
            let value = words.next_if(|word| !word.starts_with("--")).unwrap_or("true");
            let values = variables.entry(name).or_default();
            values.push_str(if values.is_empty() { "" } else { " " });
            values.push_str(value);
        }
        variables
    }

    fn command_of_pool(&self) -> Command {
        let supervisor = program("shovel-pool");
        let mut command = match &self.shell {
            None if self.is_init => {
                let mut command = Command::new("unshare");
                command.args(UNSHARE).arg("--kill-child").arg(supervisor);
                command
            }
            None => Command::new(supervisor),
            Some(first) => {
                let mut command = Command::new("sh");
                command.arg("-c").arg(format!("{first}; exec \"$@\"")).arg("sh").arg(supervisor);
                command
            }
        };
        if let Some(address) = &self.listen {
            command.args(["--listen", address]);
        }
        command.args(["--log-format", self.log_format]);
        match &self.config {
            Some(file) => command.arg("--config").arg(file).args(&self.flags),
            None => {
                command.arg("--workers").arg(self.workers.to_string());
                command.args(&self.flags).arg(&self.program)
            }
        };
        if !self.arguments.is_empty() {
            command.arg("--").args(&self.arguments);
        }
        command.stdout(Stdio::null());
        command
    }
}

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

/// How a namespace of processes is made, with a `/proc` of its own.
const UNSHARE: [&str; 3] = ["--pid", "--fork", "--mount-proc"];

/// Whether this machine allows [`Options::as_pid_1`].
///
/// # Errors
/// What it says against it.
pub fn can_unshare() -> Result<(), String> {
    let output = Command::new("unshare").args(UNSHARE).arg("true").output();
    let output = output.map_err(|error| format!("unshare: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
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
