//! One end of a link: the Unix socket between the supervisor and a worker.
//!
//! Both processes move the same bytes in the same way, so this is written once: [`Outgoing`]
//! collects frames and writes them in batches, [`Incoming`] reads what there is and cuts it into
//! frames, [`Socket`] is the descriptor below both. What frames mean is not known here.
//!
//! The walk: `Outgoing::put` … `Outgoing::write_to` -> socket -> `Incoming::fill` ->
//! `Incoming::next_frame`.

mod incoming;
mod outgoing;
mod socket;

pub use incoming::{Filled, Incoming};
pub use outgoing::{Outgoing, Written};
pub use socket::Socket;
