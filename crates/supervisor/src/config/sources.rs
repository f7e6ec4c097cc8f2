//! Where settings come from: flags, variables, the file, in this order of precedence.
//!
//! Each source is a list of values under the key of their setting; the first that has a key wins.
//! What has won is written as one command line and read by clap, so a value means the same
//! wherever it was written, and nothing else reads the environment or the file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};
use shovel_edge::listener::addresses_of_environment;
use shovel_router::variables::PREFIX;

use super::file::{self, FileError, Value};
use super::setting::{self, Setting};
use super::{Config, count};
use crate::service;

/// Everything that settings are read from. The file is read anew each time.
#[derive(Clone, Debug)]
pub struct Sources {
    flags: Choices,
    /// Those with our prefix.
    variables: Vec<(String, OsString)>,
    file: Option<PathBuf>,
    /// Where to listen if no setting says it.
    address: Result<Choice, String>,
}

/// What has won, by key. Settings that nobody chose are not in it.
pub type Choices = BTreeMap<String, Choice>;

/// The values of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub values: Vec<OsString>,
    pub origin: Origin,
}

/// Where values were written. `Display` names the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag(String),
    Variable(String),
    File { path: PathBuf, line: usize },
    Default,
}

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Effective {
    pub config: Config,
    pub choices: Choices,
    /// What is probably a mistake, each in one line.
    pub remarks: Vec<String>,
}

/// The settings after they were read again.
#[derive(Clone, Debug)]
pub struct Reread {
    pub effective: Effective,
    /// The keys whose values are others now.
    pub changed: Vec<String>,
    /// Of each that is another now and cannot be: one line for the operator.
    pub kept: Vec<String>,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] FileError),
    /// Each in one line, with its place.
    #[error("{}", .0.join("; "))]
    Wrong(Vec<String>),
    #[error(
        "there is no PROGRAM to run: name it on the command line, or as program in the file, or \
         in SHOVEL_PROGRAM"
    )]
    NoProgram,
}

impl ConfigError {
    /// Each mistake in a line of its own.
    pub fn lines(&self) -> Vec<String> {
        match self {
            ConfigError::Wrong(lines) => lines.clone(),
            ConfigError::File(_) | ConfigError::NoProgram => vec![self.to_string()],
        }
    }
}

