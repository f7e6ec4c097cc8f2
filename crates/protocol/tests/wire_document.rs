//! `docs/wire.md` says what the encoder does.

mod examples;

use shovel_protocol::handshake::Capabilities;
use shovel_protocol::limits::{
    ATTACHMENT_BYTES, CHANNEL_NAME_BYTES, CLOSE_REASON_BYTES, CONNECTION_WINDOW_BYTES,
    CONTROL_BYTES, FRAME_PAYLOAD_BYTES, MESSAGE_OVERHEAD_BYTES,
};
use shovel_protocol::{Kind, head};

const DOCUMENT: &str = include_str!("../../../docs/wire.md");

#[test]
fn every_example_in_the_document_has_the_bytes_of_the_encoder() {
    let encoded = examples::encoded();
    let mut blocks = 0;
    for block in DOCUMENT.split("```hex\n").skip(1) {
        let (block, _) = block.split_once("\n```").expect("a block that ends");
        let (title, lines) = block.split_once('\n').expect("a title and bytes");
        let title = title.trim_start_matches("; ");
        let example = encoded.iter().find(|(name, _)| *name == title);
        let (_, expected) = example.unwrap_or_else(|| panic!("no example is called {title:?}"));
        let bytes: Vec<u8> = lines.lines().flat_map(examples::hex_line).collect();
        let right = examples::hex(expected);
        assert!(bytes == *expected, "{title} in the document should be\n{right}");
        blocks += 1;
    }
    assert!(blocks >= 15, "only {blocks} examples were found");
}

#[test]
fn the_tables_of_the_document_name_exactly_the_kinds_that_exist() {
    for (title, to_worker) in [("Supervisor to worker", true), ("Worker to supervisor", false)] {
        let expected: Vec<(u8, &str)> = Kind::ALL
            .iter()
            .map(|kind| (*kind as u8, kind.name()))
            .filter(|(number, _)| (*number < 64) == to_worker)
            .collect();
        assert_eq!(kinds_in_table(title), expected, "table {title:?}");
    }
}

#[test]
fn the_document_names_flags_and_capabilities_by_their_bits() {
    use head::flags::*;
    for (bit, name) in [
        (MORE, "MORE"),
        (BINARY, "BINARY"),
        (END, "END"),
        (LAST, "LAST"),
        (STAGED, "STAGED"),
        (DURING, "DURING"),
        (REDELIVERED, "REDELIVERED"),
        (PARTIAL, "PARTIAL"),
    ] {
        assert_says(&format!("| {bit:#04x} | {name}:"));
    }
    for (capability, name) in [
        (Capabilities::ADOPT, "adopt"),
        (Capabilities::CONTINUE, "continue"),
        (Capabilities::OUTBOX, "outbox"),
    ] {
        assert_says(&format!("bit {}, **{name}**", capability.0.trailing_zeros()));
    }
}

#[test]
fn the_document_names_the_limits_that_hold() {
    assert_says(&format!(
        "len, u32 | bytes of payload, at most {} |",
        grouped(FRAME_PAYLOAD_BYTES)
    ));
    assert_says(&format!("1 to {} bytes of UTF-8", grouped(CHANNEL_NAME_BYTES)));
    assert_says(&format!("An attachment has at most {} KiB", ATTACHMENT_BYTES / 1024));
    assert_says(&format!("Up to {} KiB, opaque", ATTACHMENT_BYTES / 1024));
    assert_says(&format!("a reason has at most {CLOSE_REASON_BYTES} bytes"));
    assert_says(&format!("may have {} MiB in all", CONTROL_BYTES / 1024 / 1024));
    assert_says(&format!(
        "`max_message_bytes` (from `hello`) + {} MiB",
        CONTROL_BYTES / 1024 / 1024
    ));
    assert_says(&format!("has {} KiB or more uncommitted", CONNECTION_WINDOW_BYTES / 1024));
    assert_says(&format!("with {MESSAGE_OVERHEAD_BYTES} bytes beside its own"));
}

/// Number and name in each row of the table below a heading.
fn kinds_in_table(title: &str) -> Vec<(u8, &'static str)> {
    let heading = format!("## {title}");
    let below = DOCUMENT.lines().skip_while(|line| *line != heading).skip(1);
    let section = below.take_while(|line| !line.starts_with("## "));
    section
        .filter_map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            let number = cells.next()?.parse().ok()?;
            Some((number, cells.next()?.trim_matches('`')))
        })
        .collect()
}

/// Looks for words in the document, wherever its lines break.
fn assert_says(words: &str) {
    let document = DOCUMENT.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(document.contains(words), "the document does not say {words:?}");
}

fn grouped(number: usize) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}
