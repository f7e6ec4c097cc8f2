//! What the operator should know, as values: the driver writes them to the log, tests compare
//! them.

use std::fmt;
use std::time::Duration;

use shovel_protocol::id::{Generation, WorkerId, WorkerIndex};

use super::event::RecycleReason;

/// Something worth a line in the log. `Display` is that line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A process was started.
    WorkerStarted {
        /// Which worker.
        worker: WorkerId,
        /// Its place in the generation.
        index: WorkerIndex,
        /// Whose image it runs.
        generation: Generation,
        /// Its process id.
        pid: u32,
    },
    /// A worker can take requests.
    WorkerReady {
        /// Which worker.
        worker: WorkerId,
        /// How long it took to start.
        took: Duration,
    },
    /// A worker that nobody needs for now stops.
    WorkerSleeps {
        /// Which worker.
        worker: WorkerId,
    },
    /// There is work for a place whose worker was asleep.
    WorkerWakes {
        /// The new worker of the place.
        worker: WorkerId,
    },
    /// The pool ends, and something that was read has no worker.
    WorkerNeeded {
        /// The worker that is started for it.
        worker: WorkerId,
    },
    /// A worker ended that had been told to.
    WorkerStopped {
        /// Which worker.
        worker: WorkerId,
        /// How it ended.
        how: String,
    },
    /// A worker ended, or never came to be, though nobody had told it to leave.
    WorkerFailed {
        /// Which worker.
        worker: WorkerId,
        /// What happened.
        why: String,
        /// When its place will be taken again; `None` if not by this failure.
        restart_in: Option<Duration>,
    },
    /// The first generation cannot be loaded, and the pool waits for a program that can.
    StartFailed {
        /// Which file, and why.
        why: String,
    },
    /// A worker did not answer a ping and is killed.
    WorkerHung {
        /// Which worker.
        worker: WorkerId,
        /// How long the ping has been unanswered.
        silent_for: Duration,
    },
    /// A worker does not answer a ping and others do: they get its work for now.
    WorkerLate {
        /// Which worker.
        worker: WorkerId,
    },
    /// It has answered: it gets work again.
    WorkerOnTime {
        /// Which worker.
        worker: WorkerId,
    },
    /// A worker has not finished its work in time; what is left of it is ended.
    DrainTimedOut {
        /// Which worker.
        worker: WorkerId,
    },
    /// A worker that leaves does not let go of a connection and is killed.
    HandlerStuck {
        /// Which worker.
        worker: WorkerId,
    },
    /// A worker has not left in time and is killed.
    StopTimedOut {
        /// Which worker.
        worker: WorkerId,
    },
    /// A new generation is being loaded.
    ReloadStarted {
        /// The new one.
        generation: Generation,
    },
    /// The new generation is whole and takes all new work.
    ReloadSwitched {
        /// The new one.
        generation: Generation,
    },
    /// The last worker of the old generation is gone.
    ReloadFinished {
        /// The new one.
        generation: Generation,
        /// From the start of the reload until now.
        took: Duration,
    },
    /// The new generation is abandoned and the old one goes on.
    ReloadAbandoned {
        /// The new one.
        generation: Generation,
        /// What was wrong with it.
        why: String,
    },
    /// The pool ends before the new generation serves.
    ReloadCutShort {
        /// The new one.
        generation: Generation,
    },
    /// A reload was asked for while one runs: there will be one more after it.
    ReloadCoalesced,
    /// A reload was asked for, and what was to be read with it cannot be used: nothing changes.
    ReloadRefused {
        /// What is wrong with it.
        why: String,
    },
    /// A reload was asked for while the pool ends: there will be none.
    ReloadIgnored,
    /// Another number of workers is wanted.
    Scaled {
        /// So many were wanted before.
        before: u32,
        /// So many are wanted now.
        workers: u32,
    },
    /// Another number of workers was asked for while the pool ends: nothing changes.
    ScaleIgnored,
    /// A worker is being replaced within its generation.
    RecycleStarted {
        /// Who will leave.
        worker: WorkerId,
        /// Who will come in its place.
        replacement: WorkerId,
        /// Which limit it has reached.
        reason: RecycleReason,
    },
    /// The replacement did not start; the old worker goes on until the next attempt.
    RecycleAbandoned {
        /// Who was to leave.
        worker: WorkerId,
        /// Who was to come in its place.
        replacement: WorkerId,
        /// What was wrong with the replacement.
        why: String,
        /// Time until the next attempt.
        retry_in: Duration,
    },
    /// The pool is ending.
    TerminateStarted {
        /// How long it may take.
        timeout: Duration,
    },
    /// The pool did not end in time; what is left of it is killed.
    TerminateTimedOut,
    /// The pool was told a second time to end; what is left of it is killed.
    TerminateHurried,
}

/// How much a report matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Everything goes as it should.
    Info,
    /// Something went wrong, and the fleet deals with it.
    Warn,
    /// Something that the operator wanted has not happened.
    Error,
}

