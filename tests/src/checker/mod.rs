//! The checker: hundreds of clients keep numbered messages under way while a nemesis kills, stops,
//! reloads and breaks workers; then it is decided whether everything was as promised.
//!
//! The walk: [`Trial`] -> a pool of `fixture-checked` -> `client`s and the `nemesis`, both from
//! one seed -> a [`Record`] of what clients saw and workers noted -> [`judge`] -> a [`Verdict`],
//! which tells of each violation what happened around it. What clients and workers say is in
//! `words`.

mod asker;
mod client;
mod footprint;
mod growth;
mod judge;
mod machine;
mod nemesis;
mod record;
mod trial;
mod verdict;
mod words;

pub use judge::{Rule, Violation, judge};
pub use record::{Conversation, Deed, Failed, Note, Published, Record, Role};
pub use trial::Trial;
pub use verdict::Verdict;
pub use words::{Answer, Garbled, Order, Progress, Task, Trace, TraceEvent, Word, now};
