//! Clients: what is kept of one ([`client`]), when it is read ([`reading`]), how far its owner knows
//! that it reads too slowly ([`pressure`]), what it is told of what waits ([`outbox`]), and what is told
//! of its end ([`closing`]).

pub(crate) mod client;
pub(crate) mod closing;
pub(crate) mod outbox;
pub(crate) mod pressure;
pub(crate) mod reading;
