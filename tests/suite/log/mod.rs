//! What the log tells, of requests, connections and workers: E43 and J71 to J73 of
//! docs/behaviour.md.

mod access;
mod closes;
mod output;
mod unread;
