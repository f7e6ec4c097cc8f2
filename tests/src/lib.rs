//! What the process tests stand on: the shipped programs, started by path, and real clients.
//!
//! [`Pool`] is a running `shovel-pool`, [`Options`] says how it is started, [`Deploy`] is a
//! program's path whose file changes, [`ServiceManager`] hears how a pool is, [`Http`], [`WebSocket`] and [`Raw`] are clients. Nothing here
//! waits for a fixed time: tests wait for lines of the log, for bytes and for exits, each with a
//! bound after which the whole log is shown.
//!
//! The programs are taken from the folder that the tests were built into, or from
//! `SHOVEL_TEST_BIN_DIR`. Build them first: `cargo build --workspace --bins --examples`.

pub mod checker;
mod client;
mod log;
mod operator;
mod options;
mod pool;
mod process;
mod program;
mod raw;
mod service_manager;
mod wait;
mod websocket;

pub use client::{Answer, Http, body_of, get, post, request, send};
pub use log::{Line, Log};
pub use operator::{Told, operate};
pub use options::{Options, can_unshare};
pub use pool::{Pool, Worker};
pub use process::{children, is_alive, open_descriptors, processor_time, resident_bytes, signal};
pub use program::{Deploy, example, program, python_worker};
pub use raw::{Raw, RawFrame, masked_frame, upgrade_request};
pub use service_manager::{Notice, ServiceManager};
pub use wait::{PATIENCE, eventually, until, within};
pub use websocket::{Refused, WebSocket};