impl Sources {
    /// From what clap has read and from the environment. `file` is what `--config` says.
    pub fn new(
        flags: &ArgMatches,
        file: Option<PathBuf>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Self {
        let given = |setting: &Setting| {
            let given = flags.value_source(setting.id()) == Some(ValueSource::CommandLine);
            let values = flags.get_raw(setting.id()).filter(|_| given)?;
            let values = values.map(OsStr::to_owned).collect();
            let origin = Origin::Flag(setting.flag());
            Some((setting.key().to_owned(), Choice { values, origin }))
        };
        let variables: Vec<_> = environment
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty())
            .collect();
        let of_environment = || {
            let name = format!("{PREFIX}CONFIG");
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, path)| path.into())
        };
        let file = file.or_else(of_environment);
        let flags = setting::all().iter().filter_map(given).collect();
        Sources { flags, variables, file, address: default_address() }
    }

    /// Reads everything and lets the first source win.
    ///
    /// # Errors
    /// With every mistake and its place.
    pub fn read(&self) -> Result<Effective, ConfigError> {
        let (choices, remarks) = self.choose()?;
        if !choices.contains_key("program") {
            return Err(ConfigError::NoProgram);
        }
        let config = parse(&choices)?;
        Ok(Effective { config: config_that_fits(config, &choices)?, choices, remarks })
    }

    /// Reads everything anew. What cannot change while the pool runs stays as it is.
    ///
    /// # Errors
    /// As [`read`](Self::read); then everything stays as it is.
    pub fn read_again(&self, before: &Choices) -> Result<Reread, ConfigError> {
        let mut choices = self.read()?.choices;
        let (mut changed, mut kept) = (Vec::new(), Vec::new());
        for setting in setting::all() {
            let key = setting.key();
            let values = |choices: &Choices| choices.get(key).map(|choice| choice.values.clone());
            if values(before) == values(&choices) {
                continue;
            }
            if setting.is_read_again() {
                changed.push(key.to_owned());
                continue;
            }
            kept.push(keep(key, before, &mut choices));
        }
        let effective = Effective { config: parse(&choices)?, choices, remarks: Vec::new() };
        Ok(Reread { effective, changed, kept })
    }

    /// As [`read`](Self::read), but short of a [`Config`], for which there must be a program. The
    /// second value is what is probably a mistake.
    ///
    /// # Errors
    /// With every mistake and its place.
    pub fn choose(&self) -> Result<(Choices, Vec<String>), ConfigError> {
        let settings = setting::all();
        let (mut wrong, mut remarks) = (Vec::new(), Vec::new());
        let variables = self.choices_of_variables(&settings, &mut wrong, &mut remarks);
        let file = match &self.file {
            Some(path) => choices_of_file(path, &settings, &mut wrong)?,
            None => Choices::new(),
        };
        let mut choices = Choices::new();
        for source in [self.flags.clone(), variables, file] {
            // Arguments are for the program that they were written with.
            let has_program = choices.contains_key("program");
            for (key, choice) in source {
                if !(key == "args" && has_program) {
                    choices.entry(key).or_insert(choice);
                }
            }
        }
        if !choices.contains_key("listen") {
            match &self.address {
                Ok(choice) => drop(choices.insert("listen".into(), choice.clone())),
                Err(why) => wrong.push(why.clone()),
            }
        }
        match wrong.is_empty() {
            true => Ok((choices, remarks)),
            false => Err(ConfigError::Wrong(wrong)),
        }
    }

    /// A variable of ours that nobody knows is no error: others write variables too (Kubernetes
    /// has some for each service of the namespace, named after it).
    fn choices_of_variables(
        &self,
        settings: &[Setting],
        wrong: &mut Vec<String>,
        remarks: &mut Vec<String>,
    ) -> Choices {
        let mut choices = Choices::new();
        for (name, value) in &self.variables {
            let Some(setting) = settings.iter().find(|setting| setting.variable() == *name) else {
                remarks.extend(remark(name, settings));
                continue;
            };
            let values = setting.split(value);
            check(setting, &values, name, wrong);
            let origin = Origin::Variable(name.clone());
            choices.insert(setting.key().into(), Choice { values, origin });
        }
        choices
    }
}

/// Puts the choice back that was in force before; returns the line that tells it.
fn keep(key: &str, before: &Choices, choices: &mut Choices) -> String {
    let written = |choice: Option<&Choice>| {
        let values = choice.into_iter().flat_map(|choice| &choice.values);
        let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        if values.is_empty() { "unset".to_owned() } else { values.join(" ") }
    };
    let place = match choices.get(key) {
        Some(choice) => format!("{}: ", choice.origin),
        None => String::new(),
    };
    let (old, new) = (written(before.get(key)), written(choices.get(key)));
    match before.get(key) {
        Some(choice) => drop(choices.insert(key.into(), choice.clone())),
        None => drop(choices.remove(key)),
    }
    format!("{place}{key} cannot change while the pool runs: it stays {old}, not {new}")
}

/// What to say of a variable that is no setting, if it looks like one.
fn remark(name: &str, settings: &[Setting]) -> Option<String> {
    if matches!(name, "SHOVEL_CONFIG" | "SHOVEL_LINK_FDS") {
        return None;
    }
    // Compared without the prefix, which makes all of them alike.
    let as_key = name.strip_prefix(PREFIX)?.to_lowercase().replace('_', "-");
    let meant = setting::nearest(&as_key, settings)?.variable();
    Some(format!("the variable {name} means nothing; did you mean {meant}?"))
}

