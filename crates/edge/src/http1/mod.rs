//! HTTP/1: where one message ends and the next begins, decided once and here.
//!
//! The walk: bytes -> [`head`] a whole head -> `http::answer` -> the body of the request goes in by
//! [`framing`] and [`body`] while the answer is made -> `response` it goes out -> the next head, the
//! end, or a WebSocket. `connection` is the state machine of one connection, `clock` how long its
//! client may keep it waiting, `writing` how its end looks.

pub mod body;
mod clock;
pub(crate) mod connection;
pub mod framing;
pub mod head;
mod input;
mod response;
mod target;
mod writing;
