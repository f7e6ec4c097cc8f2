//! The manual page, shovel-pool(1): what clap knows of the command line, and what it does not.

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::config::setting;

/// The page as roff(7). `command` is without subcommands, of which clap would only say that they have
/// pages of their own; `whole` is with them.
pub fn page(command: Command, whole: &Command) -> Vec<u8> {
    // The first line goes under `NAME`, the rest under `DESCRIPTION`.
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let first = about.lines().next().unwrap_or_default().to_owned();
    let command = command.about(first).long_about(about);
    let man = Man::new(command);
    let mut page = Vec::new();
    // Writing to a vector does not fail.
    let _ = man.render(&mut page);
    let _ = commands(whole).to_writer(&mut page);
    let _ = rest().to_writer(&mut page);
    page
}

/// What can be asked of a pool that runs, each with the flags that others have not.
fn commands(command: &Command) -> Roff {
    const OF_ALL: [&str; 3] = ["help", "admin_socket", "json"];
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    let own = "They ask a pool that runs, and exit with 1 if the answer is no. They find it by \
               themselves if one runs for this user; else --admin-socket or the variable \
               SHOVEL_ADMIN_SOCKET names its socket. With --json they answer in JSON, in one line.";
    roff.text([roman(own)]);
    for ask in command.get_subcommands() {
        let own = ask.get_arguments().filter(|arg| !OF_ALL.contains(&arg.get_id().as_str()));
        let (positional, flags): (Vec<_>, Vec<_>) = own.partition(|arg| arg.is_positional());
        let positional: String = positional.iter().map(|arg| format!(" {}", value(arg))).collect();
        let mut about = ask.get_about().map(ToString::to_string).unwrap_or_default();
        for flag in flags {
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            let name = flag.get_long().unwrap_or_default();
            let flag = format!("--{name} {}", value(flag));
            about.push_str(&format!(". {}: {help}", flag.trim_end()));
        }
        item(&mut roff, &format!("{}{positional}", ask.get_name()), &format!("{about}."));
    }
    roff
}

/// As the help writes it: in brackets if it can be left out. A flag without one has none.
fn value(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let names = arg.get_value_names().unwrap_or_default();
    let name =
        names.first().map_or_else(|| arg.get_id().as_str().to_uppercase(), |name| name.to_string());
    if arg.is_positional() && !arg.is_required_set() { format!("[{name}]") } else { name }
}

fn rest() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    let own = "Settings are read from these variables if no flag says otherwise. Values of a list \
               are separated by spaces. An empty variable counts as none.";
    roff.text([roman(own)]);
    for setting in setting::all() {
        item(&mut roff, &setting.variable(), &format!("As {}.", setting.flag()));
    }
    item(&mut roff, "SHOVEL_CONFIG", "As --config.");
    item(&mut roff, "HOST, PORT", "Where to listen if no setting says it.");
    item(&mut roff, "RUST_LOG", "What is logged; info if it is not set.");
    roff.control("SH", ["SIGNALS"]);
    item(&mut roff, "SIGHUP", "Read the settings again, then load PROGRAM anew.");
    item(
        &mut roff,
        "SIGTERM, SIGINT",
        "Finish what is under way and end; a second one ends at once.",
    );
    roff.control("SH", ["EXIT STATUS"]);
    item(&mut roff, "0", "An orderly end.");
    item(&mut roff, "1", "A failure, which the last line on stderr tells.");
    item(&mut roff, "2", "Wrong usage or settings.");
    roff
}

fn item(roff: &mut Roff, name: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(text)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    #[test]
    fn the_page_has_every_flag_and_every_variable() {
        let page = String::from_utf8(page(cli::command_of_pool(), &cli::command()))
            .unwrap()
            .replace("\\-", "-");
        for setting in setting::all() {
            assert!(page.contains(&setting.flag()), "{}:\n{page}", setting.flag());
            assert!(page.contains(&setting.variable()), "{}:\n{page}", setting.variable());
        }
        for ask in cli::command().get_subcommands() {
            assert!(page.contains(&format!("\\fB{}", ask.get_name())), "{page}");
        }
        assert!(page.contains("Runs PROGRAM as a pool of workers"), "{page}");
    }
}
