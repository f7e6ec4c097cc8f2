//! What tests of several rooms share: clients, and a pool that is watched.

pub(crate) mod counted;
pub(crate) mod flood;
pub(crate) mod greedy;
pub(crate) mod load;
pub(crate) mod owned;
pub(crate) mod slow;
pub(crate) mod watched;
