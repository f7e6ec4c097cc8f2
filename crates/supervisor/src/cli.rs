//! The command line: what is asked for, and the flags that [`Config`] consists of.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
    ValueHint,
};
use clap_complete::Shell;
use shovel_scribe::plain::paragraph;

use crate::client::Ask;
use crate::config::sources::ConfigError;
use crate::config::{Config, setting};
use crate::manual;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default());

const CONFIGURATION: &str = "Configuration and help";

const USAGE: &str = "\
shovel-pool [FLAGS] PROGRAM [-- ARGS]
       shovel-pool COMMAND [FLAGS]";

const ABOUT: &str = "\
Runs PROGRAM as a pool of workers behind sockets that outlive them.

The supervisor owns the listener and every client socket; workers are processes of PROGRAM, linked
with shovel-worker. SIGHUP loads PROGRAM anew without a failed request, SIGTERM and SIGINT finish
what is under way and end.";

const AFTER: &str = "\
Durations are written 250ms, 5s, 2m; sizes 64KiB, 16MiB.

Every flag but those of the last group is also a key of the file and a variable: --drain-timeout is
drain-timeout there, and SHOVEL_DRAIN_TIMEOUT. PROGRAM and ARGS are program and args. A flag
overrules a variable, and a variable the file. --print-config writes a file to begin with.";

#[derive(Debug, Parser)]
#[command(name = "shovel-pool", version, about = ABOUT, after_help = AFTER)]
#[command(override_usage = USAGE)]
#[command(styles = STYLES, max_term_width = 100, disable_help_flag = true)]
#[command(disable_version_flag = true)]
struct Cli {
    #[command(flatten)]
    settings: Config,

    /// A TOML file with settings, read again on SIGHUP [variable: SHOVEL_CONFIG]
    #[arg(long, help_heading = CONFIGURATION, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,

    /// Print the settings in force as such a file, with where each was chosen, and end
    #[arg(long, help_heading = CONFIGURATION)]
    print_config: bool,

    /// Print the completions for this shell and end
    #[arg(long, help_heading = CONFIGURATION, value_name = "SHELL")]
    completions: Option<Shell>,

    /// Print the manual page and end
    #[arg(long, help_heading = CONFIGURATION)]
    man: bool,

    /// Print this and end
    #[arg(short, long, help_heading = CONFIGURATION, action = ArgAction::HelpShort)]
    help: Option<bool>,

    /// Print the version and end
    #[arg(short = 'V', long, help_heading = CONFIGURATION, action = ArgAction::Version)]
    version: Option<bool>,
}

/// The command line as clap knows it.
pub fn command() -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help);
    let help = help.help("Print this and end");
    Ask::augment_subcommands(command_of_pool())
        .about(ABOUT)
        .mut_subcommands(|ask| ask.arg(help.clone()))
        .subcommand_help_heading("Commands, for a pool that runs")
        .subcommand_value_name("COMMAND")
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
}

/// As far as it is about running a pool. PROGRAM may stand in the file, so it is not required here.
pub fn command_of_pool() -> Command {
    let settings = setting::all();
    let is_setting = |arg: &Arg| settings.iter().any(|setting| setting.id() == arg.get_id());
    Cli::command().mut_args(|arg| match is_setting(&arg) {
        true => setting::with_value(arg).required(false),
        false => arg,
    })
}

/// What the command line asks for.
pub enum Invocation {
    /// To run a pool.
    Pool,
    /// To ask one that runs.
    Operator(Ask),
    /// To print the settings in force.
    Settings,
    /// To print something that is made of the command line itself.
    Text(Vec<u8>),
}

/// What these arguments ask for.
pub fn invocation(matches: &ArgMatches) -> Invocation {
    if matches.subcommand_name().is_some() {
        match Ask::from_arg_matches(matches) {
            Ok(ask) => return Invocation::Operator(ask),
            Err(error) => error.exit(),
        }
    }
    if let Some(shell) = matches.get_one::<Shell>("completions") {
        let mut text = Vec::new();
        clap_complete::generate(*shell, &mut command(), "shovel-pool", &mut text);
        return Invocation::Text(text);
    }
    match (matches.get_flag("man"), matches.get_flag("print_config")) {
        (true, _) => Invocation::Text(manual::page(command_of_pool(), &command())),
        (false, true) => Invocation::Settings,
        (false, false) => Invocation::Pool,
    }
}

/// That the program to run is called as a command is: no program is meant then.
pub fn misplaced(program: &OsStr) -> Option<clap::Error> {
    let command = command();
    let name = command.get_subcommands().map(Command::get_name).find(|name| *name == program)?;
    let text = format!(
        "flags of {name} stand behind it: shovel-pool {name} …; a program of that name is ./{name}"
    );
    Some(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{text}\n")))
}

/// Where the configuration file is.
pub fn file(matches: &ArgMatches) -> Option<PathBuf> {
    matches.get_one("config").cloned()
}

/// As wrong usage: each mistake in a line.
pub fn usage(error: &ConfigError) -> clap::Error {
    let lines: Vec<_> = error.lines().iter().map(|line| paragraph(line).into_owned()).collect();
    let text = lines.join("\nerror: ");
    match error {
        ConfigError::NoProgram => {
            command().error(clap::error::ErrorKind::MissingRequiredArgument, text)
        }
        ConfigError::File(_) | ConfigError::Wrong(_) => {
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{text}\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
