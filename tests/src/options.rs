//! How a `shovel-pool` is started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};

use crate::program::{Deploy, program};

/// The variable that names the folder of admin sockets.
pub(crate) const RUNTIME_FOLDER: &str = "XDG_RUNTIME_DIR";

/// How a pool is started.
#[derive(Debug)]
pub struct Options {
    program: PathBuf,
    arguments: Vec<OsString>,
    flags: Vec<OsString>,
    pub(crate) environment: Vec<(String, OsString)>,
    pub(crate) workers: u32,
    config: Option<PathBuf>,
    listen: Option<String>,
    log_format: &'static str,
    shell: Option<String>,
    inherited: Vec<OwnedFd>,
    pub(crate) is_init: bool,
    pub(crate) alone: bool,
    pub(crate) log_waits: bool,
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

    /// A log that nobody reads until [`read_log`](crate::Pool::read_log).
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
    pub(crate) fn runtime_folder(&self, own: &Path) -> Option<(&'static str, PathBuf)> {
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

    pub(crate) fn command(&self) -> Command {
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
        let mut words: Vec<OsString> = Vec::new();
        if self.is_init {
            words.extend(["unshare"].iter().chain(&UNSHARE).map(OsString::from));
            words.push("--kill-child".into());
        }
        if let Some(first) = &self.shell {
            let line = format!("{first}; exec \"$@\"");
            words.extend(["sh".into(), "-c".into(), line.into(), "sh".into()]);
        }
        words.push(supervisor.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if let Some(address) = &self.listen {
            command.args(["--listen", address]);
        }
        command.args(["--log-format", self.log_format]);
        // Tests count its descriptors.
        if !nix::unistd::geteuid().is_root() {
            command.arg("--dumpable");
        }
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