fn choices_of_file(
    path: &Path,
    settings: &[Setting],
    wrong: &mut Vec<String>,
) -> Result<Choices, FileError> {
    let mut choices = Choices::new();
    for entry in file::read(path)? {
        let (key, place) = (entry.key, file::place(path, entry.line));
        let Some(setting) = settings.iter().find(|setting| setting.key() == key) else {
            let hint = match (&entry.value, setting::nearest(&key, settings)) {
                (Value::Nested, _) => "; settings stand in no section".to_owned(),
                (_, Some(meant)) => format!("; did you mean '{}'?", meant.key()),
                (_, None) => String::new(),
            };
            wrong.push(format!("{place}: unknown key '{key}'{hint}"));
            continue;
        };
        let values = match (entry.value, setting.is_list()) {
            (Value::One(value), _) => vec![value],
            (Value::Many(values), true) => values,
            (Value::Many(_), false) => {
                wrong.push(format!("{place}: {key} takes one value, not a list"));
                continue;
            }
            (Value::Nested, is_list) => {
                let expected = if is_list { "one value or a list of them" } else { "one value" };
                wrong.push(format!("{place}: {key} takes {expected}"));
                continue;
            }
        };
        check(setting, &values, &place, wrong);
        let origin = Origin::File { path: path.to_owned(), line: entry.line };
        choices.insert(key, Choice { values, origin });
    }
    Ok(choices)
}

fn check(setting: &Setting, values: &[OsString], place: &str, wrong: &mut Vec<String>) {
    for value in values {
        if let Err(why) = setting.check(value) {
            wrong.push(format!("{place}: {why}"));
        }
    }
}

/// Where to listen if no setting says it.
fn default_address() -> Result<Choice, String> {
    let passed = service::passed_sockets().map_err(|error| {
        format!("the variables LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES are wrong: {error}")
    })?;
    if !passed.is_empty() {
        let values = passed.iter().map(|socket| format!("fd:{}", socket.number).into()).collect();
        return Ok(Choice { values, origin: Origin::Variable("LISTEN_FDS".into()) });
    }
    let named: Vec<_> =
        ["HOST", "PORT"].into_iter().filter(|name| std::env::var_os(name).is_some()).collect();
    let origin = match named.is_empty() {
        true => Origin::Default,
        false => Origin::Variable(named.join(" and ")),
    };
    let addresses = addresses_of_environment()?;
    let values = addresses.iter().map(|address| address.to_string().into()).collect();
    Ok(Choice { values, origin })
}

/// Checks that there are descriptors for so many workers; if nobody has chosen how many, it is as many
/// as there are descriptors for.
fn config_that_fits(mut config: Config, choices: &Choices) -> Result<Config, ConfigError> {
    let room = config.room(count::descriptors());
    let chosen = choices.get("workers");
    if chosen.is_none() {
        config.workers = config.workers.min(room.most_workers()).max(1);
    }
    room.check(config.workers).map_err(|why| {
        let origin = chosen.map_or(&Origin::Default, |choice| &choice.origin);
        ConfigError::Wrong(vec![format!("{origin}: {why}")])
    })?;
    Ok(config)
}

/// Writes the choices as a command line and has clap read it.
fn parse(choices: &Choices) -> Result<Config, ConfigError> {
    let (mut flags, mut program) = (Vec::new(), Vec::new());
    for setting in setting::all() {
        let values = choices.get(setting.key()).into_iter().flat_map(|choice| &choice.values);
        let arguments = values.map(|value| setting.as_argument(value));
        match setting.flag().starts_with("--") {
            true => flags.extend(arguments),
            false => program.extend(arguments),
        }
    }
    let arguments = flags.into_iter().chain(["--".into()]).chain(program);
    setting::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Config::from_arg_matches(&matches))
        .map_err(|error| ConfigError::Wrong(vec![error.to_string()]))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Variable(name) => f.write_str(name),
            Origin::File { path, line } => f.write_str(&file::place(path, *line)),
            Origin::Default => f.write_str("default"),
        }
    }
}

#[cfg(test)]
impl Sources {
    /// As from this command line and these variables.
    pub fn of(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let arguments = ["shovel-pool"].iter().chain(arguments);
        let matches = crate::cli::command().get_matches_from(arguments);
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Sources::new(&matches, crate::cli::file(&matches), variables)
    }
}

#[cfg(test)]
mod tests;
