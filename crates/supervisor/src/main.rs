//! `shovel-pool`: owns the listener and every client socket, and supervises the worker processes
//! that do the work.
//!
//! The walk: [`cli`] -> [`config`] -> listeners are bound -> I/O threads start (`shovel-router`) ->
//! [`driver`] runs the pool until it ends; or, for a pool that runs, [`cli`] -> [`client`] -> its
//! [`admin`] socket. The map of the whole is ARCHITECTURE.md.

mod admin;
mod cli;
mod client;
mod config;
mod driver;
mod listen;
mod log;
mod manual;
mod service;
mod watch;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use crate::cli::Invocation;
use crate::config::sources::Sources;

fn main() -> ExitCode {
    let matches = cli::command().get_matches();
    let sources = Sources::new(&matches, cli::file(&matches), std::env::vars_os());
    match cli::invocation(&matches) {
        Invocation::Pool => run(sources),
        Invocation::Operator(ask) => client::run(&ask),
        Invocation::Settings => match sources.choose() {
            Ok((choices, _)) => print(config::print::toml(&choices).as_bytes()),
            Err(error) => cli::usage(&error).exit(),
        },
        Invocation::Text(text) => print(&text),
    }
}

fn run(sources: Sources) -> ExitCode {
    let settings = match sources.read() {
        Ok(settings) => settings,
        Err(error) => {
            service::tell_failure(&error.to_string());
            cli::usage(&error).exit()
        }
    };
    if let Some(error) = cli::misplaced(&settings.config.program) {
        error.exit();
    }
    let _log = match log::start(settings.config.log_format, settings.config.dev) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("error: cannot start the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    settings.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    match driver::run(sources, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            service::tell_failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A reader that has gone (as `head` does) is no reason for a panic.
fn print(text: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
