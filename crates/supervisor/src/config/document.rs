//! `docs/configuration.md` has every setting as clap knows it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use shovel_router::variables;

use super::setting::{self, Setting};

const BEGIN: &str = "<!-- from here on as the test `document` wants it -->\n";
const END: &str = "<!-- to here -->\n";

fn tables() -> String {
    let mut text = String::new();
    let mut heading = String::new();
    for setting in setting::all() {
        if setting.heading() != heading {
            heading = setting.heading().to_owned();
            let _ = write!(
                text,
                "\n### {heading}\n\n| key, variable | default | on reload | what it is |\n|---|---|---|---|\n"
            );
        }
        let (key, variable) = (setting.key(), setting.variable());
        let (help, default) = help_and_default(&setting);
        let reload = if setting.is_read_again() { "yes" } else { "no" };
        let _ = writeln!(text, "| `{key}`, `{variable}` | {default} | {reload} | {help} |");
    }
    text.push('\n');
    text
}

/// A default that depends on the machine is told in the help, behind what the setting is.
fn help_and_default(setting: &Setting) -> (String, String) {
    let help = setting.help().replace('|', "\\|");
    match (help.split_once(" [default: "), &*setting.default_values()) {
        (Some((help, default)), _) => (help.to_owned(), default.trim_end_matches(']').to_owned()),
        (None, [value]) => (help, format!("`{}`", value.display())),
        (None, _) => (help, "none".to_owned()),
    }
}

#[test]
fn every_setting_is_documented_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let (before, rest) = document.split_once(BEGIN).expect("the mark of the beginning");
    let (_, after) = rest.split_once(END).expect("the mark of the end");
    let expected = [before, BEGIN, &tables(), END, after].concat();
    if document != expected {
        let path = root.join("target/configuration.md");
        std::fs::write(&path, expected).unwrap();
        panic!("what should stand there: cp target/configuration.md docs/configuration.md");
    }
}

/// Beside the tables it says which of the variables an app without a supervisor reads.
#[test]
fn what_an_app_without_a_supervisor_reads_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let list =
        document.split("They are ").nth(1).and_then(|rest| rest.split(" Wrong values").next());
    let documented: BTreeSet<_> =
        list.unwrap().split('`').filter(|word| word.starts_with("SHOVEL_")).collect();
    let read: BTreeSet<_> = variables::keys().map(variables::variable).collect();
    assert_eq!(documented, read.iter().map(String::as_str).collect());
}

/// The example is a file that could be used.
#[test]
fn the_example_of_the_document_can_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), example.expect("an example")).unwrap();
    let path = file.path().to_str().unwrap();
    let read = super::sources::Sources::of(&["--config", path], &[]).read().unwrap();
    assert!(!read.choices.is_empty());
}
