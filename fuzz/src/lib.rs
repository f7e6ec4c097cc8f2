//! What several fuzz targets share.

pub mod edge;
pub mod fields;
pub mod second_reader;
