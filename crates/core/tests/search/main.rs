//! One thread's custody in a small world where everything that can go wrong does: clients, workers
//! with what ships of their SDK, links that end after any frame, time that passes, and a fleet that
//! starts, replaces, ends and loses workers. Every state that such a world can come to is visited,
//! and deeper ones at random. Worlds of another kind have two threads with their workers in common
//! (`threads`): there workers die, and nothing else goes wrong.
//!
//! `worlds` lists the worlds. What holds in each: the client sees the effects of every message once,
//! in order, with the state of exactly the messages before it; what may have been begun before is
//! marked, and nothing else; one owner at a time; the close event comes once; whatever has come is
//! handled in the end, though the pool may end at any moment; what kills its workers is given up, and
//! nothing beside it.

#![expect(
    clippy::disallowed_methods,
    reason = "how deep it looks is asked for, and how long it took"
)]

mod app;
mod commands;
mod fleet;
mod frames;
mod judge;
mod nemesis;
mod sdk;
mod search;
mod steps;
mod thread;
mod threads;
mod walk;
mod witness;
mod world;
mod worlds;
