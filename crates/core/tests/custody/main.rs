//! The rules of custody, one test each: events in, commands out, in simulated time. `nonsense` and
//! `storm` throw random calls and events at it and check what must hold whatever happens.

mod accept;
mod blame;
mod cell;
mod drain;
mod end;
mod first;
mod handling;
mod house;
mod kept;
mod moving;
mod nonsense;
mod rest;
mod seeking;
mod storm;
mod trials;
mod written;
