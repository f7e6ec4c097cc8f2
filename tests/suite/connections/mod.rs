//! Upgrades, messages and closes of connections: groups A and B of docs/behaviour.md.

mod close;
mod limits;
mod messages;
mod upgrade;
mod upgrade_faults;
