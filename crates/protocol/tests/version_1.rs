//! The bytes of version 1, which later versions go on reading.

mod examples;

use std::collections::BTreeSet;

use shovel_protocol::{Frame, Kind, ToSupervisor, ToWorker};

const FIXTURES: &str = include_str!("fixtures/v1.hex");

#[test]
fn frames_are_written_as_in_version_1() {
    let written: String = examples::encoded()
        .iter()
        .map(|(name, bytes)| format!("\n[{name}]\n{}", examples::hex(bytes)))
        .collect();
    let frames = FIXTURES.find("\n[").map_or("", |start| &FIXTURES[start..]);
    assert!(written == frames, "the bytes have changed; this version writes\n{written}");
}

#[test]
fn frames_of_version_1_to_a_worker_are_read() {
    for (name, expected) in examples::to_worker() {
        assert_eq!(ToWorker::read(cut(&fixture(name))), Ok(Some(expected)), "{name}");
    }
}

#[test]
fn frames_of_version_1_to_the_supervisor_are_read() {
    for (name, expected) in examples::to_supervisor() {
        assert_eq!(ToSupervisor::read(cut(&fixture(name))), Ok(Some(expected)), "{name}");
    }
}

#[test]
fn every_kind_of_version_1_has_its_bytes_kept() {
    let kept: BTreeSet<u8> =
        examples::encoded().iter().map(|(name, _)| cut(&fixture(name)).kind).collect();
    assert_eq!(kept, Kind::ALL.iter().map(|kind| *kind as u8).collect());
}

fn cut(bytes: &[u8]) -> Frame<'_> {
    let (frame, taken) = Frame::cut(bytes).unwrap().expect("a whole frame");
    assert_eq!(taken, bytes.len());
    frame
}

fn fixture(name: &str) -> Vec<u8> {
    let title = format!("[{name}]");
    let mut lines = FIXTURES.lines().skip_while(|line| *line != title);
    assert!(lines.next().is_some(), "no fixture {title}");
    lines.take_while(|line| !line.starts_with('[')).flat_map(examples::hex_line).collect()
}
