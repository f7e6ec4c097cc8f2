//! Limits and abuse: group H of docs/behaviour.md.

mod access;
mod descriptors;
mod memory;
mod outbox;
mod progress;
mod rate;
mod slow_clients;
mod vanished;
