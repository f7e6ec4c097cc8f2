//! `shovel-pool`: owns the listener and every client socket, and supervises the worker processes
//! that do the work.
//!
//! The walk: [`cli`] -> [`config`] -> listeners are bound -> I/O threads start (`shovel-router`) ->
//! [`driver`] runs the pool until it ends. The map of the whole is ARCHITECTURE.md.

mod cli;
mod config;
mod driver;
mod listen;
mod log;
mod units;
mod worker;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let config = match cli::Cli::parse().into_config() {
        Ok(config) => config,
        Err(error) => error.exit(),
    };
    log::start(config.log_format);
    match driver::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
