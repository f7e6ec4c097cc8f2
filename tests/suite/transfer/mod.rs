//! Connections that outlive their worker: group G of docs/behaviour.md.

mod attachment;
mod checker;
mod close;
mod crash;
mod deadlines;
mod offer;
mod quarantine;
mod reload;
mod sleep;
