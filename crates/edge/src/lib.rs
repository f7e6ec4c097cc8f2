//! Everything that touches a client socket: listeners, HTTP/1.1, the WebSocket engine, outboxes
//! and their limits.
//!
//! The edge knows no workers. It calls a [`Backend`] with requests, upgrades, messages and closes,
//! and gives it a [`ws::Socket`] for each connection to send on. All of it belongs to one thread,
//! and nothing locks, but [`Crowd`], which counts the clients of all threads behind a lock.
//!
//! The walk: [`listener`] accepts -> [`proxy_header`], if a proxy is to send one -> `http1::connection`
//! speaks HTTP -> [`mod@http`] checks and cleans a request -> [`Backend::fetch`] or [`Backend::upgrade`]
//! -> [`ws`] reads messages -> [`Backend::message`]; WebSockets and links are written to by [`turn::Turn`]
//! at the end of a turn, HTTP/1 by its own task as it is polled.
//!
//! TLS and HTTP/2 have their place in [`transport`] and [`connection`].

pub mod backend;
pub mod connection;
mod crowd;
pub mod http;
pub mod http1;
pub mod ledger;
pub mod listener;
mod lists;
mod outbox;
pub mod proxy_header;
pub mod socket_file;
pub mod stall;
pub mod transport;
pub mod turn;
pub mod ws;

pub use backend::{Accepted, Answer, Backend, Failure, Notes, Peer, Refused, Relief, Upgrade};
pub use crowd::Crowd;
pub use http1::body::{BrokenBody, RequestBody};
pub use ledger::{Ledger, Pot};
pub use turn::Turn;
