//! The service manager, if one has started us: systemd, or whoever speaks as it does.
//!
//! It passes sockets (sd_listen_fds(3)), is told how the pool is (sd_notify(3)), and wants a sign
//! of life from time to time (sd_watchdog_enabled(3)). Without one, all of this does nothing.

mod notify;

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use sd_notify::NotifyState;
use shovel_core::fleet::{Fleet, Report, WorkerState};
use shovel_scribe::plain::plain;
use tokio::time::{Instant, sleep_until};

use self::notify::Notifier;

/// Variables by which a service manager speaks to this process and to no worker.
pub const VARIABLES: [&str; 6] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// A socket that the service manager has opened for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedSocket {
    /// Its descriptor.
    pub number: RawFd,
    /// Its `FileDescriptorName=`; "unknown" if the manager tells none.
    pub name: String,
}

/// The sockets that were passed to this process; none if the variables name another.
///
/// # Errors
/// Variables that contradict each other, or descriptors that are not open.
pub fn passed_sockets() -> io::Result<Vec<PassedSocket>> {
    let sockets = sd_notify::listen_fds_with_names()?;
    Ok(sockets.map(|(number, name)| PassedSocket { number, name }).collect())
}

/// Tells the manager why this process ends with a failure.
pub fn tell_failure(why: &str) {
    Notifier::of_environment().tell_in_the_end(&[NotifyState::Status(&in_one_line(why))]);
}

/// What the manager has been told, and when it wants to hear more.
#[derive(Debug)]
pub struct ServiceManager {
    notifier: Notifier,
    told_ready: bool,
    status: String,
    /// Of a reload: that it runs, or why it was abandoned.
    note: Option<String>,
    watchdog: Option<Watchdog>,
}

impl ServiceManager {
    /// The manager that the environment names.
    pub fn of_environment() -> Self {
        ServiceManager {
            notifier: Notifier::of_environment(),
            told_ready: false,
            status: String::new(),
            note: None,
            watchdog: sd_notify::watchdog_enabled().map(Watchdog::new),
        }
    }

    /// Tells what the pool has reported, and how it is by now.
    pub fn tell(&mut self, reports: &[Report], fleet: &Fleet) {
        for report in reports {
            self.tell_report(report);
        }
        let generation = fleet.generation();
        let serving = fleet.workers().filter(|worker| worker.generation == generation);
        let ready = serving.filter(|worker| worker.state == WorkerState::Ready).count();
        let wanted = fleet.wanted() as usize;
        let asleep = match fleet.asleep() {
            0 => String::new(),
            asleep => format!(", {asleep} asleep"),
        };
        let mut status =
            format!("{ready} of {wanted} workers ready{asleep}, generation {generation}");
        if let Some(note) = &self.note {
            status = format!("{status}; {note}");
        }
        let mut states = Vec::new();
        if ready >= wanted && !self.told_ready {
            self.told_ready = true;
            states.push(NotifyState::Ready);
        }
        if status != self.status {
            states.push(NotifyState::Status(&status));
        }
        if !states.is_empty() {
            self.notifier.tell(&states);
        }
        self.status = status;
    }

    /// A message of its own each: within one, systemd does not look at the order.
    fn tell_report(&mut self, report: &Report) {
        match report {
            Report::ReloadStarted { .. } => {
                self.note = Some(report.to_string());
                self.tell_reloading();
            }
            Report::ReloadRefused { .. } => {
                self.note = Some(in_one_line(&report.to_string()));
                self.tell_reloading();
                self.notifier.tell(&[NotifyState::Ready]);
            }
            Report::ReloadFinished { .. } => {
                self.note = None;
                self.notifier.tell(&[NotifyState::Ready]);
            }
            Report::ReloadAbandoned { .. } => {
                self.note = Some(in_one_line(&report.to_string()));
                self.notifier.tell(&[NotifyState::Ready]);
            }
            Report::TerminateStarted { .. } => {
                self.note = Some("terminating".to_owned());
                self.notifier.tell(&[NotifyState::Stopping]);
            }
            Report::WorkerStarted { .. }
            | Report::HandlerStuck { .. }
            | Report::WorkerSleeps { .. }
            | Report::WorkerWakes { .. }
            | Report::WorkerNeeded { .. }
            | Report::WorkerReady { .. }
            | Report::WorkerStopped { .. }
            | Report::WorkerFailed { .. }
            | Report::WorkerHung { .. }
            | Report::WorkerLate { .. }
            | Report::WorkerOnTime { .. }
            | Report::StartFailed { .. }
            | Report::DrainTimedOut { .. }
            | Report::StopTimedOut { .. }
            | Report::ReloadSwitched { .. }
            | Report::ReloadCoalesced
            | Report::ReloadIgnored
            | Report::ReloadCutShort { .. }
            | Report::Scaled { .. }
            | Report::ScaleIgnored
            | Report::RecycleStarted { .. }
            | Report::RecycleAbandoned { .. }
            | Report::TerminateTimedOut
            | Report::TerminateHurried => {}
        }
    }

    fn tell_reloading(&mut self) {
        // The clock can always be read; without it the manager would wait in vain.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.notifier.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// Waits until it is time to look whether we are alive; for ever if nobody wants to know it.
    /// Meanwhile sends what the manager had no room for.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn look_due(&mut self) {
        let due = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        loop {
            // Cancel-safe: both only wait.
            tokio::select! {
                () = self.notifier.caught_up() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => return,
            }
        }
    }

    /// Begins to look whether all I/O threads answer. `false` if the last look is not over.
    pub fn begin_look(&mut self, threads: usize) -> bool {
        self.watchdog.as_mut().is_some_and(|watchdog| watchdog.begin(threads))
    }

    /// Whoever has not answered does not exist any more.
    pub fn forget_look(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.unanswered = 0;
        }
    }

    /// An I/O thread has answered. After the last one the manager hears that we are alive.
    pub fn on_alive(&mut self) {
        if self.watchdog.as_mut().is_some_and(Watchdog::answered) {
            self.notifier.tell(&[NotifyState::Watchdog]);
        }
    }
}

/// When to give a sign of life, and who is still to give one to us.
#[derive(Debug)]
struct Watchdog {
    every: Duration,
    next: Instant,
    unanswered: usize,
}

impl Watchdog {
    /// `timeout`: after so long without a sign the manager kills us.
    fn new(timeout: Duration) -> Self {
        // sd_watchdog_enabled(3) recommends half of it; a third leaves time for a late answer.
        let every = timeout / 3;
        Watchdog { every, next: Instant::now() + every, unanswered: 0 }
    }

    fn begin(&mut self, threads: usize) -> bool {
        self.next = Instant::now() + self.every;
        let is_over = self.unanswered == 0;
        if is_over {
            self.unanswered = threads;
        }
        is_over
    }

    fn answered(&mut self) -> bool {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.unanswered == 0
    }
}

/// A message is one line per variable.
fn in_one_line(text: &str) -> String {
    plain(&text.lines().map(str::trim).collect::<Vec<_>>().join(" ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sign_of_life_needs_the_answer_of_every_thread() {
        let mut watchdog = Watchdog::new(Duration::from_secs(3));
        assert!(watchdog.begin(2));
        assert!(!watchdog.answered());
        assert!(!watchdog.begin(2), "one has not answered yet");
        assert!(watchdog.answered());
        assert!(watchdog.begin(2));
        assert!(!watchdog.answered());
    }
}
