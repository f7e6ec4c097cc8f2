//! The rules of custody, one test each: events in, commands out, in simulated time.

// What the tests to come use.
#![allow(dead_code)]

mod accept;
mod blame;
mod cell;
mod drain;
mod end;
mod first;
mod house;
mod nonsense;
mod seeking;
mod trials;
mod written;
