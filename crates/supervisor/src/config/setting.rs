//! A field of [`Config`] as clap knows it, seen as a key of the file and as a variable.
//!
//! `--request-timeout` is `request-timeout` in the file and `SHOVEL_REQUEST_TIMEOUT` in the
//! environment. PROGRAM and ARGS are `program` and `args`. There is no list of names beside
//! clap's: none can be forgotten.

use std::any::TypeId;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Args, Command};
use shovel_router::{units, variables};

use super::{Config, READ_AGAIN};

/// How alike a word must be to be offered instead of an unknown one, from 0 to 1.
const ALIKE: f64 = 0.8;

/// Something that can be chosen.
#[derive(Clone, Debug)]
pub struct Setting(Arg);

/// Every setting, in the order of `--help`.
pub fn all() -> Vec<Setting> {
    command().get_arguments().cloned().map(Setting).collect()
}

/// The settings as a command line of their own.
pub fn command() -> Command {
    Config::augment_args(Command::new("settings")).no_binary_name(true).mut_args(with_value)
}

/// Gives a value to a flag without one: `--dev` is `--dev=true`, so that `--dev=false` can
/// overrule a file.
pub fn with_value(arg: Arg) -> Arg {
    match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_name("BOOL")
            .value_parser(units::switch)
            .hide_default_value(true)
            .hide_possible_values(true),
        _ => arg,
    }
}

impl Setting {
    /// Its name in the file.
    pub fn key(&self) -> &str {
        self.0.get_long().unwrap_or(self.0.get_id().as_str())
    }

    /// Its name in the environment.
    pub fn variable(&self) -> String {
        variables::variable(self.key())
    }

    /// Its name on the command line.
    pub fn flag(&self) -> String {
        match self.0.get_long() {
            Some(long) => format!("--{long}"),
            None => self.0.get_id().as_str().to_uppercase(),
        }
    }

    /// Whether another value takes effect while the pool runs.
    pub fn is_read_again(&self) -> bool {
        READ_AGAIN.contains(&self.key())
    }

    /// Under which clap knows it.
    pub fn id(&self) -> &str {
        self.0.get_id().as_str()
    }

    /// The group that it belongs to.
    pub fn heading(&self) -> &str {
        self.0.get_help_heading().unwrap_or("Program")
    }

    /// What it does.
    pub fn help(&self) -> String {
        self.0.get_help().map(ToString::to_string).unwrap_or_default()
    }

    /// What holds if nobody chooses.
    pub fn default_values(&self) -> Vec<OsString> {
        self.0.get_default_values().iter().map(|value| value.to_os_string()).collect()
    }

    /// Whether it takes several values.
    pub fn is_list(&self) -> bool {
        matches!(self.0.get_action(), ArgAction::Append)
    }

    /// Whether a value is written without quotes in a file.
    pub fn is_bare(&self) -> bool {
        let parsed = self.0.get_value_parser().type_id();
        [TypeId::of::<bool>(), TypeId::of::<u32>(), TypeId::of::<u64>()]
            .iter()
            .any(|bare| parsed == *bare)
    }

    /// The values in a variable: those of a list are separated by spaces.
    pub fn split(&self, value: &OsStr) -> Vec<OsString> {
        match self.is_list() {
            false => vec![value.to_owned()],
            true => value
                .as_bytes()
                .split(u8::is_ascii_whitespace)
                .filter(|part| !part.is_empty())
                .map(|part| OsStr::from_bytes(part).to_owned())
                .collect(),
        }
    }

    /// The value as an argument of the command line, which must not be taken for another one.
    pub fn as_argument(&self, value: &OsStr) -> OsString {
        let mut argument = OsString::new();
        if let Some(long) = self.0.get_long() {
            argument.push(format!("--{long}="));
        }
        argument.push(value);
        argument
    }

    /// Whether the value can be used, by the parser that reads the flag.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn check(&self, value: &OsStr) -> Result<(), String> {
        let alone = Command::new("setting").no_binary_name(true).arg(self.0.clone());
        let separator = self.0.is_positional().then(|| OsString::from("--"));
        let arguments = separator.into_iter().chain([self.as_argument(value)]);
        match alone.try_get_matches_from(arguments) {
            Ok(_) => Ok(()),
            Err(error) => {
                let (value, key) = (value.display(), self.key());
                Err(format!("invalid value '{value}' for {key}: {}", reason(&error)))
            }
        }
    }
}

/// What is wrong, without the words in which clap tells it about flags.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => format!("possible values: {}", values.join(", ")),
        _ => error.kind().to_string(),
    }
}

/// The setting that was probably meant by an unknown key.
pub fn nearest<'a>(key: &str, settings: &'a [Setting]) -> Option<&'a Setting> {
    let alike = |setting: &'a Setting| (strsim::jaro_winkler(key, setting.key()), setting);
    let best = settings.iter().map(alike).max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(alike, _)| *alike >= ALIKE).map(|(_, setting)| setting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    /// I65. Only what says where to look or prints and ends is no setting.
    #[test]
    fn every_flag_is_a_key_and_a_variable() {
        let settings = all();
        let command = cli::command();
        let flags = command.get_arguments().filter_map(|arg| arg.get_long());
        let others = ["config", "print-config", "completions", "man", "help", "version"];
        for flag in flags.filter(|flag| !others.contains(flag)) {
            let setting = settings.iter().find(|setting| setting.key() == flag);
            let setting = setting.unwrap_or_else(|| panic!("{flag} is no setting"));
            let variable = format!("SHOVEL_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(setting.variable(), variable);
            assert!(!setting.help().is_empty(), "{flag} has no help");
            assert_ne!(setting.heading(), "Program", "{flag} has no heading");
        }
    }

    #[test]
    fn what_is_read_again_is_a_setting() {
        let settings = all();
        for key in READ_AGAIN {
            assert!(settings.iter().any(|setting| setting.key() == key), "{key}");
        }
    }

    #[test]
    fn a_wrong_value_is_told_in_one_line_that_names_it_and_what_is_expected() {
        let told = |key: &str, value: &str| {
            let setting = all().into_iter().find(|setting| setting.key() == key).unwrap();
            setting.check(value.as_ref()).unwrap_err()
        };
        assert_eq!(
            told("request-timeout", "5"),
            "invalid value '5' for request-timeout: a duration is a whole number with ms, s, m or \
             h, such as 250ms"
        );
        assert_eq!(
            told("workers", "100000"),
            "invalid value '100000' for workers: a number of workers is a whole number from 1 to 1024"
        );
        assert_eq!(
            told("log-format", "xml"),
            "invalid value 'xml' for log-format: possible values: text, json"
        );
        assert!(told("dev", "perhaps").starts_with("invalid value 'perhaps' for dev: "));
    }

    #[test]
    fn the_nearest_name_is_one_that_could_have_been_meant() {
        let settings = all();
        let nearest = |word| nearest(word, &settings).map(Setting::key);
        for (word, meant) in [
            ("worker", "workers"),
            ("request_timeout", "request-timeout"),
            ("drain-timout", "drain-timeout"),
            ("lisen", "listen"),
        ] {
            assert_eq!(nearest(word), Some(meant), "{word}");
        }
        assert_eq!(nearest("colour"), None);
    }
}
