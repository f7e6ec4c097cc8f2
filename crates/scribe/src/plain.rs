//! Words of others, as they may be shown: on a terminal, in a log, to whoever reads either.
//!
//! Clients, apps and files say what they like. Control characters let them command a terminal or
//! forge a line, and marks of direction let them show one thing and say another. All that this
//! program writes for people, and its JSON, goes through here and nowhere else.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Whether a character shows itself and changes nothing around it. A tab does.
pub fn is_plain(character: char) -> bool {
    match character {
        '\t' => true,
        // Those of ISO 6429, in one byte or two: U+009B begins a command as ESC [ does.
        _ if character.is_control() => false,
        // What Unicode orders text by (UAX 9), and the old marks for shapes beside it.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' => {
            false
        }
        // Ends of lines and of paragraphs, which some readers obey.
        '\u{2028}' | '\u{2029}' => false,
        // What is not seen at all, and so hides words: marks of byte order, annotations, tags.
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => false,
        _ => true,
    }
}

/// The text with all that is not plain made visible, as `\u{1b}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, |character, to| to.extend(character.escape_unicode()))
}

/// JSON, in one line, with all that is not plain as JSON escapes it: such characters stand within
/// its strings only, so it says what it said.
pub fn plain_json(json: &str) -> Cow<'_, str> {
    escaped(json, |character, to| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a `String` does not fail.
            let _ = write!(to, "\\u{unit:04x}");
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    // Most text is that of English and of programs.
    let is_simple = |byte: u8| (b' '..=b'~').contains(&byte) || byte == b'\t';
    if text.bytes().all(is_simple) || text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_plain(character) {
            true => shown.push(character),
            false => escape(character, &mut shown),
        }
    }
    Cow::Owned(shown)
}

/// Makes plain what is written through it.
#[derive(Debug)]
pub struct Plain<W>(pub W);

impl<W: Write> Write for Plain<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&plain(text))
    }
}

/// Our own words, which may have several lines and others' words in them: a line that goes on is
/// indented, so that none of them looks like one that begins.
pub fn paragraph(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return plain(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            shown.push('\n');
            shown.push_str(if line.starts_with(INDENT) { "" } else { INDENT });
        }
        shown.push_str(&plain(line));
    }
    Cow::Owned(shown)
}

const INDENT: &str = "    ";

#[cfg(test)]
mod tests {
    use super::*;

    const MISLEADING: [(char, &str, &str); 12] = [
        ('\u{1b}', "\\u{1b}", "\\u001b"),
        ('\n', "\\u{a}", "\\u000a"),
        ('\r', "\\u{d}", "\\u000d"),
        ('\u{7}', "\\u{7}", "\\u0007"),
        ('\u{7f}', "\\u{7f}", "\\u007f"),
        ('\u{9b}', "\\u{9b}", "\\u009b"),
        ('\u{202e}', "\\u{202e}", "\\u202e"),
        ('\u{2066}', "\\u{2066}", "\\u2066"),
        ('\u{200f}', "\\u{200f}", "\\u200f"),
        ('\u{2028}', "\\u{2028}", "\\u2028"),
        ('\u{feff}', "\\u{feff}", "\\ufeff"),
        ('\u{e0041}', "\\u{e0041}", "\\udb40\\udc41"),
    ];

    #[test]
    fn what_misleads_is_made_visible() {
        for (character, text, json) in MISLEADING {
            let said = format!("a{character}b");
            assert_eq!(plain(&said), format!("a{text}b"));
            assert_eq!(plain_json(&said), format!("a{json}b"));
        }
    }

    #[test]
    fn what_shows_itself_stays_as_it_is() {
        for text in ["", "a \"quoted\" \\ tab\tand", "Grüße, 世界, שלום, 👨‍👩‍👧, é"]
        {
            assert!(matches!(plain(text), Cow::Borrowed(same) if same == text), "{text}");
            assert!(matches!(plain_json(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn a_line_that_goes_on_is_indented() {
        assert_eq!(paragraph("one"), "one");
        let told = paragraph("failed; last lines:\n    as it was\nERROR forged\u{1b}[2J\r\n");
        let expected = "failed; last lines:\n    as it was\n    ERROR forged\\u{1b}[2J\\u{d}\n    ";
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_written_through_it_is_plain() {
        let mut to = Plain(String::new());
        let (raw, quoted) = ("\u{202e}", "\u{9b}");
        write!(to, "{raw}={quoted:?}").unwrap();
        assert_eq!(to.0, "\\u{202e}=\"\\u{9b}\"");
    }
}
