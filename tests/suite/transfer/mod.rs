//! Connections that outlive their worker: group G of docs/behaviour.md.

mod adopting;
mod attachment;
mod blocking;
mod checker;
mod close;
mod convicting;
mod crash;
mod deadlines;
mod failing;
mod needed;
mod offer;
mod pressure;
mod quarantine;
mod reload;
mod sleep;
mod terminating;
