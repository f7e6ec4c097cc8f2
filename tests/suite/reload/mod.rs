//! Reloads, with connections that cannot move: group F of docs/behaviour.md.

mod connections;
mod faults;
mod success;
