//! Reloads that nobody asks for, while a program is being developed.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use shovel_tests::{Deploy, Line, Options, Pool, get, is_alive, program, until};
use tempfile::TempDir;

async fn label(pool: &Pool) -> String {
    let info = get(pool.address(), "/info").await.json();
    info["label"].as_str().unwrap_or_default().to_owned()
}

fn count(pool: &Pool, message: &str) -> usize {
    pool.log().lines().iter().filter(|line| line.is(message)).count()
}

/// K75.
#[tokio::test]
async fn a_program_that_is_replaced_is_loaded_without_a_word() {
    let deploy = Deploy::of("first");
    let pool = Pool::start(Options::deployed(&deploy).flag("--watch")).await;
    assert_eq!(label(&pool).await, "first");
    deploy.app("second");
    pool.wait_for_reload(2).await;
    assert_eq!(label(&pool).await, "second");
    deploy.app_in_place("third");
    pool.wait_for_reload(3).await;
    assert_eq!(label(&pool).await, "third");
}

/// K75: as a linker writes, in parts and with pauses.
#[tokio::test]
async fn a_program_is_not_loaded_while_it_is_being_written() {
    let deploy = Deploy::of("first");
    let pool = Pool::start(Options::deployed(&deploy).flag("--watch")).await;
    let whole = labelled(&deploy, "second");
    let mut file = fs::File::create(deploy.path()).unwrap();
    for part in whole.chunks(whole.len().div_ceil(3)) {
        file.write_all(part).unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(count(&pool, "reload started"), 0);
    drop(file);
    pool.wait_for_reload(2).await;
    assert_eq!(label(&pool).await, "second");
    assert_eq!(count(&pool, "reload abandoned"), 0);
}

/// What lies there when this label is deployed, which is then as it was before.
fn labelled(deploy: &Deploy, label: &str) -> Vec<u8> {
    let before = fs::read(deploy.path()).unwrap();
    let elsewhere = Deploy::of(label);
    assert_eq!(fs::read(deploy.path()).unwrap(), before);
    fs::read(elsewhere.path()).unwrap()
}

/// K75: with the folder that it lies in, as `cargo clean` does.
#[tokio::test]
async fn a_program_that_is_deleted_and_made_anew_is_loaded() {
    let folder = TempDir::new().unwrap();
    let (debug, app) = (folder.path().join("debug"), folder.path().join("debug/app"));
    let put = |label: &str| {
        fs::create_dir_all(&debug).unwrap();
        fs::copy(Deploy::of(label).path(), &app).unwrap();
    };
    put("first");
    let pool = Pool::start(Options::program(&app).flag("--watch")).await;
    fs::remove_dir_all(&debug).unwrap();
    assert_eq!(label(&pool).await, "first");
    put("second");
    pool.wait_for_reload(2).await;
    assert_eq!(label(&pool).await, "second");
}

/// K75.
#[tokio::test]
async fn a_program_that_cannot_start_is_waited_for() {
    let deploy = Deploy::of("x");
    deploy.script("echo cannot >&2; exit 3");
    let mut pool = Pool::launch(Options::deployed(&deploy).flag("--watch"));
    pool.wait_until_it_listens().await;
    until("four failures", || count(&pool, "worker exited") >= 4).await;
    deploy.app("mended");
    pool.wait_until_ready(2, 1).await;
    assert_eq!(label(&pool).await, "mended");
}

/// K75.
#[tokio::test]
async fn a_program_that_is_not_there_yet_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let app = folder.path().join("debug/app");
    let mut pool = Pool::launch(Options::program(&app).flag("--watch"));
    let waits =
        |line: &Line| line.message().ends_with("does not exist; waiting for another program");
    pool.wait_for("its patience", waits).await;
    fs::create_dir(folder.path().join("debug")).unwrap();
    fs::copy(Deploy::of("first").path(), &app).unwrap();
    pool.wait_until_ready(2, 1).await;
    pool.wait_until_it_listens().await;
    assert_eq!(label(&pool).await, "first");
}

/// K75.
#[tokio::test]
async fn files_beside_the_program_can_be_watched_too() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("target")).unwrap();
    let watched = folder.path().to_str().unwrap();
    let pool = Pool::start(Options::app().with("--watch-path", watched)).await;
    fs::write(folder.path().join("target/built"), "x").unwrap();
    fs::write(folder.path().join("page.html"), "x").unwrap();
    pool.wait_for_reload(2).await;
    assert_eq!(count(&pool, "reload started"), 1);
}

/// A project whose program is the fixture app, labelled with what its source says.
struct Project {
    folder: TempDir,
}

impl Project {
    fn new(source: &str) -> Self {
        let project = Project { folder: TempDir::new().unwrap() };
        for name in ["src", "target"] {
            fs::create_dir(project.path(name)).unwrap();
        }
        project.write(source);
        let script = format!(
            "#!/bin/sh\n\
             source=$(cat src/label)\n\
             if [ \"$source\" = broken ]; then echo 'error: there is no such label' >&2; exit 1; fi\n\
             if [ -e gated ]; then echo waiting; until [ -e target/gate ]; do sleep 0.02; done; fi\n\
             if [ -e endless ]; then sleep 600 & echo $! >target/pid; wait; fi\n\
             cp '{}' target/app && printf '\\nlabel=%s' \"$source\" >>target/app\n",
            program("fixture-app").display()
        );
        fs::write(project.path("build.sh"), script).unwrap();
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, source: &str) {
        fs::write(self.path("src/label"), source).unwrap();
    }

