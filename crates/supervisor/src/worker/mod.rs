//! Worker processes: their image, their start, their output.

pub mod descriptors;
pub mod image;
pub mod memory;
pub mod output;
pub mod process;
