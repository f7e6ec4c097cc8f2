//! Limits and abuse: group H of docs/behaviour.md.

mod access;
mod descriptors;
mod slow_clients;
