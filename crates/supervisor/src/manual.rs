//! The manual page, shovel-pool(1): what clap knows of the command line, and what it does not.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::config::setting;

/// The page as roff(7).
pub fn page(command: Command) -> Vec<u8> {
    // The first line goes under NAME, the rest under DESCRIPTION.
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let first = about.lines().next().unwrap_or_default().to_owned();
    let command = command.about(first).long_about(about);
    let man = Man::new(command);
    let mut page = Vec::new();
    // Writing to a vector does not fail.
    let _ = man.render(&mut page);
    let _ = rest().to_writer(&mut page);
    page
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
        let page = String::from_utf8(page(cli::command())).unwrap().replace("\\-", "-");
        for setting in setting::all() {
            assert!(page.contains(&setting.flag()), "{}:\n{page}", setting.flag());
            assert!(page.contains(&setting.variable()), "{}:\n{page}", setting.variable());
        }
    }
}
