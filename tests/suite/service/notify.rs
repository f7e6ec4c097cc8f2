//! J69: what the service manager is told.

use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use shovel_tests::{Deploy, Http, Options, Pool, Raw, ServiceManager, get, until};

const WATCHDOG: Duration = Duration::from_millis(600);

fn watched(options: Options) -> Options {
    options.variable("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string())
}

/// J69.
#[tokio::test]
async fn ready_is_told_once_the_whole_first_generation_is() {
    let manager = ServiceManager::new();
    let pool = Pool::launch(
        manager.starts(Options::app().workers(2)).variable("FIXTURE_START_GATE", "start"),
    );
    let starting = manager.until("STATUS", "0 of 2 workers ready").await;
    pool.open_gate("start");
    let rest = manager.until("READY", "1").await;
    let last = rest.last().unwrap();
    assert_eq!(last.value("STATUS"), Some("2 of 2 workers ready, generation 1"));
    let before = || starting.iter().chain(&rest[..rest.len() - 1]);
    assert_eq!(before().filter(|notice| notice.value("READY").is_some()).count(), 0);
    pool.kill_worker(pool.workers()[0].pid);
    manager.until("STATUS", "1 of 2 workers ready").await;
    let again = manager.until("STATUS", "2 of 2 workers ready").await;
    assert!(again.iter().all(|notice| notice.value("READY").is_none()), "{again:?}");
}

/// J69.
#[tokio::test]
async fn a_reload_is_told_with_its_time_and_so_is_its_end() {
    let manager = ServiceManager::new();
    let pool = Pool::start(manager.starts(Options::app())).await;
    manager.until("READY", "1").await;
    let before = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    let before = Duration::from(before).as_micros();
    pool.sighup();
    let reloading = manager.until("RELOADING", "1").await.pop().unwrap();
    let told: u128 = reloading.value("MONOTONIC_USEC").unwrap().parse().unwrap();
    assert!(told >= before, "{told} is before {before}");
    manager.until("STATUS", "loading generation 2").await;
    manager.until("READY", "1").await;
    let status = manager.until("STATUS", "").await.pop().unwrap();
    assert_eq!(status.value("STATUS"), Some("1 of 1 workers ready, generation 2"));
}

/// J69 and F50.
#[tokio::test]
async fn a_reload_that_fails_ends_too_and_the_status_says_why() {
    let manager = ServiceManager::new();
    let deploy = Deploy::of("good");
    let pool = Pool::start(manager.starts(Options::deployed(&deploy))).await;
    manager.until("READY", "1").await;
    deploy.not_executable();
    pool.sighup();
    manager.until("RELOADING", "1").await;
    manager.until("READY", "1").await;
    let status = manager.until("STATUS", "abandoned").await.pop().unwrap();
    let status = status.value("STATUS").unwrap();
    assert!(status.starts_with("1 of 1 workers ready, generation 1; "), "{status}");
    assert!(status.contains("not executable"), "{status}");
}

/// J69.
#[tokio::test]
async fn the_end_is_told_when_it_begins() {
    let manager = ServiceManager::new();
    let mut pool = Pool::start(manager.starts(Options::app())).await;
    manager.until("READY", "1").await;
    let mut http = Http::connect(pool.address()).await;
    let under_way = tokio::spawn(async move { http.get("/gated?gate=last").await });
    pool.wait_at_gate("last").await;
    pool.sigterm();
    manager.until("STOPPING", "1").await;
    assert_eq!(pool.workers().len(), 1, "told too late");
    pool.open_gate("last");
    assert!(under_way.await.unwrap().is_ok());
    assert_eq!(pool.exit_status().await.code(), Some(0));
}

/// J69 and E46.
#[tokio::test]
async fn the_status_says_why_a_pool_does_not_start() {
    let manager = ServiceManager::new();
    let mut pool = Pool::launch(manager.starts(Options::program("/nowhere/app")));
    let told = manager.until("STATUS", "/nowhere/app does not exist").await;
    assert!(told.iter().all(|notice| notice.value("READY").is_none()), "{told:?}");
    assert_eq!(pool.exit_status().await.code(), Some(1));
}

/// J69.
#[tokio::test]
async fn a_manager_that_has_gone_costs_a_line_of_the_log() {
    let options = Options::app().variable("NOTIFY_SOCKET", "/nowhere/notify");
    let pool = Pool::start(options).await;
    pool.wait_for("the complaint", |line| {
        line.is("cannot tell the service manager how the pool is")
    })
    .await;
    pool.terminate().await;
}

/// J69.
#[tokio::test]
async fn a_manager_that_does_not_read_holds_nothing_up() {
    let manager = ServiceManager::new();
    let options = manager.starts(Options::app()).variable("WATCHDOG_USEC", "1000");
    let mut pool = Pool::start(options).await;
    until("a full queue", || manager.is_full()).await;
    for generation in 2..=4 {
        pool.reload(generation).await;
    }
    assert_eq!(get(pool.address(), "/info").await.json()["generation"], 4);
    let missed = manager.until("STATUS", "generation 4").await;
    assert!(missed.len() > 1, "{missed:?}");
    manager.until("WATCHDOG", "1").await;
    until("a full queue again", || manager.is_full()).await;
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0));
}

