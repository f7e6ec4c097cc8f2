//! One run of the build command.

use std::ffi::OsStr;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::worker::descriptors::{self, Limit};
use crate::worker::process::keep_to_ourselves;

/// What a build has said is kept up to here; of more, the last part.
const OUTPUT_BYTES: usize = 256 * 1024;

/// How long to read on when the build has ended: what it has left running may hold the pipe.
const REST_TIMEOUT: Duration = Duration::from_millis(200);

/// A build that runs. Dropped before it has ended, it ends with all that it has started.
#[derive(Debug)]
pub struct Build {
    /// The process group of the shell and all that it starts.
    group: Option<Pid>,
    task: JoinHandle<Built>,
}

/// How a build has ended.
#[derive(Debug)]
pub struct Built {
    pub status: io::Result<ExitStatus>,
    pub took: Duration,
    pub output: String,
}

impl Build {
    /// Starts the command in a shell. Call it on a thread that lives as long as this process.
    ///
    /// # Errors
    /// Those of making a pipe, and of fork and exec.
    pub fn start(command: &OsStr, colours: bool, limit: Option<Limit>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(command).stdin(Stdio::null());
        // One pipe for both: what a build says stays in order.
        shell.stdout(writer.try_clone()?).stderr(writer);
        keep_to_ourselves(&mut shell);
        if colours {
            // What it says is shown on a terminal, though not by itself.
            shell.env("CARGO_TERM_COLOR", "always").env("CLICOLOR_FORCE", "1");
        }
        // It has a session of its own then, and so a group, to be ended as a whole and not by Ctrl-C.
        descriptors::before_exec(&mut shell, 3, limit, None);
        let begun = Instant::now();
        let child = tokio::process::Command::from(shell).spawn()?;
        let group = child.id().map(|pid| Pid::from_raw(pid.cast_signed()));
        let task = tokio::spawn(run(child, reader, begun));
        Ok(Build { group, task })
    }

    /// The shell's process, until it is known how that has ended.
    pub fn pid(&self) -> Option<u32> {
        self.group.map(|group| group.as_raw().cast_unsigned())
    }

    /// Waits until it has ended.
    ///
    /// # Cancel safety
    /// It goes on, and can be waited for again.
    pub async fn ended(&mut self) -> Built {
        let built = (&mut self.task).await.unwrap_or_else(|error| Built {
            status: Err(io::Error::other(error)),
            took: Duration::ZERO,
            output: String::new(),
        });
        // What it has left running may stay, and the number is another's in the end.
        self.group = None;
        built
    }

    /// Asks all that it has started to end.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may have ended in this moment.
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

async fn run(mut child: Child, reader: PipeReader, begun: Instant) -> Built {
    let mut output = Vec::new();
    let status = match Receiver::from_owned_fd(OwnedFd::from(reader)) {
        Ok(mut receiver) => {
            // Cancel-safe: both keep what was not taken.
            let status = loop {
                tokio::select! {
                    is_over = read_some(&mut receiver, &mut output) => {
                        if is_over {
                            break child.wait().await;
                        }
                    }
                    status = child.wait() => break status,
                }
            };
            let rest = async { while !read_some(&mut receiver, &mut output).await {} };
            let _ = timeout(REST_TIMEOUT, rest).await;
            status
        }
        Err(error) => Err(error),
    };
    let output = String::from_utf8_lossy(&output).into_owned();
    Built { status, took: begun.elapsed(), output }
}

/// Reads what there is; returns whether that was all.
async fn read_some(receiver: &mut Receiver, output: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 8192];
    match receiver.read(&mut chunk).await {
        Ok(0) | Err(_) => true,
        Ok(count) => {
            output.extend_from_slice(&chunk[..count]);
            if output.len() > 2 * OUTPUT_BYTES {
                output.drain(..output.len() - OUTPUT_BYTES);
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_tells_how_it_ended_and_what_was_said_in_order() {
        let command = "echo one; echo two >&2; echo three; exit 3";
        let mut build = Build::start(command.as_ref(), false, None).unwrap();
        let built = build.ended().await;
        assert_eq!(built.status.unwrap().code(), Some(3));
        assert_eq!(built.output, "one\ntwo\nthree\n");
    }

    #[tokio::test]
    async fn what_a_build_leaves_running_does_not_hold_it_up() {
        let mut build = Build::start("sleep 30 & echo done".as_ref(), false, None).unwrap();
        let built = build.ended().await;
        assert!(built.status.unwrap().success());
        assert_eq!(built.output, "done\n");
        assert!(built.took < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn a_build_that_is_terminated_ends_with_what_it_has_started() {
        let command = "trap '' TERM; sleep 600 & echo $! >&3; wait";
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("pid");
        let command = command.replace("&3", &path.display().to_string());
        let build = Build::start(command.as_ref(), false, None).unwrap();
        let mut child = String::new();
        while !child.ends_with('\n') {
            tokio::time::sleep(Duration::from_millis(5)).await;
            child = std::fs::read_to_string(&path).unwrap_or_default();
        }
        build.terminate();
        drop(build);
        let stat = format!("/proc/{}/stat", child.trim());
        let is_alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        while is_alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn of_an_endless_output_the_last_part_is_kept() {
        let command = "head -c 3000000 /dev/zero | tr '\\0' x; echo end";
        let built = Build::start(command.as_ref(), false, None).unwrap().ended().await;
        assert!(built.output.ends_with("xend\n") && built.output.len() <= 2 * OUTPUT_BYTES);
    }
}
