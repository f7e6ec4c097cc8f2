//! What the fleet has to tell, as lines of the log with fields that machines can read.

use std::net::SocketAddr;

use nix::unistd::geteuid;
use shovel_core::fleet::{Fleet, Report, Severity, WorkerView};
use shovel_edge::http::AllowedOrigin;
use shovel_protocol::WorkerId;

use super::workers::Workers;
use crate::config::Config;
use crate::config::address::Address;

/// Writes a report to the log.
pub fn log(report: &Report, fleet: &Fleet, workers: &Workers) {
    match report {
        Report::WorkerStarted { worker, index, generation, pid } => {
            tracing::info!(%worker, %index, %generation, pid, "worker started");
        }
        Report::WorkerReady { worker, took } => {
            let (index, generation) = place(fleet, *worker);
            let pid = workers.pid(*worker);
            tracing::info!(%worker, index, generation, pid, took = ?took, "worker ready");
        }
        Report::WorkerStopped { worker, how } => {
            let pid = workers.pid(*worker);
            tracing::info!(%worker, pid, status = how, "worker exited");
        }
        Report::WorkerFailed { worker, why, restart_in } => {
            let pid = workers.pid(*worker);
            let restart_in = restart_in.map(tracing::field::debug);
            tracing::warn!(%worker, pid, status = why, restart_in, "worker exited");
        }
        Report::ReloadStarted { generation } => {
            tracing::info!(%generation, "reload started");
        }
        Report::ReloadFinished { generation, took } => {
            tracing::info!(%generation, took = ?took, "reload finished");
        }
        Report::ReloadAbandoned { generation, why } => {
            tracing::error!(%generation, why, "reload abandoned");
        }
        Report::ReloadRefused { why } => tracing::error!(why, "reload refused"),
        Report::TerminateStarted { timeout } => {
            tracing::info!(within = ?timeout, "terminating");
        }
        other => match other.severity() {
            Severity::Info => tracing::info!("{other}"),
            Severity::Warn => tracing::warn!("{other}"),
            Severity::Error => tracing::error!("{other}"),
        },
    }
}

/// Tells the operator what is open to everybody, and to workers.
pub fn openness(config: &Config) {
    if config.worker_user.is_none() && geteuid().is_root() {
        tracing::warn!(
            "workers are root, and can take their supervisor's memory and its clients' sockets; \
             --worker-user has them be another user"
        );
    }
    if config.proxy_protocol && config.trust_proxy.is_empty() {
        tracing::warn!("--proxy-protocol does nothing without proxies that --trust-proxy names");
    }
    let is_open = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
    if let Some(address) = config.admin_listen.as_ref().filter(is_open) {
        tracing::warn!(
            address = format!("http://{address}"),
            "whoever can reach the admin address reads all about the pool"
        );
    }
    let addresses = config.listen.iter().filter_map(|address| match address {
        Address::Tcp(address) => Some(address),
        Address::Unix(..) | Address::Inherited(_) | Address::Passed(_) => None,
    });
    if let Some(address) = addresses.into_iter().find(is_open).filter(|_| config.dev) {
        tracing::warn!(
            address = format!("http://{address}"),
            "with --dev whoever can reach this address is told of the app's errors"
        );
    }
    if config.allow_origin.contains(&AllowedOrigin::Any) {
        tracing::info!("web pages of every origin may open WebSockets, as --allow-origin says");
    }
}

fn place(fleet: &Fleet, worker: WorkerId) -> (Option<u32>, Option<u32>) {
    let mut all = fleet.workers();
    let found: Option<WorkerView> = all.find(|view| view.id == worker);
    (found.as_ref().map(|view| view.index.0), found.map(|view| view.generation.0))
}
