//! Apps other than the fixtures: an example of the SDK, and a worker in another language.

mod axum;
mod python;
