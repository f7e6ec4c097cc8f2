//! The state of a connection in a small world where everything that can go wrong does: clients,
//! workers with their SDK, links that end after any frame, and a supervisor that does what the real
//! one does. Every state that such a world can come to is visited, and deeper ones at random.
//!
//! `worlds` lists the worlds. What holds in each: the client sees the effects of every message once,
//! in order, with the state of exactly the messages before it; what may have been begun before is
//! marked, and nothing else; one owner at a time; the close event comes once; whatever has come is
//! handled in the end; what kills its workers is given up, and nothing beside it.

#![expect(
    clippy::disallowed_methods,
    reason = "how deep it looks is asked for, and how long it took"
)]

mod frames;
mod nemesis;
mod sdk;
mod search;
mod steps;
mod supervisor;
mod trial;
mod walk;
mod witness;
mod world;
mod worlds;
