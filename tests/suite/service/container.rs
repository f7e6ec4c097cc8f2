//! J79: the image's description, as far as it can be checked without an engine: each of its
//! instructions names what there is.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The instructions with their arguments, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("packaging/Containerfile")).unwrap();
    let text = text.replace("\\\n", " ");
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (instruction, arguments) = line.split_once(' ').expect("an instruction");
            (instruction.to_owned(), arguments.trim().to_owned())
        })
        .collect()
}

fn all(instruction: &str) -> Vec<String> {
    let found = instructions().into_iter().filter(|(name, _)| name == instruction);
    found.map(|(_, arguments)| arguments).collect()
}

/// A command that no shell reads, so that pid 1 is the program itself.
fn exec_form(arguments: &str) -> Vec<String> {
    serde_json::from_str(arguments).unwrap_or_else(|_| panic!("{arguments} is no list"))
}

/// J79.
#[test]
fn the_build_sees_every_file_that_it_needs_and_no_others() {
    let ignored = fs::read_to_string(root().join(".containerignore")).unwrap();
    let kept: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut copied = Vec::new();
    for arguments in all("COPY").iter().filter(|copy| !copy.starts_with("--from")) {
        let mut words: Vec<_> = arguments.split(' ').collect();
        words.pop();
        copied.extend(words.into_iter().map(str::to_owned));
    }
    assert_eq!(copied, kept, "what is copied is not what is not ignored");
    for path in &copied {
        assert!(root().join(path).exists(), "{path} does not exist");
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.lines().find(|line| line.starts_with("members = ")).unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        let folder = member.split('/').next().unwrap();
        assert!(copied.iter().any(|path| path == folder), "{member} is not copied");
    }
}

/// J79.
#[test]
fn the_image_is_built_by_a_compiler_that_is_new_enough() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let needed = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap();
    let needed = needed.trim_end_matches('"');
    let bases = all("FROM");
    assert!(bases[0].contains(&format!("/rust:{needed}-bookworm ")), "{needed}: {}", bases[0]);
    assert!(bases[1].contains("debian:bookworm"), "another libc than it was linked with");
}

/// J79.
#[test]
fn every_program_that_the_image_runs_was_built_and_copied() {
    let build = all("RUN").into_iter().find(|run| run.starts_with("cargo build")).unwrap();
    let words: Vec<_> = build.split(' ').collect();
    let packages: Vec<_> = words.windows(2).filter(|pair| pair[0] == "--package").collect();
    let mut installed = Vec::new();
    for copy in all("COPY").iter().filter_map(|copy| copy.strip_prefix("--from=build ")) {
        let (from, to) = copy.split_once(' ').unwrap();
        let name = from.rsplit('/').next().unwrap();
        // Panics if the workspace makes no such program.
        shovel_tests::program(name);
        assert!(from.starts_with("/source/target/release/"), "{from}");
        installed.push(to.to_owned());
    }
    assert_eq!(packages.len(), installed.len(), "{build}");
    let commands = all("ENTRYPOINT").into_iter().chain(all("CMD"));
    let health =
        all("HEALTHCHECK").into_iter().map(|check| check.split_once("CMD ").unwrap().1.to_owned());
    for command in commands.chain(health) {
        let program = exec_form(&command)[0].clone();
        assert!(installed.contains(&program), "{program} is not in the image");
    }
}

/// J79.
#[test]
fn the_image_ends_in_order_and_has_no_rights_of_root() {
    assert_eq!(all("STOPSIGNAL"), ["SIGTERM"]);
    let user = all("USER").pop().expect("a user");
    assert!(!["root", "0"].contains(&&*user));
    let makes_it = |run: &String| run.starts_with("useradd ") && run.ends_with(&user);
    assert!(all("RUN").iter().any(makes_it), "nobody makes {user}");
    assert!(all("ENV")[0].contains("HOST=0.0.0.0"), "nobody could connect from outside");
}
