//! Which source wins, and what is said of mistakes.

use std::io::Write;
use std::time::Duration;

use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with_file(
    text: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<Effective, String> {
    let file = file(text);
    let path = file.path().to_str().unwrap();
    let arguments = [&["--config", path], arguments].concat();
    let read = Sources::of(&arguments, variables).read();
    read.map_err(|error| error.to_string().replace(path, "FILE"))
}

/// I65.
#[test]
fn a_flag_overrules_a_variable_and_a_variable_the_file() {
    let text = "workers = 2\nio-threads = 3\nping-interval = \"4s\"\n";
    let variables = [("SHOVEL_WORKERS", "5"), ("SHOVEL_IO_THREADS", "6")];
    let found = with_file(text, &["--workers", "7", "app"], &variables).unwrap();
    let config = &found.config;
    assert_eq!((config.workers, config.io_threads), (7, 6));
    assert_eq!(config.ping_interval, Duration::from_secs(4));
    let origin = |key: &str| found.choices[key].origin.to_string();
    assert_eq!(origin("workers"), "--workers");
    assert_eq!(origin("io-threads"), "SHOVEL_IO_THREADS");
    assert!(origin("ping-interval").ends_with(":3"), "{}", origin("ping-interval"));
}

#[test]
fn a_list_of_a_higher_source_replaces_the_whole_list_of_a_lower_one() {
    let text = "listen = ['127.0.0.1:1', '127.0.0.1:2']\n";
    let listen = |arguments: &[&str], variables: &[(&str, &str)]| {
        with_file(text, arguments, variables).unwrap().choices["listen"].values.clone()
    };
    assert_eq!(listen(&["app"], &[]), ["127.0.0.1:1", "127.0.0.1:2"]);
    let variables = [("SHOVEL_LISTEN", " 127.0.0.1:3  unix:/x ")];
    assert_eq!(listen(&["app"], &variables), ["127.0.0.1:3", "unix:/x"]);
    assert_eq!(listen(&["--listen", "127.0.0.1:4", "app"], &variables), ["127.0.0.1:4"]);
}

#[test]
fn a_flag_without_a_value_can_be_taken_back() {
    assert!(with_file("dev = true", &["app"], &[]).unwrap().config.dev);
    assert!(!with_file("dev = true", &["--dev=false", "app"], &[]).unwrap().config.dev);
    assert!(!with_file("dev = true", &["app"], &[("SHOVEL_DEV", "0")]).unwrap().config.dev);
    assert!(with_file("", &["--dev", "app"], &[("SHOVEL_DEV", "no")]).unwrap().config.dev);
}

#[test]
fn arguments_belong_to_the_program_that_they_were_written_with() {
    let text = "program = 'one'\nargs = ['--of-one', '1']\n";
    let found = with_file(text, &[], &[]).unwrap().config;
    assert_eq!((found.program, found.args), ("one".into(), vec!["--of-one".into(), "1".into()]));
    let found = with_file(text, &["two"], &[]).unwrap().config;
    assert_eq!((found.program, found.args), ("two".into(), vec![]));
    let found = with_file(text, &["two", "--", "--workers", "x"], &[]).unwrap().config;
    assert_eq!(found.args, ["--workers", "x"]);
    let found = with_file(text, &[], &[("SHOVEL_PROGRAM", "two")]).unwrap().config;
    assert_eq!((found.program, found.args), ("two".into(), vec![]));
    let found = with_file(text, &[], &[("SHOVEL_ARGS", "-x 2")]).unwrap().config;
    assert_eq!(found.args, ["-x", "2"]);
}

/// I65.
#[test]
fn every_mistake_is_told_with_its_place_and_what_was_probably_meant() {
    let text = "worker = 2\n\nrequest-timeout = 5\n[pool]\nx = 1\n";
    let told = with_file(text, &["app"], &[("SHOVEL_IO_THREADS", "many")]).unwrap_err();
    assert_eq!(
        told,
        "SHOVEL_IO_THREADS: invalid value 'many' for io-threads: invalid digit found in \
         string; FILE:1: unknown key 'worker'; did you mean 'workers'?; FILE:3: invalid value \
         '5' for request-timeout: a duration is a whole number with ms, s, m or h, such as \
         250ms; FILE:4: unknown key 'pool'; settings stand in no section"
    );
    for (text, told) in [
        ("workers = [1, 2]", "FILE:1: workers takes one value, not a list"),
        ("workers = { a = 1 }", "FILE:1: workers takes one value"),
        ("listen = [['a']]", "FILE:1: listen takes one value or a list of them"),
        (
            "worker-max-age = 1.5",
            "FILE:1: invalid value '1.5' for worker-max-age: a duration \
          is a whole number with ms, s, m or h, such as 250ms",
        ),
    ] {
        assert_eq!(with_file(text, &["app"], &[]).unwrap_err(), told);
    }
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let told = Sources::of(&["app"], &[("SHOVEL_CONFIG", "/nowhere/pool.toml")]).read();
    let told = told.unwrap_err().to_string();
    assert!(told.starts_with("cannot read /nowhere/pool.toml: No such file"), "{told}");
}

#[test]
fn without_a_program_there_is_no_configuration_to_run() {
    let told = Sources::of(&["--workers=1"], &[]).read().unwrap_err();
    assert!(matches!(told, ConfigError::NoProgram), "{told}");
}

/// Kubernetes has variables for each service: SHOVEL_SERVICE_HOST if one is named so.
#[test]
fn unknown_variables_are_an_advice_at_most_and_empty_ones_nothing() {
    let variables = [
        ("SHOVEL_WORKER", "2"),
        ("SHOVEL_SERVICE_HOST", "10.0.0.1"),
        ("SHOVEL_LINK_FDS", "3"),
        ("SHOVEL_IO_THREADS", ""),
    ];
    let found = Sources::of(&["app"], &variables).read().unwrap();
    assert_eq!(found.config.io_threads, 1);
    assert_eq!(
        found.remarks,
        ["the variable SHOVEL_WORKER means nothing; did you mean SHOVEL_WORKERS?"]
    );
}

#[test]
fn what_can_change_is_read_again_and_what_cannot_is_named_and_stays() {
    let file = file("workers = 2\nio-threads = 1\ndrain-timeout = '5s'\n");
    let path = file.path().to_str().unwrap();
    let sources = Sources::of(&["--config", path, "app"], &[("SHOVEL_CLOSE_SPREAD", "1s")]);
    let before = sources.read().unwrap();
    let rewrite = |text: &str| std::fs::write(path, text).unwrap();

    let text = "workers = 3\nio-threads = 4\nclose-spread = '9s'\nlog-format = 'json'\n";
    rewrite(text);
    let found = sources.read_again(&before.choices).unwrap();
    assert_eq!(found.changed, ["workers", "drain-timeout"]);
    let kept: Vec<_> = found.kept.iter().map(|line| line.replace(path, "FILE")).collect();
    assert_eq!(
        kept,
        [
            "FILE:2: io-threads cannot change while the pool runs: it stays 1, not 4",
            "FILE:4: log-format cannot change while the pool runs: it stays unset, not json",
        ]
    );
    let config = found.effective.config;
    assert_eq!((config.workers, config.io_threads), (3, 1));
    assert_eq!(config.drain_timeout, Duration::from_secs(60), "the default");
    assert_eq!(config.close_spread, Duration::from_secs(1), "the variable's");

    rewrite("workers = 0");
    let told = sources.read_again(&before.choices).unwrap_err().to_string();
    assert!(told.contains("a whole number from 1 to 1024"), "{told}");
}
