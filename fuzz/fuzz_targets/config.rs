//! What an operator may write, in a file, in variables and on the command line: nothing makes its
//! reading panic, mistakes are told in a line each, and what is printed can be read again and means
//! the same.

#![no_main]
#![allow(dead_code, reason = "of the supervisor's rooms only a part is used here")]

#[path = "../../crates/supervisor/src/worker/account.rs"]
mod account;
#[path = "../../crates/supervisor/src/config/mod.rs"]
mod config;
#[path = "../../crates/supervisor/src/service/mod.rs"]
mod service;
mod worker {
    pub(crate) use super::account;
}

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::{Args, Command};
use config::sources::{Choices, Sources};
use config::{Config, print, setting};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    variables: Vec<(u8, &'a [u8])>,
    arguments: Vec<(u8, &'a [u8])>,
    file: &'a str,
}

fuzz_target!(|input: Input<'_>| {
    let settings = setting::all();
    let setting = |at: u8| &settings[usize::from(at) % settings.len()];
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let variables = input.variables.iter().take(4);
    let variables = variables.map(|(at, value)| (setting(*at).variable().into(), text(value)));
    let arguments = input.arguments.iter().take(4);
    let arguments = arguments.map(|(at, value)| setting(*at).as_argument(&text(value)));
    let Some(sources) = sources(input.file, arguments.collect(), variables.collect()) else {
        return;
    };
    let (choices, remarks) = match sources.choose() {
        Ok(chosen) => chosen,
        Err(error) => {
            assert!(error.lines().iter().all(|line| !line.is_empty()));
            return;
        }
    };
    assert!(remarks.iter().all(|remark| remark.lines().count() == 1));
    let effective = sources.read().ok();
    check_printed(&choices, effective.map(|effective| effective.config));
});

fn check_printed(choices: &Choices, before: Option<Config>) {
    let printed = print::toml(choices);
    let values = || choices.values().flat_map(|choice| &choice.values);
    // What is not UTF-8 cannot be written in such a file.
    if values().any(|value| value.to_str().is_none()) {
        return;
    }
    let again = sources(&printed, Vec::new(), Vec::new()).expect("no arguments");
    let (chosen, _) = again.choose().unwrap_or_else(|error| panic!("{error}\n{printed}"));
    for (key, choice) in choices {
        assert_eq!(chosen.get(key).map(|choice| &choice.values), Some(&choice.values), "{key}");
    }
    if let Some(before) = before {
        assert_eq!(again.read().expect("it is whole").config, before);
    }
}

/// `None` if these are no arguments.
fn sources(
    file: &str,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
) -> Option<Sources> {
    // In memory: a file on a disk would cost more than all else.
    let path = PathBuf::from(format!("/dev/shm/shovel-fuzz-{}.toml", std::process::id()));
    std::fs::write(&path, file).expect("a file");
    let command = Config::augment_args(Command::new("settings")).no_binary_name(true);
    let command = command.mut_args(|arg| setting::with_value(arg).required(false));
    let matches = command.try_get_matches_from(arguments).ok()?;
    Some(Sources::new(&matches, Some(path), variables.into_iter()))
}
