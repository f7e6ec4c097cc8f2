//! What the command line takes and refuses. Wrong input gets one clear line and the right exit
//! code: 2 for usage, 1 for a failure.

use std::process::{Command, Output};

use shovel_tests::{Options, Pool, Raw, get, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn run(arguments: &[&str]) -> Output {
    Command::new(program("shovel-pool")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_names_every_flag_and_its_default() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in [
        "--workers",
        "--io-threads",
        "--listen",
        "--request-timeout",
        "--upgrade-timeout",
        "--queue-timeout",
        "--ready-timeout",
        "--hang-timeout",
        "--drain-timeout",
        "--shutdown-timeout",
        "--close-spread",
        "--ping-interval",
        "--pong-timeout",
        "--max-message-size",
        "--outbox-limit",
        "--worker-max-requests",
        "--worker-max-age",
        "--worker-max-rss",
        "--admin-socket",
        "--admin-listen",
        "--log-format",
        "--dev",
    ] {
        assert!(help.contains(flag), "{flag} is missing:\n{help}");
    }
    for command in ["status", "workers", "connections", "reload", "scale", "publish", "top"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is missing:\n{help}");
    }
    assert!(help.starts_with("Runs PROGRAM as a pool"), "{help}");
    for default in ["127.0.0.1:8080", "30s", "16MiB"] {
        assert!(help.contains(default), "{default} is missing:\n{help}");
    }
}

#[test]
fn version_is_told() {
    let output = run(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("shovel-pool "));
}

#[test]
fn wrong_usage_exits_2_and_names_the_flag() {
    for (arguments, named) in [
        (&["--no-such-flag", "x"][..], "--no-such-flag"),
        (&[], "PROGRAM"),
        (&["--request-timeout", "5", "x"], "--request-timeout"),
        (&["--drain-timeout", "soon", "x"], "--drain-timeout"),
        (&["--max-message-size", "16 apples", "x"], "--max-message-size"),
        (&["--outbox-limit=-1", "x"], "--outbox-limit"),
        (&["--workers", "0", "x"], "--workers"),
        (&["--workers", "many", "x"], "--workers"),
        (&["--io-threads", "0", "x"], "--io-threads"),
        (&["--listen", "nowhere", "x"], "--listen"),
        (&["--log-format", "xml", "x"], "--log-format"),
    ] {
        let output = run(arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.to_uppercase().contains(&named.to_uppercase()), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// E46.
#[test]
fn a_program_that_cannot_be_run_exits_1_with_one_line_that_says_which_and_why() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "not a program").unwrap();
    let missing = folder.path().join("missing");
    for (path, why) in [(&missing, "does not exist"), (&file, "not executable")] {
        let path = path.to_str().unwrap();
        let output = run(&["--listen", "127.0.0.1:0", path]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let telling = said.lines().filter(|line| line.contains(path)).collect::<Vec<_>>();
        assert_eq!(telling.len(), 1, "{said}");
        assert!(telling[0].contains(why), "{said}");
    }
}

#[test]
fn a_port_in_use_exits_1_with_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let app = program("fixture-app");
    let output = run(&["--listen", &address, app.to_str().unwrap()]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let telling = said.lines().filter(|line| line.contains(&address)).collect::<Vec<_>>();
    assert_eq!(telling.len(), 1, "{said}");
    assert!(telling[0].contains("in use"), "{said}");
}

#[tokio::test]
async fn every_listen_address_is_listened_on_a_unix_socket_too() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("pool.sock");
    let options = Options::app().with("--listen", &format!("unix:{}", path.display()));
    let pool = Pool::start(options).await;
    assert_eq!(get(pool.address(), "/info").await.status, 200);
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /info HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#""client":null"#), "{answer}");
    pool.terminate().await;
    assert!(!path.exists(), "the socket's file is left behind");
}

#[tokio::test]
async fn an_inherited_descriptor_is_listened_on() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("address");
    // Python opens the socket and becomes the supervisor's shell with it as descriptor 5.
    let script = folder.path().join("inherit.py");
    let code = format!(
        "import os, socket, sys\n\
         s = socket.create_server(('127.0.0.1', 0))\n\
         os.dup2(s.fileno(), 5)\n\
         open({path:?}, 'w').write('%s:%d' % s.getsockname())\n\
         os.execv(sys.argv[1], sys.argv[1:])\n"
    );
    std::fs::write(&script, code).unwrap();
    let launcher = format!("set -- python3 '{}' \"$@\"", script.display());
    let pool = Pool::launch(Options::app().listen("fd:5").after(&launcher));
    pool.wait_until_ready(1, 1).await;
    let address = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    assert_eq!(get(address, "/info").await.status, 200);
}

#[test]
fn a_descriptor_that_cannot_be_listened_on_exits_1_with_one_line() {
    let app = program("fixture-app");
    for (redirection, listen) in [
        ("3<&-", &["fd:3"][..]),
        ("3</dev/null", &["fd:3"]),
        ("3<&-", &["127.0.0.1:0", "fd:3", "fd:3"]),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$@\" {redirection}"), "sh"]);
        command.arg(program("shovel-pool"));
        command.args(listen.iter().flat_map(|address| ["--listen", address])).arg(&app);
        let output = command.output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{redirection} {listen:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{redirection} {listen:?}: {said}");
        assert!(said.contains("descriptor 3"), "{redirection} {listen:?}: {said}");
        assert_eq!(said.contains("twice"), listen.len() > 1, "{listen:?}: {said}");
    }
}

