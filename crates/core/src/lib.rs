//! The decisions of shovel-pool, without IO: values in, values out.
//!
//! Rooms, each with its own caller. Only custody knows another: how workers drain and die, and whom
//! to pick, it has from fleet.
//!
//! - [`fleet`]: the life of workers; only the supervisor's driver calls it.
//! - [`custody`]: who has each connection of a thread, and how it passes from worker to worker.
//! - [`tenure`]: a connection while a worker has it; called by the SDK, under the connection's lock.
//! - [`channels`]: who is subscribed to what; called by link readers.
//!
//! Nothing here reads a clock, waits, starts a thread or opens anything; the crate's
//! `clippy.toml` forbids it. So every run can be repeated from its inputs.

pub mod channels;
pub mod custody;
pub mod fleet;
pub mod slots;
pub mod tenure;
