//! The end of a pool: group F of docs/behaviour.md.

mod success;
mod unhelpful_clients;
