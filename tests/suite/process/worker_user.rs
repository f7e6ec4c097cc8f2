//! L107 to L109: what processes of the same user, and of another, can do to the supervisor.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;

use nix::unistd::geteuid;
use shovel_tests::{
    Deploy, Options, Pool, WebSocket, can_unshare, get, is_alive, operate, program, until, within,
};
use tempfile::TempDir;

/// A user that owns nothing, and a group without members.
const NOBODY: &str = "65534:64321";

/// What only root can try is skipped with a reason.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        println!("skipped: only root can start processes of another user");
    }
    is_root
}

fn field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A folder that everybody can use.
fn open_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// The supervisor itself as a user who is not root: root may look into everything.
fn as_nobody(options: Options) -> Options {
    let become_nobody = "setpriv --reuid 65534 --regid 64321 --clear-groups";
    options.after(&format!("set -- {become_nobody} \"$@\""))
}

fn can_nobody_start_it() -> bool {
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "64321", "--clear-groups"]);
    let output = command.arg(program("shovel-pool")).arg("--version").output();
    let can = is_root() && output.is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: another user cannot start the program");
    }
    can
}

/// L107: what a process of the supervisor's own user is told that opens its memory.
async fn opened(pid: u32) -> String {
    let code = "import sys\n\
                try: open('/proc/%s/mem' % sys.argv[1], 'rb'); print('open')\n\
                except PermissionError: print('refused')";
    let mut command = tokio::process::Command::new("python3");
    command.args(["-c", code, &pid.to_string()]).uid(65534).gid(64321);
    let output = within("a look", command.output()).await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// L107.
#[tokio::test]
async fn a_process_of_the_same_user_cannot_read_the_supervisors_memory() {
    if !can_nobody_start_it() {
        return;
    }
    let runtime = open_folder();
    let runtime = runtime.path().to_str().unwrap();
    for (flags, expected) in [(&[][..], "refused"), (&["--dumpable"], "open")] {
        let options = Options::app().variable("XDG_RUNTIME_DIR", runtime);
        let options = flags.iter().fold(options, |options, flag| options.flag(flag));
        let pool = Pool::start(as_nobody(options)).await;
        assert_eq!(opened(pool.pid()).await, expected, "{flags:?}");
        assert_eq!(get(pool.address(), "/info").await.status, 200);
        // A worker is a program as any.
        assert_eq!(opened(pool.workers()[0].pid).await, "open", "{flags:?}");
        pool.reload(2).await;
        pool.terminate().await;
    }
}

/// L108.
#[tokio::test]
async fn workers_are_another_user_with_its_groups_and_no_capabilities() {
    if !is_root() {
        return;
    }
    let pool = Pool::start(Options::app().with("--worker-user", NOBODY)).await;
    let worker = pool.workers()[0].pid;
    assert_eq!(field(worker, "Uid:"), ["65534"; 4].join(" "));
    assert_eq!(field(worker, "Gid:"), ["64321"; 4].join(" "));
    let groups = field(worker, "Groups:");
    assert!(!groups.split(' ').any(|group| group == "0"), "{groups}");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(worker, set), "0".repeat(16), "{set}");
    }
    assert_eq!(field(worker, "NoNewPrivs:"), "1");
    assert_eq!(field(pool.pid(), "Uid:"), ["0"; 4].join(" "));
    assert_eq!(get(pool.address(), "/info").await.status, 200);
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    assert_eq!(socket.ask("hello").await, "echo hello");
    pool.reload(2).await;
    let worker = pool.workers()[0].pid;
    assert_eq!(field(worker, "Uid:"), ["65534"; 4].join(" "));
    pool.terminate().await;
}

/// L234.
#[tokio::test]
async fn a_pool_says_once_that_its_workers_are_root() {
    if !is_root() {
        return;
    }
    for (options, expected) in
        [(Options::app(), 1), (Options::app().with("--worker-user", NOBODY), 0)]
    {
        let pool = Pool::start(options).await;
        pool.reload(2).await;
        let lines = pool.log().lines().clone();
        let told = lines.iter().filter(|line| line.raw.contains("workers are root")).count();
        assert_eq!(told, expected, "{}", pool.log());
    }
}

