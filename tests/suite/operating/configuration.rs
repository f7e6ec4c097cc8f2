//! I65: settings, from wherever they come.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use shovel_tests::{Deploy, Line, Options, Pool, Raw, get, program};
use tempfile::TempDir;

/// A configuration file that is written over while a pool reads it.
struct File {
    folder: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let file = File { folder: TempDir::new().unwrap() };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("pool.toml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program("shovel-pool"));
    command.args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", told(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn runs(program: &Path) -> String {
    format!("program = '{}'\n", program.display())
}

/// I65.
#[test]
fn flags_overrule_variables_and_variables_the_file() {
    let file = File::new("workers = 2\nio-threads = 2\nrequest-timeout = \"2s\"\n");
    let path = file.path();
    let path = path.to_str().unwrap();
    let variables = [("SHOVEL_WORKERS", "3"), ("SHOVEL_IO_THREADS", "3"), ("SHOVEL_CONFIG", path)];
    let printed = printed(&run(&["--workers", "4", "--print-config"], &variables));
    for line in [
        "workers = 4  # --workers".to_owned(),
        "io-threads = 3  # SHOVEL_IO_THREADS".to_owned(),
        format!("request-timeout = \"2s\"  # {path}:3"),
        "drain-timeout = \"60s\"  # default".to_owned(),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}:\n{printed}");
    }
}

/// I65.
#[test]
fn mistakes_exit_2_each_in_a_line_with_its_place() {
    let file = File::new("wokers = 2\n\ndrain-timeout = \"soon\"\nlisten = 8080\n");
    let path = file.path();
    let path = path.to_str().unwrap();
    let output = run(&["--config", path, "app"], &[("SHOVEL_PING_INTERVAL", "0s")]);
    assert_eq!(output.status.code(), Some(2));
    let expected = format!(
        "error: SHOVEL_PING_INTERVAL: invalid value '0s' for ping-interval: this duration must be \
         longer than zero\n\
         error: {path}:1: unknown key 'wokers'; did you mean 'workers'?\n\
         error: {path}:3: invalid value 'soon' for drain-timeout: a duration is a whole number \
         with ms, s, m or h, such as 250ms\n\
         error: {path}:4: invalid value '8080' for listen: "
    );
    let told = told(&output);
    assert!(told.starts_with(&expected), "{told}");
    assert_eq!(told.lines().count(), 4, "{told}");
}

/// I65.
#[test]
fn a_file_that_cannot_be_read_exits_2_with_one_line() {
    let file = File::new("workers = = 2\n");
    let path = file.path();
    let broken = format!("{}:1: ", path.display());
    for (path, named) in
        [("/nowhere.toml", "cannot read /nowhere.toml: "), (path.to_str().unwrap(), &broken)]
    {
        let output = run(&["--config", path, "app"], &[]);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.starts_with(&format!("error: {named}")), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

/// I65.
#[tokio::test]
async fn what_is_printed_as_the_configuration_can_be_used_as_is() {
    let app = program("fixture-app");
    let arguments = ["--workers=2", "--dev", "--print-config", app.to_str().unwrap()];
    let file = File::new(&printed(&run(&arguments, &[])));
    let pool = Pool::start(Options::configured_by(file.path(), 2)).await;
    assert_eq!(get(pool.address(), "/info").await.status, 200);
    let again = run(&["--config", file.path().to_str().unwrap(), "--print-config"], &[]);
    let values = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split("  #").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(values(&printed(&again)), values(&first));
}

/// I65.
#[tokio::test]
async fn a_variable_that_looks_like_a_setting_is_pointed_out() {
    let pool = Pool::start(Options::app().variable("SHOVEL_WROKERS", "4")).await;
    let is_it = |line: &Line| line.raw.contains("did you mean SHOVEL_WORKERS?");
    pool.wait_for("an advice", is_it).await;
}

/// I65.
#[tokio::test]
async fn a_reload_reads_the_file_again_and_names_what_cannot_change() {
    let deploys = [Deploy::of("first"), Deploy::of("second")];
    let file = File::new(&format!("workers = 1\n{}", runs(&deploys[0].path())));
    let pool = Pool::start(Options::configured_by(file.path(), 1)).await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "first");

    let text = "workers = 2\nrequest-timeout = '150ms'\nio-threads = 3\n";
    file.write(&format!("{text}{}", runs(&deploys[1].path())));
    pool.reload(2).await;
    pool.wait_until_ready(2, 2).await;
    assert_eq!(pool.workers().len(), 2);
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "second");
    assert_eq!(get(pool.address(), "/gated?gate=never").await.status, 504, "the new timeout");
    let kept = "io-threads cannot change while the pool runs: it stays unset, not 3";
    let line = pool.wait_for("what cannot change", |line| line.message().ends_with(kept)).await;
    assert!(line.message().starts_with(&format!("{}:3: ", file.path().display())), "{}", line.raw);
    let changed = pool.wait_for("what has changed", |line| line.is("settings changed")).await;
    assert_eq!(changed.text("keys"), "workers request-timeout program");
}

