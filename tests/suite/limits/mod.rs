//! Limits and abuse: group H of docs/behaviour.md.

mod access;
mod descriptors;
mod memory;
mod progress;
mod slow_clients;
