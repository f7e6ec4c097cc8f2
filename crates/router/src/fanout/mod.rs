//! Fan-out: [`publish`] shares out what is published, [`publisher`] is what waits for that, and
//! [`crossing`] the way to other threads.

pub mod crossing;
pub(crate) mod publish;
pub(crate) mod publisher;
