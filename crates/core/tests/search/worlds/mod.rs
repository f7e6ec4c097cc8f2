//! The worlds that are searched.
//!
//! A search ends after `SHOVEL_NEMESIS_STATES` states, or as many as [`crate::search::look`] says;
//! `scripts/soak.sh` goes further in those that have more.

mod ends;
mod moves;
mod poison;
mod threads;
mod times;