    fn options(&self) -> Options {
        let folder = self.folder.path().to_str().unwrap();
        Options::program(self.path("target/app"))
            .with("--build", &format!("cd '{folder}' && sh build.sh"))
            .with("--watch-path", folder)
    }
}

/// K76.
#[tokio::test]
async fn the_program_is_built_at_the_start_and_whenever_a_source_changes() {
    let project = Project::new("first");
    let pool = Pool::start(project.options()).await;
    assert_eq!(label(&pool).await, "first");
    project.write("second");
    pool.wait_for_reload(2).await;
    assert_eq!(label(&pool).await, "second");
    fs::create_dir(project.path("src/room")).unwrap();
    pool.wait_for_reload(3).await;
    assert_eq!(count(&pool, "building"), 3, "what builds write builds nothing:\n{}", pool.log());
}

/// K76.
#[tokio::test]
async fn a_failed_build_is_shown_and_loads_nothing() {
    let project = Project::new("broken");
    let mut pool = Pool::launch(project.options());
    pool.wait_for("a failure", |line| line.is("build failed")).await;
    project.write("first");
    pool.wait_until_ready(1, 1).await;
    pool.wait_until_it_listens().await;
    assert_eq!(label(&pool).await, "first");
    project.write("broken");
    until("another failure", || count(&pool, "build failed") == 2).await;
    let is_word = |line: &&Line| line.text("line") == "error: there is no such label";
    assert_eq!(pool.log().lines().iter().filter(is_word).count(), 2);
    assert_eq!(label(&pool).await, "first");
    assert_eq!(count(&pool, "reload started"), 0);
    project.write("second");
    pool.wait_for_reload(2).await;
    assert_eq!(label(&pool).await, "second");
}

/// K76.
#[tokio::test]
async fn changes_during_a_build_make_one_more_and_a_reload_waits_for_it() {
    let project = Project::new("first");
    let pool = Pool::start(project.options()).await;
    fs::write(project.path("gated"), "").unwrap();
    until("the second build", || count(&pool, "building") == 2).await;
    for source in ["second", "third", "fourth"] {
        project.write(source);
    }
    pool.sighup();
    pool.wait_for("the reload that waits", |line| line.is("reload started")).await;
    fs::write(project.path("target/gate"), "").unwrap();
    until("the third build", || count(&pool, "built") == 3).await;
    pool.wait_for_reload(3).await;
    assert_eq!(label(&pool).await, "fourth");
    assert_eq!(count(&pool, "building"), 3);
    assert_eq!(count(&pool, "reload abandoned"), 0);
}

/// K76.
#[tokio::test]
async fn a_build_ends_with_the_pool_and_so_does_all_that_it_has_started() {
    let project = Project::new("first");
    fs::write(project.path("endless"), "").unwrap();
    let mut pool = Pool::launch(project.options());
    let mut child = None;
    until("the build's child", || {
        let found = fs::read_to_string(project.path("target/pid")).unwrap_or_default();
        child = found.trim().parse::<u32>().ok();
        child.is_some()
    })
    .await;
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
    until("the end of the build's child", || !is_alive(child.unwrap())).await;
}

/// K76.
#[test]
fn what_cannot_be_watched_ends_the_start_with_its_name() {
    let app = program("fixture-app");
    let arguments = ["--listen", "127.0.0.1:0", "--watch-path", "/nowhere"];
    let mut command = Command::new(program("shovel-pool"));
    let output = command.args(arguments).arg(app).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("cannot watch /nowhere: No such file"), "{told}");
}

/// K77.
#[test]
fn the_log_of_development_has_colours_on_a_terminal_unless_they_are_refused() {
    // Python gives it a terminal for its stderr.
    let code = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let shown = |refused: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", code]).arg(program("shovel-pool"));
        command.args(["--listen=127.0.0.1:0", "--dev", "/nowhere"]).env("NO_COLOR", refused);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    let (coloured, plain) = (shown(""), shown("1"));
    assert!(coloured.contains("\x1b[1m/nowhere does not exist\x1b[0m"), "{coloured:?}");
    assert!(plain.contains("error /nowhere does not exist"), "{plain:?}");
    assert!(!plain.contains('\x1b'), "{plain:?}");
}

/// K77.
#[tokio::test]
async fn the_log_of_development_tells_who_says_what() {
    let pool = Pool::launch(Options::app().flag("--dev").log_in_text());
    let ready = pool.wait_for("a ready worker", |line| line.raw.contains("worker ready")).await;
    assert!(ready.raw.contains("worker ready worker=1 "), "{}", ready.raw);
    assert!(!ready.raw.contains('\x1b'), "{}", ready.raw);
    let deploy = Deploy::of("x");
    deploy.script("echo it is so; sleep 60");
    let pool = Pool::launch(Options::deployed(&deploy).flag("--dev").log_in_text());
    let says = |line: &Line| line.raw.ends_with(" worker 1 | it is so");
    pool.wait_for("the words of the program", says).await;
}
