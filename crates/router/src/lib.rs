//! Between client sockets and workers: an I/O thread, its clients, its links, and who has which
//! connection.
//!
//! Whoever runs it (the supervisor's driver; an app without a supervisor) tells it what to do by
//! [`ToThread`] and hears of it by [`FromThread`]; nothing else is shared. Messages, bodies and
//! publishes stay within the thread, but for publishes to subscribers of other threads
//! ([`crossing`]).
//!
//! Rooms: `router` is the table of everything that a thread has; `hot` the way of most frames;
//! `custody` drives [`shovel_core::custody`] and does what it wants done; `clients` what is kept of
//! clients and when they are read; `links` reads and writes links; `requests` HTTP; `fanout`
//! publishes; `backend` is what the edge calls; `counts` what is counted and `inspect` how others
//! learn of it; `thread` runs it all and `driver` is how it is spoken to; `settings` what can be
//! chosen. What a room keeps is a type that does not know `Router`; what a room does is a block of
//! methods on it.

mod backend;
mod clients;
pub mod counts;
mod custody;
mod driver;
mod fanout;
mod hot;
pub mod inspect;
mod links;
mod requests;
mod router;
mod settings;
#[cfg(test)]
mod testing;
mod thread;

pub use self::driver::news::{News, NewsReceiver, NewsSender, news};
pub use self::driver::{FromThread, ToThread};
pub use self::fanout::crossing;
pub use self::links::cell::{ProgramRecord, SharedCell};
pub use self::requests::body::Length;
pub use self::requests::head::{header_map, response_head};
pub use self::settings::{Settings, close_within, memory, units, variables};
pub use self::thread::{IoThread, Start};

/// Credit that each body starts with.
pub const BODY_WINDOW_BYTES: u32 = 256 * 1024;
