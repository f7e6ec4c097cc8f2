//! Channels: group C of docs/behaviour.md.

mod chat;
mod limits;
mod publish;