/// L108: as after a login, and what is written to by its name too.
#[tokio::test]
async fn a_script_of_another_user_has_its_home_and_can_open_its_streams() {
    if !is_root() {
        return;
    }
    let deploy = Deploy::of("any");
    let app = program("fixture-app");
    let tell = "echo \"$USER $LOGNAME $HOME\" > /dev/stderr";
    deploy.script(&format!("{tell}; exec '{}'", app.display()));
    let options = Options::deployed(&deploy).with("--worker-user", "nobody");
    let pool = Pool::start(options).await;
    let entry = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let expected = format!("nobody nobody {}", entry.dir.display());
    pool.wait_for("what it told", |line| line.text("line") == expected).await;
    pool.terminate().await;
}

/// L108: a change of user takes the death signal away.
#[tokio::test]
async fn a_worker_of_another_user_dies_with_its_supervisor() {
    if !is_root() {
        return;
    }
    let mut pool = Pool::start(Options::app().with("--worker-user", NOBODY)).await;
    let worker = pool.workers()[0].pid;
    pool.kill();
    until("the end of the worker", || !is_alive(worker)).await;
}

/// L108.
#[tokio::test]
async fn the_admin_socket_refuses_a_worker_of_another_user() {
    if !is_root() {
        return;
    }
    let folder = open_folder();
    let path = folder.path().join("open.sock");
    let deploy = Deploy::of("any");
    let app = program("fixture-app");
    let ask = "import socket,sys\n\
               s = socket.socket(socket.AF_UNIX)\n\
               s.connect(sys.argv[1])\n\
               try: s.sendall(b'{\"ask\":\"status\"}\\n'); got = s.recv(1000)\n\
               except OSError: got = b''\n\
               print('answered' if got else 'refused', file=sys.stderr)";
    let asked = folder.path().join("ask.py");
    fs::write(&asked, ask).unwrap();
    let wait = format!("while [ ! -e '{}/go' ]; do sleep 0.01; done", folder.path().display());
    let ask = format!("python3 '{}' '{}'", asked.display(), path.display());
    deploy.script(&format!("({wait}; {ask}) & exec '{}'", app.display()));
    let options = Options::deployed(&deploy).with("--admin-socket", path.to_str().unwrap());
    let pool = Pool::start(options.with("--worker-user", NOBODY)).await;
    // The file's mode alone would keep it out.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(folder.path().join("go"), "").unwrap();
    pool.wait_for("a refusal", |line| line.text("line") == "refused").await;
    pool.wait_for("a warning", |line| line.raw.contains("neither this user nor root")).await;
}

/// L108.
#[tokio::test]
async fn a_user_that_workers_cannot_be_exits_1_with_one_line() {
    let folder = TempDir::new().unwrap();
    let app = program("fixture-app");
    let app = app.to_str().unwrap();
    let own = geteuid().to_string();
    for (user, why) in [
        ("no-such-user", "no user 'no-such-user'"),
        ("root:no-such-group", "no group 'no-such-group'"),
        ("4000000", "its group must be named"),
        ("0", "root may do everything"),
        (&*own, if own == "0" { "root may do everything" } else { "that user itself" }),
    ] {
        let arguments = ["--listen", "127.0.0.1:0", "--worker-user", user, app];
        let told = operate(folder.path(), &arguments).await;
        assert!(told.failure().contains(why), "{told:?}");
    }
}

/// L108.
#[tokio::test]
async fn what_it_takes_is_named_where_it_is_missing() {
    if !can_nobody_start_it() {
        return;
    }
    let options = Options::app().with("--worker-user", "64000:64000").log_in_text();
    let mut pool = Pool::launch(as_nobody(options));
    assert_eq!(pool.exit_status().await.code(), Some(1));
    let missing = "must be root or have CAP_KILL, CAP_SETGID, CAP_SETUID";
    pool.wait_for("the reason", |line| line.raw.contains(missing)).await;
}