/// I65. The default would let the first ping wait for 30 s.
#[tokio::test]
async fn a_shorter_ping_interval_reaches_connections_that_are_idle_already() {
    let app = runs(&program("fixture-app"));
    let file = File::new(&app);
    let options = Options::configured_by(file.path(), 1).with("--workers", "1");
    let pool = Pool::start(options).await;
    let mut raw = Raw::websocket(pool.address(), "/ws").await;
    file.write(&format!("close-spread = '10m'\nping-interval = '100ms'\n{app}"));
    pool.sighup();
    assert_eq!(raw.frame().await.opcode, 9, "a ping");
}

/// I65.
#[tokio::test]
async fn a_bad_file_fails_the_reload_and_the_pool_goes_on_as_before() {
    let deploy = Deploy::of("first");
    let good = format!("workers = 1\n{}", runs(&deploy.path()));
    let file = File::new(&good);
    let pool = Pool::start(Options::configured_by(file.path(), 1)).await;
    deploy.app("second");
    file.write(&format!("worker = 2\n{}", runs(&deploy.path())));
    pool.sighup();
    let line = pool.wait_for("the refusal", |line| line.is("reload refused")).await;
    let why = format!("{}:1: unknown key 'worker'; did you mean 'workers'?", file.path().display());
    assert_eq!(line.text("why"), why);
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "first");
    file.write(&good);
    pool.reload(2).await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "second");
}

/// I65, E45: a restart within a generation is not touched by settings of the next.
#[tokio::test]
async fn a_worker_restarted_after_a_failed_reload_is_started_as_its_generation_was() {
    let deploy = Deploy::of("first");
    let file = File::new(&runs(&deploy.path()));
    let options = Options::configured_by(file.path(), 1).with("--workers", "1");
    let pool = Pool::start(options).await;
    let first = pool.workers()[0].pid;
    file.write("program = '/nowhere'\nargs = ['x']\n");
    pool.sighup();
    pool.wait_for("the end of the reload", |line| line.is("reload abandoned")).await;
    pool.kill_worker(first);
    pool.wait_until_ready(1, 2).await;
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "first");
}

/// I65.
#[test]
fn completions_are_for_each_shell_and_bash_can_use_them() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&run(&["--completions", shell], &[]));
        assert!(script.contains("drain-timeout"), "{shell}: {script}");
    }
    let script = printed(&run(&["--completions", "bash"], &[]));
    let asked = format!(
        "{script}\nCOMP_WORDS=(shovel-pool --drain); COMP_CWORD=1\n\
         _shovel__pool shovel-pool --drain shovel-pool; echo \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &asked]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "--drain-timeout");
}

/// I65.
#[test]
fn the_manual_page_is_one() {
    let page = printed(&run(&["--man"], &[]));
    assert!(page.contains(".TH shovel-pool 1"), "{page}");
    let name = page.split(".SH NAME\n").nth(1).unwrap();
    let words = name.lines().take_while(|line| !line.starts_with('.'));
    assert_eq!(words.count(), 1, "NAME is one line: {name}");
    for part in ["--drain-timeout", "SHOVEL_DRAIN_TIMEOUT", ".SH SIGNALS"] {
        assert!(page.replace("\\-", "-").contains(part), "{part}: {page}");
    }
}
