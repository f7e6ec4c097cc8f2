//! The fleet's rules, one test each: events in, commands out, in simulated time. `world` throws
//! random events at it and checks what must hold whatever happens.

mod harness;
mod health;
mod late;
mod mending;
mod needed;
mod nonsense;
mod reconfigure;
mod recycle;
mod reload;
mod scale;
mod sleep;
mod start;
mod terminate;
mod world;
