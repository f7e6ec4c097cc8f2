//! I67: who may ask a pool, and how one is found.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use shovel_tests::{Options, Pool, Told, operate, program, within};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn folder() -> TempDir {
    TempDir::new().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn sockets(runtime: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(runtime.join("shovel-pool")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn in_folder(runtime: &Path) -> Options {
    Options::app().variable("XDG_RUNTIME_DIR", runtime.to_str().unwrap())
}

/// Starts a pool that cannot come up.
async fn refused(options: &[&str]) -> Told {
    let app = program("fixture-app");
    let arguments = [options, &["--listen", "127.0.0.1:0", app.to_str().unwrap()]].concat();
    operate(folder().path(), &arguments).await
}

#[tokio::test]
async fn the_socket_is_named_by_the_port_is_its_users_alone_and_goes_in_the_end() {
    let runtime = folder();
    let pool = Pool::start(in_folder(runtime.path())).await;
    let name = format!("{}.sock", pool.address().port());
    let path = runtime.path().join("shovel-pool").join(name);
    assert_eq!(sockets(runtime.path()), [&*path]);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(pool.status().await["admin_socket"], path.to_str().unwrap());
    pool.terminate().await;
    assert_eq!(sockets(runtime.path()), [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn without_a_pool_a_subcommand_says_so_in_one_line() {
    let runtime = folder();
    let subcommands: [&[&str]; 7] = [
        &["status"],
        &["workers", "--json"],
        &["connections"],
        &["reload"],
        &["scale", "2"],
        &["publish", "room", "hello"],
        &["top"],
    ];
    for subcommand in subcommands {
        let told = operate(runtime.path(), subcommand).await;
        assert!(told.failure().contains("no pool"), "{told:?}");
    }
    let path = runtime.path().join("nothing.sock");
    let told = operate(runtime.path(), &["status", "--admin-socket", path.to_str().unwrap()]).await;
    assert!(told.failure().contains("nothing.sock"), "{told:?}");
}

#[tokio::test]
async fn with_several_pools_a_subcommand_says_which_there_are() {
    let runtime = folder();
    let first = Pool::start(in_folder(runtime.path())).await;
    let second = Pool::start(in_folder(runtime.path())).await;
    let told = first.operate(&["status"]).await;
    for path in sockets(runtime.path()) {
        assert!(told.failure().contains(path.to_str().unwrap()), "{told:?}");
        let told = first.operate(&["status", "--admin-socket", path.to_str().unwrap()]).await;
        assert!(told.text().contains("generation 1"), "{told:?}");
    }
    // One that was killed leaves a file that nobody is misled by.
    let mut second = second;
    second.kill();
    assert_eq!(sockets(runtime.path()).len(), 2);
    assert_eq!(first.status().await["pid"], first.pid());
    // The next pool clears it away, wherever it listens itself.
    let third = Pool::start(in_folder(runtime.path())).await;
    assert_eq!(sockets(runtime.path()).len(), 2);
    third.terminate().await;
    assert_eq!(sockets(runtime.path()).len(), 1);
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
    let runtime = folder();
    let path = runtime.path().join("chosen.sock");
    let path = path.to_str().unwrap();
    let mut first = Pool::start(Options::app().with("--admin-socket", path)).await;
    let told = refused(&["--admin-socket", path]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("another pool has the admin socket"), "{told:?}");
    assert_eq!(told.err.lines().count(), 1, "{told:?}");
    first.kill();
    assert!(Path::new(path).exists());
    let second = Pool::start(Options::app().with("--admin-socket", path)).await;
    let status = second.operate(&["status", "--json", "--admin-socket", path]).await.json();
    assert_eq!(status["pid"], second.pid());
    second.terminate().await;
    assert!(!Path::new(path).exists());
}

#[tokio::test]
async fn a_path_that_cannot_be_used_keeps_the_pool_from_starting() {
    let runtime = folder();
    let file = runtime.path().join("notes.txt");
    fs::write(&file, "precious").unwrap();
    let missing = runtime.path().join("missing/a.sock");
    for path in [&file, &missing] {
        let path = path.to_str().unwrap();
        let told = refused(&["--admin-socket", path]).await;
        assert_eq!(told.code, Some(1), "{told:?}");
        assert_eq!(told.err.lines().count(), 1, "{told:?}");
        assert!(told.err.contains(path), "{told:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

/// Only root can try this.
#[tokio::test]
async fn another_user_is_refused_even_where_the_file_would_let_them_in() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let runtime = folder();
    let path = runtime.path().join("open.sock");
    let pool = Pool::start(Options::app().with("--admin-socket", path.to_str().unwrap())).await;
    let ask = async || {
        let code = "import socket,sys\n\
                    s = socket.socket(socket.AF_UNIX)\n\
                    s.connect(sys.argv[1])\n\
                    s.sendall(b'{\"ask\":\"status\"}\\n')\n\
                    print(len(s.recv(1000)))";
        let mut command = tokio::process::Command::new("python3");
        command.args(["-c", code, path.to_str().unwrap()]).uid(65534).gid(65534);
        let output = within("another user", command.output()).await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask().await, "");
    fs::set_permissions(runtime.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_ne!(ask().await.trim(), "1000");
    pool.wait_for("a warning", |line| line.raw.contains("neither this user nor root")).await;
    let told = pool.operate(&["status", "--admin-socket", path.to_str().unwrap()]).await;
    assert!(told.text().contains("generation 1"));
}

#[tokio::test]
async fn nonsense_and_those_who_say_nothing_hold_nobody_up() {
    let runtime = folder();
    let pool = Pool::start(in_folder(runtime.path())).await;
    let path = sockets(runtime.path()).remove(0);
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(UnixStream::connect(&path).await.unwrap());
    }
    for nonsense in ["hello\n", "{\"ask\":\"fly\"}\n", "\0\n", "{}\n", "[[[[[[[[\n"] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("{\"error\":"), "{answer}");
    }
    let mut endless = UnixStream::connect(&path).await.unwrap();
    let chunk = [b'x'; 64 << 10];
    // It is not read to the end, so that writing fails in the end.
    let write = async { while endless.write_all(&chunk).await.is_ok() {} };
    within("the end of patience with a line that does not end", write).await;
    assert_eq!(pool.status().await["pid"], pool.pid());
    // In the end those who say nothing are let go.
    let mut nothing = Vec::new();
    within("the end", silent[0].read_to_end(&mut nothing)).await.unwrap();
    assert!(nothing.is_empty());
}

/// L203.
#[tokio::test]
async fn a_question_that_is_too_long_or_does_not_end_is_answered_so() {
    let runtime = folder();
    let _pool = Pool::start(in_folder(runtime.path())).await;
    let path = sockets(runtime.path()).remove(0);
    let mut begun = UnixStream::connect(&path).await.unwrap();
    begun.write_all(b"{\"ask\":").await.unwrap();
    // More than is read at once, and less than the system holds.
    for len in [17 << 10, 100 << 10] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(&vec![b' '; len]).await.unwrap();
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer, "{\"error\":\"a question has at most 16384 bytes\"}\n");
        // What it says from then on is dropped.
        stream.write_all(b"more").await.unwrap();
    }
    let mut answer = String::new();
    within("an answer", begun.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "{\"error\":\"the question does not end\"}\n");
}

#[tokio::test]
async fn wrong_usage_of_a_subcommand_exits_2() {
    let runtime = folder();
    let wrong: [&[&str]; 7] = [
        &["status", "more"],
        &["status", "--workers", "2"],
        &["scale"],
        &["scale", "0"],
        &["scale", "many"],
        &["publish"],
        &["connections", "--limit", "all"],
    ];
    for arguments in wrong {
        let told = operate(runtime.path(), arguments).await;
        assert_eq!(told.code, Some(2), "{arguments:?}: {told:?}");
        assert!(told.err.contains("error:"), "{told:?}");
    }
}

#[tokio::test]
async fn each_subcommand_tells_what_it_takes() {
    for name in ["status", "workers", "connections", "reload", "scale", "publish", "top"] {
        for flag in ["--help", "-h"] {
            let told = operate(Path::new("/"), &[name, flag]).await;
            assert!(told.text().contains("--admin-socket"), "{told:?}");
        }
    }
    let told = operate(Path::new("/"), &["--help"]).await;
    assert!(told.text().starts_with("Runs PROGRAM as a pool"), "{told:?}");
}

#[tokio::test]
async fn top_draws_the_pool_until_it_is_told_to_end_and_leaves_the_terminal_as_it_was() {
    let pool = Pool::start(Options::app()).await;
    let path = pool.status().await["admin_socket"].as_str().unwrap().to_owned();
    // A terminal of 120 columns; what is drawn goes to stdout.
    let code = "import fcntl, os, pty, struct, sys, termios\n\
                pid, terminal = pty.fork()\n\
                if pid == 0: os.execv(sys.argv[1], sys.argv[1:])\n\
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 120, 0, 0))\n\
                drawn = b''\n\
                while b'q quit' not in drawn or b'WebSockets' not in drawn:\n\
                \x20   drawn += os.read(terminal, 65536)\n\
                os.write(terminal, b's')\n\
                os.write(terminal, b'q')\n\
                try:\n\
                \x20   while more := os.read(terminal, 65536): drawn += more\n\
                except OSError: pass\n\
                sys.stdout.buffer.write(drawn)\n\
                sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
    let mut command = tokio::process::Command::new("python3");
    command.args(["-c", code]).arg(program("shovel-pool"));
    command.args(["top", "--interval", "50ms", "--admin-socket", &path]).kill_on_drop(true);
    let output = within("the end of top", command.output()).await.unwrap();
    let drawn = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{drawn}");
    // The other screen is entered and left again.
    let left = drawn.rfind("\u{1b}[?1049l");
    assert!(drawn.find("\u{1b}[?1049h") < left && left.is_some(), "{drawn}");
}

#[tokio::test]
async fn a_program_called_as_a_subcommand_is_reached_by_its_path() {
    let folder = folder();
    fs::copy(program("fixture-app"), folder.path().join("status")).unwrap();
    let pool = Pool::start(Options::program(folder.path().join("status"))).await;
    assert!(pool.status().await["program"].as_str().unwrap().ends_with("/status"));
    let told = operate(folder.path(), &["--listen", "127.0.0.1:0", "statsu"]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("statsu was not found in PATH"), "{told:?}");
    // A flag in front makes it a start, of a program that nobody means.
    let told = operate(folder.path(), &["--admin-socket", "/x/y.sock", "status"]).await;
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("./status"), "{told:?}");
}
