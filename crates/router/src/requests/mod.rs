//! HTTP requests: [`ask`] gives one to a worker ([`queue`]s for one), [`response`] takes the answer
//! in, [`end`] ends it otherwise, [`late`] asks another worker. [`table`] is what is under way, [`head`], [`body`] and [`upload`]
//! how its parts are carried.

pub(crate) mod ask;
pub(crate) mod body;
pub(crate) mod end;
pub(crate) mod head;
pub(crate) mod late;
pub(crate) mod queue;
pub(crate) mod response;
pub(crate) mod table;
pub(crate) mod upload;
