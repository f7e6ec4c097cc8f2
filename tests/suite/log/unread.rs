//! J71: a log that nobody reads holds nobody up, and tells what it has lost.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use shovel_tests::{Deploy, Http, Line, Options, Pool, program, signal, within};
use tokio::net::TcpStream;

/// Far more lines than fit into a pipe and into the buffer before it.
const REQUESTS: u64 = 12_000;

/// A pool whose log is not read yet; its address is known without it.
fn unread(options: Options) -> (Pool, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let options = options.inherit(listener.into()).listen("fd:3").log_unread();
    (Pool::launch(options), address)
}

async fn ask(address: SocketAddr, requests: u64) {
    let asking = (0..4).map(|_| {
        tokio::spawn(async move {
            let mut http = Http::connect(address).await;
            for _ in 0..requests / 4 {
                assert_eq!(http.get("/info").await.unwrap().status, 200);
            }
        })
    });
    for asking in asking.collect::<Vec<_>>() {
        asking.await.unwrap();
    }
}

/// How many lines the log says that it has lost.
fn lost(lines: &[Line]) -> u64 {
    let told =
        lines.iter().filter(|line| line.message().starts_with("lines of the log were dropped"));
    told.filter_map(|line| line.number("lines")).sum()
}

fn count(lines: &[Line], message: &str) -> u64 {
    lines.iter().filter(|line| line.is(message)).count() as u64
}

/// J71.
#[tokio::test]
async fn requests_are_answered_though_nobody_reads_the_access_log() {
    let (mut pool, address) = unread(Options::app().flag("--access-log").with("--io-threads", "2"));
    ask(address, REQUESTS).await;
    pool.read_log();
    pool.wait_for("what was lost", |line| lost(std::slice::from_ref(line)) > 0).await;
    // From here on it is read, and nothing more is lost.
    ask(address, 40).await;
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0));
    pool.wait_for("the end", |line| line.is("terminated")).await;
    let lines = pool.log().lines();
    assert!(lost(&lines) > 0);
    assert_eq!(count(&lines, "request") + lost(&lines), REQUESTS + 40);
    for message in ["listening", "worker started", "worker ready", "terminating", "terminated"] {
        assert_eq!(count(&lines, message), 1, "{message}");
    }
}

/// J71 and E43: workers that print without end do not displace what the supervisor has to say.
#[tokio::test]
async fn workers_start_and_serve_though_nobody_reads_what_they_print() {
    const LINES: u64 = 30_000;
    let deploy = Deploy::of("any");
    let print = format!("i=0; while [ $i -lt {LINES} ]; do echo line-$i; i=$((i+1)); done >&2");
    deploy.script(&format!("{print}; exec '{}'", program("fixture-app").display()));
    let (mut pool, address) = unread(Options::deployed(&deploy));
    ask(address, 4).await;
    pool.read_log();
    pool.wait_for("what was lost", |line| lost(std::slice::from_ref(line)) > 0).await;
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0));
    pool.wait_for("the end", |line| line.is("terminated")).await;
    let lines = pool.log().lines();
    let is_printed = |line: &&Line| line.text("line").starts_with("line-");
    let printed = lines.iter().filter(is_printed).count() as u64;
    assert!(printed + lost(&lines) >= LINES, "{printed} lines and {} lost", lost(&lines));
    for message in ["listening", "worker started", "worker ready", "terminated"] {
        assert_eq!(count(&lines, message), 1, "{message}");
    }
}

/// J71: nor does the end wait for a reader.
#[tokio::test]
async fn a_pool_ends_though_nobody_reads_its_log() {
    let (mut pool, address) = unread(Options::app().flag("--access-log"));
    ask(address, REQUESTS).await;
    signal(pool.pid(), Signal::SIGTERM);
    assert_eq!(pool.exit_status().await.code(), Some(0));
}

/// J71 and I66.
#[tokio::test]
async fn an_app_by_itself_answers_though_nobody_reads_its_access_log() {
    // Its address would be told in the log.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = Options::app().alone().flag("--access-log").log_unread();
    let mut pool = Pool::launch(options.variable("PORT", &address.port().to_string()));
    within("the app to listen", async {
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    ask(address, REQUESTS).await;
    pool.read_log();
    let told = |line: &Line| line.raw.contains("lines of the log were dropped");
    pool.wait_for("what was lost", told).await;
    pool.terminate().await;
}
