//! Processes that nobody waits for. As pid 1 (in a container) this process is given all orphans:
//! what workers have started and left behind, or was put into the container from outside. Those
//! that have ended stay in the table of processes until somebody reaps them.
//!
//! Workers and builds are left alone: whoever started them waits for them, and wants to know how
//! they ended.

use std::fs;
use std::io;

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Reaps orphans, if that is ours to do.
#[derive(Debug)]
pub struct Orphans {
    /// `None` unless this process is pid 1.
    ended: Option<Signal>,
}

impl Orphans {
    /// Call it before any process is started.
    ///
    /// # Errors
    /// Those of handling a signal.
    pub fn new() -> io::Result<Self> {
        let is_init = std::process::id() == 1;
        let ended = is_init.then(|| signal(SignalKind::child())).transpose()?;
        Ok(Orphans { ended })
    }

    /// Waits until some process has ended; for ever if orphans are somebody else's.
    ///
    /// # Cancel safety
    /// No signal is lost.
    pub async fn some_ended(&mut self) {
        match &mut self.ended {
            Some(ended) => drop(ended.recv().await),
            None => std::future::pending().await,
        }
    }

    /// Reaps all that have ended, but those that somebody waits for.
    pub fn reap(&self, is_awaited: impl Fn(u32) -> bool) {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for pid in pids.filter(|pid| is_ended_child(*pid) && !is_awaited(*pid)) {
            let reaped = waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::WNOHANG));
            tracing::debug!(pid, how = ?reaped, "an orphan has ended");
        }
    }
}

/// Whether a process waits to be reaped by this one (proc_pid_stat(5)).
fn is_ended_child(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name stands in parentheses and may hold anything.
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let mut fields = fields.split(' ');
    let (state, parent) = (fields.next(), fields.next());
    state == Some("Z") && parent.is_some_and(|parent| parent == std::process::id().to_string())
}
