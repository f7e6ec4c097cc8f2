//! Limits and abuse: group H of docs/behaviour.md.

mod access;
mod descriptors;
mod progress;
mod slow_clients;
