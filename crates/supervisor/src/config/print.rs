//! The settings in force, as a file that can be used as is.

use std::ffi::OsString;
use std::fmt::Write;

use toml::Value;

use super::setting::{self, Setting};
use super::sources::{Choices, Origin};

/// Every setting with what it does and where its value was written, in the order of `--help`.
pub fn toml(choices: &Choices) -> String {
    let mut text = "# The settings in force, each with the place where it was chosen.\n".to_owned();
    let mut heading = String::new();
    for setting in setting::all() {
        if setting.heading() != heading {
            heading = setting.heading().to_owned();
            // Writing to a string does not fail.
            let _ = write!(text, "\n# == {heading}\n");
        }
        let _ = write!(text, "\n# {}\n{}\n", setting.help(), line(&setting, choices));
    }
    text
}

fn line(setting: &Setting, choices: &Choices) -> String {
    let key = setting.key();
    match choices.get(key) {
        Some(choice) => format!("{key} = {}  # {}", value(setting, &choice.values), choice.origin),
        None => match &*setting.default_values() {
            [] => format!("# {key} is not set"),
            defaults => format!("{key} = {}  # {}", value(setting, defaults), Origin::Default),
        },
    }
}

/// A path that is not UTF-8 cannot be written in TOML; it is printed as well as it can be.
fn value(setting: &Setting, values: &[OsString]) -> Value {
    let one = |value: &OsString| {
        let text = value.to_string_lossy().into_owned();
        match setting.is_bare() {
            true => text.parse().unwrap_or(Value::String(text)),
            false => Value::String(text),
        }
    };
    match (setting.is_list(), values) {
        (false, [value]) => one(value),
        _ => Value::Array(values.iter().map(one).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::config::sources::Sources;

    #[test]
    fn what_is_printed_can_be_used_as_a_file_and_means_the_same() {
        let arguments = ["--dev", "--listen=127.0.0.1:80", "--listen", "unix:/x y", "--workers=3"];
        let arguments = [&arguments[..], &["--worker-max-age=2h", "a\"p\\p", "--", "-x", "7"]];
        let sources = Sources::of(&arguments.concat(), &[("SHOVEL_OUTBOX_LIMIT", "64KiB")]);
        let printed = toml(&sources.read().unwrap().choices);
        for line in [
            "workers = 3  # --workers",
            "outbox-limit = \"64KiB\"  # SHOVEL_OUTBOX_LIMIT",
            "listen = [\"127.0.0.1:80\", \"unix:/x y\"]  # --listen",
            "dev = true  # --dev",
            "request-timeout = \"30s\"  # default",
            "# worker-max-requests is not set",
            "args = [\"-x\", \"7\"]  # ARGS",
        ] {
            assert!(printed.lines().any(|printed| printed == line), "{line}:\n{printed}");
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(printed.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        let again = Sources::of(&["--config", path], &[]).read().unwrap();
        assert_eq!(again.config, sources.read().unwrap().config);
    }

    #[test]
    fn every_setting_is_printed_even_without_a_program() {
        let printed = toml(&Sources::of(&[], &[]).choose().unwrap().0);
        for setting in setting::all() {
            assert!(
                printed.contains(&format!("\n{} = ", setting.key()))
                    || printed.contains(&format!("\n# {} is not set\n", setting.key())),
                "{printed}"
            );
        }
    }
}
