//! Reloads, with connections that cannot move: group F of docs/behaviour.md.

mod connections;
mod cut_short;
mod faults;
mod success;
