//! Starting a worker's process.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use shovel_router::variables;
use tokio::process::Child;

use super::account::Account;
use super::descriptors::{self, Limit};
use super::image::Image;
use crate::service;

/// The first descriptor that is a link; those before are stdin, stdout and stderr.
const FIRST_LINK: i32 = 3;

/// What every worker is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Links per worker: one per I/O thread.
    pub links: usize,
    /// The limit on descriptors to be given back to workers.
    pub limit: Option<Limit>,
    /// Who workers are, if not who the supervisor is.
    pub account: Option<Account>,
}

/// A worker that was started.
#[derive(Debug)]
pub struct Started {
    pub child: Child,
    /// Our ends, in the order of I/O threads.
    pub links: Vec<UnixStream>,
}

impl Launch {
    /// Starts a process. Call it on a thread that lives as long as this process: the worker is
    /// killed when the thread ends.
    ///
    /// # Errors
    /// Those of making sockets, and of fork and exec.
    pub fn start(&self, image: &Image) -> io::Result<Started> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..self.links {
            let (our, their) = UnixStream::pair()?;
            ours.push(our);
            theirs.push(OwnedFd::from(their));
        }
        let numbers: Vec<_> = (FIRST_LINK..).take(self.links).map(|fd| fd.to_string()).collect();
        let last = FIRST_LINK + self.links as i32;
        let mut descriptors: Vec<_> = theirs
            .into_iter()
            .zip(FIRST_LINK..)
            .map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd })
            .collect();
        let (path, inherited) = match image.is_script {
            false => (format!("/proc/self/fd/{}", image.file.as_raw_fd()), last),
            true => {
                let parent_fd = image.file.try_clone()?.into();
                descriptors.push(FdMapping { parent_fd, child_fd: last });
                (format!("/proc/self/fd/{last}"), last + 1)
            }
        };
        let mut command = Command::new(path);
        command
            .arg0(&image.program)
            .args(&image.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        keep_to_ourselves(&mut command);
        if let Some(entry) = self.account.as_ref().and_then(|account| account.entry.as_ref()) {
            command.env("HOME", &entry.home).env("SHELL", &entry.shell);
            command.env("USER", &entry.name).env("LOGNAME", &entry.name);
        }
        command.env("SHOVEL_LINK_FDS", numbers.join(","));
        command.fd_mappings(descriptors).map_err(io::Error::other)?;
        let account = self.account.clone();
        descriptors::before_exec(&mut command, inherited as u32, self.limit, account);
        let child = spawn(command.into())?;
        Ok(Started { child, links: ours })
    }
}

/// An image on a disk may still be open to be written in a process that was forked meanwhile and has
/// not begun its own program.
fn spawn(mut command: tokio::process::Command) -> io::Result<Child> {
    let mut tries = 0;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < 20 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            spawned => return spawned,
        }
    }
}

/// Takes the variables away that speak to this process and to none that it starts.
pub fn keep_to_ourselves(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with(variables::PREFIX) || service::VARIABLES.contains(&&*text) {
            command.env_remove(name);
        }
    }
}