/// L108: capabilities suffice, and workers do not keep them.
#[tokio::test]
async fn a_supervisor_with_capabilities_starts_workers_without() {
    if !can_nobody_start_it() {
        return;
    }
    let runtime = open_folder();
    let capabilities = "+setuid,+setgid,+kill";
    let launcher = format!(
        "set -- setpriv --reuid 65534 --regid 64321 --clear-groups --inh-caps {capabilities} \
         --ambient-caps {capabilities} \"$@\""
    );
    let options = Options::app().with("--worker-user", "64000:64000").after(&launcher);
    let runtime = runtime.path().to_str().unwrap();
    let pool = Pool::start(options.variable("XDG_RUNTIME_DIR", runtime)).await;
    let worker = pool.workers()[0].pid;
    assert_eq!(field(worker, "Uid:"), ["64000"; 4].join(" "));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(worker, set), "0".repeat(16), "{set}");
    }
    // Its bounding set is as the supervisor's, which may not change it, but nothing brings it back.
    assert_eq!(field(worker, "NoNewPrivs:"), "1");
    pool.reload(2).await;
    pool.terminate().await;
}

/// L230: nothing but their output leads to the terminal from which the pool was started.
#[tokio::test]
async fn a_worker_has_a_session_of_its_own_without_the_supervisors_terminal() {
    let folder = TempDir::new().unwrap();
    let told = folder.path().join("told");
    let deploy = Deploy::of("any");
    let app = program("fixture-app");
    // What opens the terminal that controls it, whichever that is.
    let look = "if (: < /dev/tty) 2>/dev/null; then echo terminal; else echo none; fi";
    deploy.script(&format!("{look} > '{}'; exec '{}'", told.display(), app.display()));
    // The supervisor has one, whose other end stays open with it.
    let in_terminal = "import fcntl, os, pty, sys, termios\n\
                       os.setsid(); theirs, ours = pty.openpty()\n\
                       fcntl.ioctl(ours, termios.TIOCSCTTY, 0)\n\
                       os.set_inheritable(theirs, True); os.execv(sys.argv[1], sys.argv[1:])";
    let launcher = format!("set -- python3 -c '{in_terminal}' \"$@\"");
    let options = Options::deployed(&deploy).after(&launcher);
    let pool = Pool::start(options).await;
    let worker = pool.workers()[0].pid;
    assert_eq!(fs::read_to_string(&told).unwrap(), "none\n");
    let stat = fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let (group, session, terminal) = (fields[2], fields[3], fields[4]);
    let own = worker.to_string();
    assert_eq!((group, session, terminal), (&*own, &*own, "0"));
}

/// L109: a script has its image open, as 4 with one link.
#[tokio::test]
async fn a_worker_cannot_change_what_the_next_one_runs() {
    let deploy = Deploy::of("any");
    let app = program("fixture-app");
    let write = "if printf x >> /proc/$$/fd/4; then echo written >&2; else echo sealed >&2; fi";
    let mode = "chmod 0 /proc/$$/fd/4";
    deploy.script(&format!("{write}; {mode}; exec '{}'", app.display()));
    let pool = Pool::start(Options::deployed(&deploy)).await;
    pool.wait_for("the outcome", |line| line.text("line") == "sealed").await;
    pool.kill_worker(pool.workers()[0].pid);
    pool.wait_until_ready(1, 2).await;
}

/// L109.
#[tokio::test]
async fn where_no_file_in_memory_may_be_run_one_without_a_name_is() {
    if let Err(why) = can_unshare() {
        println!("skipped: this machine does not allow namespaces: {why}");
        return;
    }
    let setting = "/proc/sys/vm/memfd_noexec";
    match fs::metadata(setting) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: this kernel has no vm.memfd_noexec");
            return;
        }
        found => drop(found.unwrap()),
    }
    let deploy = Deploy::of("any");
    let app = program("fixture-app");
    for is_script in [false, true] {
        match is_script {
            false => deploy.app("binary"),
            true => deploy.script(&format!("exec '{}'", app.display())),
        }
        let options = Options::deployed(&deploy).as_pid_1().workers(2);
        let pool = Pool::start(options.after(&format!("echo 2 > {setting}"))).await;
        assert_eq!(get(pool.address(), "/info").await.status, 200);
        pool.reload(2).await;
        pool.wait_until_ready(2, 2).await;
    }
}
