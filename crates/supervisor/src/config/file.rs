//! The configuration file: TOML, one key per setting, each with the line that it stands on.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What stands in a file, in the order of its lines.
pub type Entries = Vec<Entry>;

/// A key with what was written behind it.
#[derive(Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    /// From 1.
    pub line: usize,
    pub value: Value,
}

/// What can be written behind a key. What it means is not this room's business.
#[derive(Debug, PartialEq)]
pub enum Value {
    One(OsString),
    Many(Vec<OsString>),
    /// Something with values inside that no setting has.
    Nested,
}

/// Why there are no entries.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error("{place}: {what}")]
    NotToml { place: String, what: String },
}

/// Reads a file.
///
/// # Errors
/// If it cannot be read or is no TOML. Unknown keys and wrong values are for the caller.
pub fn read(path: &Path) -> Result<Entries, FileError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| FileError::Unreadable { path: name, source })?;
    let table = DeTable::parse(&text).map_err(|error| {
        let line = line_of(&text, error.span().map_or(0, |span| span.start));
        FileError::NotToml { place: place(path, line), what: in_one_line(error.message()) }
    })?;
    let mut entries: Vec<_> = table
        .into_inner()
        .into_iter()
        .map(|(key, value)| Entry {
            line: line_of(&text, key.span().start),
            key: key.into_inner().into_owned(),
            value: Value::of(&value),
        })
        .collect();
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// How a line of a file is named.
pub fn place(path: &Path, line: usize) -> String {
    format!("{}:{line}", path.display())
}

impl Value {
    fn of(value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::Array(values) => {
                let values = values.iter().map(|value| scalar(value.get_ref()));
                values.collect::<Option<_>>().map_or(Value::Nested, Value::Many)
            }
            one => scalar(one).map_or(Value::Nested, Value::One),
        }
    }
}

/// A value as it would be written on the command line.
fn scalar(value: &DeValue<'_>) -> Option<OsString> {
    match value {
        DeValue::String(text) => Some(text.as_ref().into()),
        DeValue::Integer(number) => Some(number.to_string().into()),
        DeValue::Float(number) => Some(number.to_string().into()),
        DeValue::Boolean(value) => Some(value.to_string().into()),
        DeValue::Datetime(moment) => Some(moment.to_string().into()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}

fn in_one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Entries, FileError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn values_are_read_as_they_are_written_on_the_command_line() {
        let text = "# a comment\nworkers = 4\n\nlisten = [\"a\",\n \"b\"]\ndev = true\nx = '1'\n";
        let entries = read_text(text).unwrap();
        let entry = |key: &str, line, value| Entry { key: key.into(), line, value };
        assert_eq!(
            entries,
            [
                entry("workers", 2, Value::One("4".into())),
                entry("listen", 4, Value::Many(vec!["a".into(), "b".into()])),
                entry("dev", 6, Value::One("true".into())),
                entry("x", 7, Value::One("1".into())),
            ]
        );
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        for (text, line) in [("workers = 4\nlisten = \n", 2), ("a = 1\n\na = 2\n", 3), ("=", 1)] {
            let told = read_text(text).unwrap_err().to_string();
            assert!(told.contains(&format!(":{line}: ")), "{text:?}: {told}");
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }

    #[test]
    fn a_section_is_told_as_nested() {
        let entries = read_text("[pool]\nworkers = 4\n").unwrap();
        assert_eq!(entries, [Entry { key: "pool".into(), line: 1, value: Value::Nested }]);
    }
}