/// J69.
#[tokio::test]
async fn signs_of_life_come_until_the_end() {
    let manager = ServiceManager::new();
    let mut pool = Pool::start(watched(manager.starts(Options::app()))).await;
    for _ in 0..3 {
        manager.until("WATCHDOG", "1").await;
    }
    let mut http = Http::connect(pool.address()).await;
    let under_way = tokio::spawn(async move { http.get("/gated?gate=last").await });
    pool.wait_at_gate("last").await;
    pool.sigterm();
    manager.until("STOPPING", "1").await;
    for _ in 0..3 {
        manager.until("WATCHDOG", "1").await;
    }
    pool.open_gate("last");
    assert!(under_way.await.unwrap().is_ok());
    assert_eq!(pool.exit_status().await.code(), Some(0));
}

/// J69: a client that has sent half a head is waited for, for a second.
#[tokio::test]
async fn signs_of_life_come_while_clients_are_waited_for() {
    let manager = ServiceManager::new();
    let options = manager.starts(Options::app()).variable("WATCHDOG_USEC", "60000");
    let mut pool = Pool::start(options).await;
    let mut client = Raw::connect(pool.address()).await;
    client.write("GET /info HT").await;
    // One that came later was answered, so the first has been read.
    assert_eq!(get(pool.address(), "/info").await.status, 200);
    pool.sigterm();
    pool.wait_for("the end of the worker", |line| line.is("worker exited")).await;
    manager.forget();
    for _ in 0..3 {
        manager.until("WATCHDOG", "1").await;
    }
    assert_eq!(pool.exit_status().await.code(), Some(0));
}

/// J69.
#[tokio::test]
async fn no_sign_of_life_is_given_while_an_io_thread_is_stuck() {
    let manager = ServiceManager::new();
    let options = Options::app().with("--io-threads", "2");
    let pool = Pool::start(watched(manager.starts(options))).await;
    manager.until("WATCHDOG", "1").await;
    let thread = thread_of(pool.pid(), "io-1");
    if let Err(error) = ptrace::seize(thread, ptrace::Options::empty()) {
        println!("skipped: this machine does not let a thread be stopped: {error}");
        return;
    }
    ptrace::interrupt(thread).unwrap();
    waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
    manager.forget();
    // The time over which it is measured, not one that anything needs. One answer may have been
    // on its way.
    tokio::time::sleep(WATCHDOG).await;
    manager.forget();
    tokio::time::sleep(WATCHDOG).await;
    assert!(!manager.has_heard(), "a sign of life with a thread that is stuck");
    ptrace::detach(thread, None).unwrap();
    manager.until("WATCHDOG", "1").await;
    pool.terminate().await;
}

fn thread_of(process: u32, name: &str) -> Pid {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut threads = threads.map(|thread| thread.unwrap().path());
    let is_it = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let thread = threads.find(is_it).expect("a thread of this name");
    Pid::from_raw(thread.file_name().unwrap().to_str().unwrap().parse().unwrap())
}
