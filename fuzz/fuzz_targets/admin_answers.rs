//! What may be asked of a pool on its admin socket, and what one may answer: no bytes make their
//! reading panic, what was understood can be said again, and what a pool answers is shown without
//! the control characters that clients or apps may have put in it.

#![no_main]

#[allow(dead_code, reason = "its bounds are the socket's to keep")]
#[path = "../../crates/supervisor/src/admin/wire.rs"]
mod wire;
mod admin {
    pub(crate) use super::wire;
}
#[allow(dead_code, reason = "only some of it is shown here")]
#[path = "../../crates/supervisor/src/client/text.rs"]
mod text;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::{Answer, Connections, Published, Question, Reloaded, Scaled, Status};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(question) = serde_json::from_slice::<Question>(bytes) {
        again(&question);
    }
    if let Some(status) = answer::<Status>(bytes) {
        shown(&text::status(&status));
        shown(&text::title(&status));
    }
    if let Some(connections) = answer::<Connections>(bytes) {
        shown(&text::connections(&connections.connections));
    }
    if let Some(published) = answer::<Published>(bytes) {
        shown(&text::published(&published));
    }
    if let Some(reloaded) = answer::<Reloaded>(bytes) {
        shown(&text::reloaded(&reloaded));
    }
    if let Some(scaled) = answer::<Scaled>(bytes) {
        shown(&text::scaled(&scaled));
    }
});

fn answer<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let answer = serde_json::from_slice::<Answer<T>>(bytes).ok()?;
    let written = serde_json::to_vec(&answer).ok()?;
    let read = serde_json::from_slice::<Answer<T>>(&written);
    assert!(read.is_ok());
    match answer {
        Answer::Ok(value) => Some(value),
        Answer::Error(_) => None,
    }
}

fn again(question: &Question) {
    let written = serde_json::to_vec(question).expect("it can be written");
    assert_eq!(&serde_json::from_slice::<Question>(&written).expect("it can be read"), question);
}

fn shown(text: &str) {
    let is_raw = |one: char| one.is_control() && one != '\n';
    assert!(!text.chars().any(is_raw), "{text:?}");
}