impl Report {
    /// How much this matters.
    pub fn severity(&self) -> Severity {
        match self {
            Report::WorkerStarted { .. }
            | Report::WorkerReady { .. }
            | Report::WorkerStopped { .. }
            | Report::WorkerSleeps { .. }
            | Report::WorkerWakes { .. }
            | Report::WorkerOnTime { .. }
            | Report::WorkerNeeded { .. }
            | Report::ReloadStarted { .. }
            | Report::ReloadSwitched { .. }
            | Report::ReloadFinished { .. }
            | Report::ReloadCutShort { .. }
            | Report::ReloadCoalesced
            | Report::Scaled { .. }
            | Report::RecycleStarted { .. }
            | Report::TerminateStarted { .. } => Severity::Info,
            Report::WorkerFailed { .. }
            | Report::WorkerHung { .. }
            | Report::WorkerLate { .. }
            | Report::DrainTimedOut { .. }
            | Report::HandlerStuck { .. }
            | Report::StopTimedOut { .. }
            | Report::ReloadIgnored
            | Report::ScaleIgnored
            | Report::RecycleAbandoned { .. }
            | Report::TerminateHurried => Severity::Warn,
            Report::ReloadAbandoned { .. }
            | Report::ReloadRefused { .. }
            | Report::StartFailed { .. }
            | Report::TerminateTimedOut => Severity::Error,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::WorkerStarted { worker, index, generation, pid } => write!(
                f,
                "worker {worker} started with pid {pid} as index {index} of generation {generation}"
            ),
            Report::WorkerReady { worker, took } => {
                write!(f, "worker {worker} is ready after {took:?}")
            }
            Report::WorkerStopped { worker, how } => write!(f, "worker {worker} stopped: {how}"),
            Report::WorkerFailed { worker, why, restart_in: Some(delay) } => {
                write!(f, "worker {worker} failed: {why}; restarting it in {delay:?}")
            }
            Report::WorkerFailed { worker, why, restart_in: None } => {
                write!(f, "worker {worker} failed: {why}")
            }
            Report::StartFailed { why } => write!(f, "{why}; waiting for another program"),
            Report::WorkerHung { worker, silent_for } => {
                write!(f, "worker {worker} has not answered for {silent_for:?}; killing it")
            }
            Report::WorkerLate { worker } => {
                write!(f, "worker {worker} answers late; others get its work")
            }
            Report::WorkerOnTime { worker } => {
                write!(f, "worker {worker} answers again and gets work")
            }
            Report::DrainTimedOut { worker } => {
                write!(f, "worker {worker} has not finished its work in time; ending what is left")
            }
            Report::WorkerSleeps { worker } => {
                write!(f, "worker {worker} has nothing to do and falls asleep")
            }
            Report::WorkerWakes { worker } => {
                write!(f, "worker {worker} is started, since there is work")
            }
            Report::WorkerNeeded { worker } => {
                write!(f, "worker {worker} is started, since something is left to handle")
            }
            Report::HandlerStuck { worker } => {
                write!(f, "worker {worker} does not let go of a connection; killing it")
            }
            Report::StopTimedOut { worker } => {
                write!(f, "worker {worker} has not left in time; killing it")
            }
            Report::ReloadStarted { generation } => {
                write!(f, "reload started: loading generation {generation}")
            }
            Report::ReloadSwitched { generation } => {
                write!(f, "generation {generation} is whole and takes over")
            }
            Report::ReloadFinished { generation, took } => {
                write!(f, "reload to generation {generation} finished after {took:?}")
            }
            Report::ReloadAbandoned { generation, why } => {
                write!(f, "reload to generation {generation} abandoned: {why}")
            }
            Report::ReloadCutShort { generation } => {
                write!(f, "reload to generation {generation} ends with the pool")
            }
            Report::ReloadCoalesced => {
                f.write_str("reload requested while one runs: one more will follow")
            }
            Report::ReloadRefused { why } => write!(f, "reload refused: {why}"),
            Report::ReloadIgnored => f.write_str("reload request ignored: the pool is ending"),
            Report::Scaled { before, workers } => {
                write!(f, "scaling from {before} to {workers} workers")
            }
            Report::ScaleIgnored => f.write_str("request to scale ignored: the pool is ending"),
            Report::RecycleStarted { worker, replacement, reason } => {
                write!(f, "replacing worker {worker} by worker {replacement}: {reason}")
            }
            Report::RecycleAbandoned { worker, why, retry_in, .. } => write!(
                f,
                "worker {worker} could not be replaced: {why}; trying again in {retry_in:?}"
            ),
            Report::TerminateStarted { timeout } => {
                write!(f, "terminating: workers have {timeout:?} to finish")
            }
            Report::TerminateTimedOut => {
                f.write_str("workers have not finished in time; killing those that are left")
            }
            Report::TerminateHurried => {
                f.write_str("told again to terminate; killing the workers that are left")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_reload_is_an_error_in_one_lower_case_sentence() {
        let report = Report::ReloadAbandoned {
            generation: Generation(2),
            why: "worker 5 was not ready within 30s".into(),
        };
        assert_eq!(report.severity(), Severity::Error);
        assert_eq!(
            report.to_string(),
            "reload to generation 2 abandoned: worker 5 was not ready within 30s"
        );
    }

    #[test]
    fn a_failure_says_when_the_place_is_taken_again_only_if_it_is() {
        let failed = |restart_in| Report::WorkerFailed {
            worker: WorkerId(3),
            why: "exited with code 1".into(),
            restart_in,
        };
        assert_eq!(failed(None).to_string(), "worker 3 failed: exited with code 1");
        assert_eq!(
            failed(Some(Duration::from_millis(90))).to_string(),
            "worker 3 failed: exited with code 1; restarting it in 90ms"
        );
    }
}
