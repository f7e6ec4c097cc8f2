//! A pool as a service: group J of docs/behaviour.md.

mod container;
mod init;
mod notify;
mod sockets;
