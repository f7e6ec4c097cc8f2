//! Links to workers: [`link`] writes one, [`reader`] reads it to its end, [`frames`] does what its
//! frames ask for. [`cell`] is what all threads know of the worker behind it, [`faults`] what the log
//! is told of it.

pub(crate) mod cell;
pub(crate) mod faults;
pub(crate) mod frames;
pub(crate) mod link;
mod paused;
pub(crate) mod reader;
