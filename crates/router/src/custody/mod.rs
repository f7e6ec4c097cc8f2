//! Custody on this thread: who drives it, and who does what it wants done.
//!
//! Whatever happens is told to custody ([`events`]: how workers come and go), and [`drive`] does what
//! follows before anything else happens: [`commands`] sends the frames and closes the sockets,
//! [`acts`] does what handlers have done. [`state`] is what is kept.

pub(crate) mod acts;
pub(crate) mod commands;
pub(crate) mod drive;
pub(crate) mod events;
pub(crate) mod state;
