//! Life of a worker: group E of docs/behaviour.md.

mod crash;
mod processes;
mod recycle;
mod rogue;
mod start;
mod stopped;
