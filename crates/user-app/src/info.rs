//! Who answers: a greeting, and the worker that serves this request.

use serde::Serialize;
use shovel_worker::{FetchEvent, IntoResponse, Json, Response};

use crate::State;

pub(crate) fn hello() -> Response {
    "Hello, world!".into_response()
}

pub(crate) fn info(event: &FetchEvent<State>) -> Response {
    let worker = event.worker();
    Json(Info {
        mode: worker.mode(),
        pid: worker.pid,
        worker: worker.index,
        generation: worker.generation,
    })
    .into_response()
}

#[derive(Serialize)]
struct Info {
    mode: &'static str,
    pid: u32,
    worker: u32,
    generation: u32,
}
