//! Requests and responses of HTTP: group D of docs/behaviour.md.

mod bodies;
mod framing;
mod http;
mod malformed;
mod refusals;
mod rogue_responses;
mod timeouts;
