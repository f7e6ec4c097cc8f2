//! Tools around a pool: group I of docs/behaviour.md.

mod admin_socket;
mod command_line;
mod configuration;
mod metrics;
mod metrics_of_moves;
mod metrics_of_refusals;
mod subcommands;
