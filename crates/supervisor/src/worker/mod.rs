//! Worker processes: their image, their start, their output.

pub mod account;
pub mod descriptors;
pub mod image;
pub mod memory;
pub mod output;
pub mod process;
mod sealed;