#[tokio::test]
async fn host_and_port_are_honoured_when_no_address_is_given() {
    // A free port that nobody else asks for between here and there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut pool = Pool::launch(
        Options::app()
            .without_listen()
            .variable("HOST", "127.0.0.1")
            .variable("PORT", &port.to_string()),
    );
    pool.wait_until_it_listens().await;
    assert_eq!(pool.address().port(), port);
    pool.sigterm();
    pool.exit_status().await;
}

#[tokio::test]
async fn a_log_in_text_tells_the_address_and_the_workers() {
    let pool = Pool::launch(Options::app().log_in_text());
    let line = pool.wait_for("the address", |line| line.raw.contains("listening")).await;
    assert!(line.raw.contains("127.0.0.1:"), "{}", line.raw);
    pool.wait_for("a ready worker", |line| line.raw.contains("worker ready")).await;
}

/// Several requests at a listener with two I/O threads are all answered.
#[tokio::test]
async fn connections_are_taken_by_every_io_thread() {
    let pool = Pool::start(Options::app().with("--io-threads", "4")).await;
    let mut clients = Vec::new();
    for _ in 0..32 {
        let mut raw = Raw::connect(pool.address()).await;
        raw.write("GET /info HTTP/1.1\r\nHost: a\r\n\r\n").await;
        clients.push(raw);
    }
    for client in &mut clients {
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    }
}

/// I66.
#[tokio::test]
async fn an_app_by_itself_says_in_one_line_why_it_cannot_listen() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (port, why) in [("x", "the variable PORT is no port: 'x'"), (&*port, "in use")] {
        let mut command = Command::new(program("user-app"));
        let output = command.env("HOST", "127.0.0.1").env("PORT", port).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let told = stderr(&output);
        assert!(told.starts_with("Error: cannot listen: ") && told.contains(why), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

/// I65 and I66.
#[test]
fn an_app_by_itself_says_which_variables_are_wrong_and_why() {
    let mut command = Command::new(program("user-app"));
    command.env("SHOVEL_PING_INTERVAL", "soon").env("SHOVEL_ALLOW_ORIGIN", "http://a.test b.test");
    let output = command.env("HOST", "127.0.0.1").env("PORT", "0").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told = stderr(&output);
    for part in [
        "Error: SHOVEL_",
        "SHOVEL_PING_INTERVAL: invalid value 'soon' for ping-interval: a duration is a whole number",
        "SHOVEL_ALLOW_ORIGIN: invalid value 'b.test' for allow-origin: an origin is SCHEME://HOST",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    assert_eq!(told.lines().count(), 1, "{told}");
}

/// I65 and I66.
#[tokio::test]
async fn an_app_by_itself_names_the_variables_that_mean_nothing_to_it() {
    let options = Options::app().alone().workers(2).with("--io-threads", "2");
    let pool = Pool::start(options.with("--pnig-interval", "1s")).await;
    let lines = pool.log().lines();
    let line = lines.iter().find(|line| line.raw.contains("mean nothing without a supervisor"));
    let line = &line.expect("a line about them").raw;
    assert!(line.ends_with(": SHOVEL_IO_THREADS, SHOVEL_PNIG_INTERVAL"), "{line}");
}

/// I66 and F52: those who do not end in time are not waited for.
#[tokio::test]
async fn an_app_by_itself_that_does_not_end_in_time_exits_with_a_failure() {
    let options = Options::app().alone().with("--shutdown-timeout", "100ms");
    let mut alone = Pool::start(options).await;
    get(alone.address(), "/background?gate=never").await;
    alone.sigterm();
    assert_eq!(alone.exit_status().await.code(), Some(1), "{}", alone.log());
}

/// I66, and F52 without a supervisor.
#[tokio::test]
async fn an_app_by_itself_ends_as_a_pool_does() {
    let mut alone = Pool::start(Options::app().alone()).await;
    let mut socket = shovel_tests::WebSocket::connect(alone.address(), "/ws").await;
    socket.send("info").await;
    let info = socket.next_json().await;
    let connection = info["id"].as_str().unwrap().to_owned();
    alone.sigterm();
    socket.expect_close(1001, "server shutting down").await;
    let close = alone.wait_for_close_event(&connection).await;
    assert_eq!(close["code"], 1001);
    assert_eq!(alone.exit_status().await.code(), Some(0), "{}", alone.log());
}
