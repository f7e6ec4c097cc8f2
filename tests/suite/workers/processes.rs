//! What workers are, inherit and say.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use shovel_tests::{Http, Options, Pool, WebSocket, get, is_alive, until};

use crate::harness::owned::connection_on_each_worker;

/// E38.
#[tokio::test]
async fn four_workers_are_four_processes_with_indexes_of_their_own() {
    let pool = Pool::start(Options::app().workers(4)).await;
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        let info = get(pool.address(), "/info").await.json();
        assert_eq!(info["generation"], 1);
        seen.insert((info["index"].as_u64().unwrap(), info["pid"].as_u64().unwrap()));
    }
    let workers = pool.workers();
    let told = workers.iter().map(|worker| (worker.index, u64::from(worker.pid)));
    assert_eq!(seen, told.collect::<BTreeSet<_>>(), "ties go in rotation");
    assert_eq!(seen.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

/// E38.
#[tokio::test]
async fn upgrades_go_to_the_worker_with_the_fewest_connections() {
    let pool = Pool::start(Options::app().workers(4)).await;
    let mut sockets = Vec::new();
    let mut owners = Vec::new();
    for _ in 0..12 {
        let mut socket = WebSocket::connect(pool.address(), "/ws").await;
        socket.send("info").await;
        owners.push(socket.next_json().await["pid"].as_u64().unwrap());
        sockets.push(socket);
    }
    for worker in pool.workers() {
        let owned = owners.iter().filter(|pid| **pid == u64::from(worker.pid)).count();
        assert_eq!(owned, 3, "{owners:?}");
    }
}

/// E38.
#[tokio::test]
async fn requests_go_around_a_worker_that_is_busy() {
    let pool = Pool::start(Options::app().workers(2)).await;
    let mut http = Http::connect(pool.address()).await;
    let busy = tokio::spawn(async move { http.get("/gated?gate=busy").await.unwrap().json() });
    let pid = pool.wait_at_gate("busy").await["pid"].clone();
    for _ in 0..6 {
        assert_ne!(get(pool.address(), "/info").await.json()["pid"], pid);
    }
    pool.open_gate("busy");
    assert_eq!(busy.await.unwrap()["pid"], pid);
}

/// E43.
#[tokio::test]
async fn every_worker_ends_with_a_killed_supervisor() {
    let mut pool = Pool::start(Options::app().workers(3)).await;
    let workers = pool.workers();
    let killed = Instant::now();
    pool.kill();
    until("the end of all workers", || workers.iter().all(|worker| !is_alive(worker.pid))).await;
    // Promised is a second; the machine that tests may be busy.
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
}

/// E43.
#[tokio::test]
async fn what_workers_write_comes_line_by_line_with_their_pid() {
    let pool = Pool::start(Options::app().workers(2)).await;
    let mut owned = connection_on_each_worker(&pool, "/ws", 2).await;
    drop(owned.pop());
    get(pool.address(), "/say?out=to+stdout&err=to+stderr").await;
    for (stream, text) in [("stdout", "to stdout"), ("stderr", "to stderr")] {
        let is_it = |line: &shovel_tests::Line| line.output() == Some(text);
        let line = pool.wait_for(text, is_it).await;
        assert_eq!(line.text("stream"), stream);
        let worker =
            pool.workers().into_iter().find(|worker| line.number("pid") == Some(worker.pid.into()));
        assert_eq!(line.number("worker"), Some(worker.unwrap().id));
    }
}

/// E43.
#[tokio::test]
async fn a_line_of_any_length_or_bytes_stops_nobodys_output() {
    let deploy = shovel_tests::Deploy::of("x");
    deploy
        .script("head -c 3000000 /dev/zero | tr '\\0' x; printf '\\377\\n'; echo after; sleep 60");
    let pool = Pool::launch(Options::deployed(&deploy));
    let is_it = |line: &shovel_tests::Line| line.output() == Some("after");
    pool.wait_for("the line after", is_it).await;
}

/// E44.
#[tokio::test]
async fn a_worker_inherits_its_stdio_and_links_and_nothing_else() {
    let options = Options::rogue("honest")
        .argument("two words")
        .with("--io-threads", "2")
        .after("exec 9</dev/zero 7>/dev/full")
        .variable("OPERATORS_OWN", "1")
        .variable("SHOVEL_WORKERS", "1")
        .variable("LISTEN_FDS", "1")
        .variable("NOTIFY_SOCKET", "/nowhere");
    let pool = Pool::start(options).await;
    let inherited =
        pool.wait_for_event("what was inherited", |event| event["event"] == "inherited").await;
    let strings = |value: &Value| {
        let strings = value.as_array().unwrap().iter().map(|value| value.as_str().unwrap());
        strings.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut kinds = Vec::new();
    for descriptor in inherited["descriptors"].as_array().unwrap() {
        let [number, target] = &strings(descriptor)[..] else { panic!("{descriptor}") };
        kinds.push((number.parse::<u32>().unwrap(), target.split(':').next().unwrap().to_owned()));
    }
    kinds.sort_unstable();
    let kinds = kinds.iter().map(|(number, kind)| (*number, kind.as_str())).collect::<Vec<_>>();
    let expected = [(0, "/dev/null"), (1, "pipe"), (2, "pipe"), (3, "socket"), (4, "socket")];
    assert_eq!(kinds, expected);
    let variables = strings(&inherited["variables"]);
    let has = |name: &str| variables.iter().any(|variable| variable == name);
    assert!(has("OPERATORS_OWN") && has("SHOVEL_LINK_FDS") && has("PATH"), "{variables:?}");
    for name in ["SHOVEL_WORKERS", "LISTEN_FDS", "NOTIFY_SOCKET"] {
        assert!(!has(name), "{name}");
    }
    let arguments = strings(&inherited["arguments"]);
    let program = shovel_tests::program("fixture-rogue");
    assert_eq!(arguments, [program.to_str().unwrap(), "honest", "two words"], "argv[0] as written");
}

/// E44.
#[tokio::test]
async fn children_of_a_worker_do_not_inherit_its_links() {
    let pool = Pool::start(Options::app().with("--io-threads", "2")).await;
    let listing = get(pool.address(), "/children").await;
    assert!(listing.text().contains("/dev/null"), "{}", listing.text());
    assert!(!listing.text().contains("socket:"), "{}", listing.text());
}
