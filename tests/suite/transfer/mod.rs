//! BEHAVIOUR F and G: what connections that outlive their workers are promised when the worker, the
//! pool or the next program fails.

mod adopting;
mod blocking;
mod convicting;
mod failing;
mod pressure;
mod terminating;
