//! G54: connections that outlive a reload.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use shovel_tests::{
    Deploy, Http, Options, Pool, Raw, WebSocket, get, is_alive, request, until, within,
};

use crate::harness::counted::{Beside, Busy, Counted, PATH, pid_in};

/// G54.
#[tokio::test]
async fn connections_with_messages_under_way_survive_three_reloads() {
    const CLIENTS: usize = 200;
    let options = Options::portable().workers(2).with("--io-threads", "2");
    let pool = Pool::start(options).await;
    let mut clients = Vec::new();
    let mut before = Vec::new();
    for number in 0..CLIENTS {
        let path = format!("{PATH}?protocol=chat&subscribe=news&number={number}");
        let number = number.to_string();
        let headers = [("sec-websocket-protocol", "chat"), ("x-test", &*number)];
        let socket = WebSocket::try_connect_with(pool.address(), &path, &headers).await.unwrap();
        let mut client = Counted::of(socket).await;
        let answer = client.ask(&format!("note {number}")).await;
        let about = &answer["about"];
        assert_eq!((&about["url"], &about["protocol"]), (&Value::from(path), &"chat".into()));
        assert_eq!((&about["header"], &about["note"]), (&Value::from(&*number), &number.into()));
        before.push(about.clone());
        clients.push(client);
    }
    for generation in 2..=4 {
        let busy = Busy::start(clients, &["under way"]);
        busy.wait_for_answers(2 * CLIENTS).await;
        pool.reload(generation).await;
        busy.wait_for_answers(2 * CLIENTS).await;
        assert_eq!(busy.redelivered(), 0, "a planned move marks nothing");
        clients = busy.finish().await;
        let told = pool.operate(&["publish", "news", "extra", "--json"]).await.json();
        assert_eq!(told["delivered"], CLIENTS);
        for (client, before) in clients.iter_mut().zip(&before) {
            client.socket.expect_text("extra").await;
            let answer = client.ask("now").await;
            assert_eq!((&answer["generation"], &answer["about"]), (&generation.into(), before));
        }
        let pids = pool.workers().iter().map(|worker| worker.pid).collect::<Vec<_>>();
        let owner = pid_in(&clients[0].ask("who").await);
        assert!(pids.contains(&owner));
    }
    assert_eq!(pool.events("close"), Vec::<Value>::new());
    for event in pool.events("adopted") {
        assert_eq!((&event["cause"], &event["channels"][0]), (&"Reload".into(), &"news".into()));
    }
    assert_eq!(pool.events("adopted").len(), 3 * CLIENTS);
    assert_eq!(pool.events("released").len(), 3 * CLIENTS);
}

/// G54: a connection pauses for the handler that runs, and what waits behind it is the next
/// worker's.
#[tokio::test]
async fn a_running_handler_ends_on_the_old_worker_and_what_waits_goes_to_the_next() {
    let pool = Pool::start(Options::portable()).await;
    let (mut client, beside) = Beside::open(&pool, "").await;
    let old = client.pid().await;
    client.send("gate running").await;
    client.send("behind").await;
    pool.wait_at_gate("running").await;
    pool.sighup();
    beside.wait_until_released(&pool, old).await;
    pool.open_gate("running");
    assert_eq!(pid_in(&client.receive().await), old);
    let behind = client.receive().await;
    assert_ne!(pid_in(&behind), old);
    assert_eq!(behind["redelivered"], false);
    pool.wait_for_reload(2).await;
}

/// G54: a handler that can be dropped is, at its deadline; its message is handled again.
#[tokio::test]
async fn a_handler_that_takes_too_long_is_dropped_and_its_message_comes_again() {
    let options = Options::portable().with("--handler-timeout", "200ms");
    let pool = Pool::start(options).await;
    let mut client = Counted::connect(&pool, "").await;
    let old = client.pid().await;
    client.send("gate slow").await;
    client.send("behind").await;
    pool.wait_at_gate("slow").await;
    pool.sighup();
    let again = |event: &Value| event["event"] == "waiting" && event["pid"] != old;
    pool.wait_for_event("the second try", again).await;
    assert_eq!(pool.events("dropped").len(), 1);
    pool.open_gate("slow");
    let answer = client.receive().await;
    assert_eq!((&answer["redelivered"], &answer["partial"]), (&true.into(), &false.into()));
    assert_eq!(client.receive().await["redelivered"], false);
    pool.wait_for_reload(2).await;
    assert!(pool.log().lines().iter().all(|line| !line.raw.contains("killing it")));
}

/// G54: one that blocks its thread cannot be dropped, and its worker is killed. The connections of
/// other workers have moved by then.
#[tokio::test]
async fn a_blocking_handler_delays_its_own_worker_only_and_comes_again() {
    let options = Options::portable().workers(2).with("--handler-timeout", "1s");
    let pool = Pool::start(options).await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = Counted::connect(&pool, "").await;
        let pid = client.pid().await;
        clients.push((client, pid));
    }
    let (mut blocked, stuck) = clients.pop().unwrap();
    blocked.send("block").await;
    blocked.send("behind").await;
    pool.wait_for_event("the block", |event| event["event"] == "blocking").await;
    pool.sighup();
    pool.wait_until_ready(2, 2).await;
    let others = clients.iter().filter(|(_, pid)| *pid != stuck).count();
    assert!(others > 0);
    for (client, pid) in clients.iter_mut().filter(|(_, pid)| *pid != stuck) {
        while client.ask("still there").await["generation"] != 2 {}
        assert!(is_alive(stuck), "{pid} was not let go before");
    }
    let answer = blocked.receive().await;
    assert_eq!((&answer["redelivered"], &answer["generation"]), (&true.into(), &2.into()));
    blocked.receive().await;
    for (client, _) in &mut clients {
        assert_eq!(client.ask("still there").await["generation"], 2);
    }
    pool.wait_for_reload(2).await;
    assert_eq!(pool.events("close"), Vec::<Value>::new());
}

/// G54 and F48: streams of the old workers go on until the drain timeout, with no connection.
#[tokio::test]
async fn a_stream_of_the_old_worker_ends_at_the_drain_timeout_and_connections_move_before() {
    let options = Options::portable().with("--drain-timeout", "2s");
    let pool = Pool::start(options).await;
    let mut client = Counted::connect(&pool, "").await;
    let old = client.pid().await;
    let mut http = Http::connect(pool.address()).await;
    let answer = http.stream(request(Method::GET, "/stream?gate=never", "")).await.unwrap();
    pool.wait_at_gate("never").await;
    let begun = Instant::now();
    pool.sighup();
    let adopted = |event: &Value| event["event"] == "adopted";
    pool.wait_for_event("the move", adopted).await;
    assert_ne!(client.pid().await, old);
    assert!(is_alive(old), "its stream goes on");
    pool.wait_for_reload(2).await;
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let whole = within("the end of the stream", answer.into_body().collect()).await;
    assert!(whole.is_err(), "a stream that was cut looks whole");
    client.ask("still there").await;
}

/// G54: an app that cannot adopt gets no connection.
#[tokio::test]
async fn a_reload_to_an_app_that_cannot_adopt_closes_all_1012() {
    let deploy = Deploy::of("");
    let app = shovel_tests::program("fixture-app");
    deploy.script(&format!("exec '{}' portable", app.display()));
    let options = Options::deployed(&deploy).workers(2).with("--close-spread", "0ms");
    let pool = Pool::start(options).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Counted::connect(&pool, "").await);
    }
    deploy.app("cannot adopt");
    pool.sighup();
    for client in &mut clients {
        client.socket.expect_close(1012, "server reloading").await;
    }
    pool.wait_for_reload(2).await;
    let events = pool.events("close");
    assert_eq!(events.len(), clients.len());
    assert!(events.iter().all(|event| event["code"] == 1012));
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "cannot adopt");
}

/// G54: a task that belongs to a connection hears that it has moved; the next worker starts its own.
#[tokio::test]
async fn a_ticker_ends_with_its_connections_move_and_the_next_worker_goes_on() {
    let pool = Pool::start(Options::portable()).await;
    let mut socket = WebSocket::connect(pool.address(), &format!("{PATH}?adopting=tick")).await;
    socket.send("tick").await;
    let mut ticks_of = async |pid: Option<u32>| {
        loop {
            let tick = socket.next_json().await;
            match tick["tick"].as_u64() {
                Some(by) if pid.is_none_or(|pid| u64::from(pid) == by) => break by,
                _ => {}
            }
        }
    };
    let old = ticks_of(None).await;
    pool.reload(2).await;
    let ended = pool.wait_for_event("its end", |event| event["event"] == "ticked").await;
    assert_eq!((&ended["pid"], &ended["after"]), (&old.into(), &"Err(Moved)".into()));
    let new = pool.workers()[0].pid;
    ticks_of(Some(new)).await;
    for _ in 0..20 {
        assert_eq!(ticks_of(None).await, u64::from(new), "the old one ticks on");
    }
}

/// G54 and H60: the next worker knows that the client reads too slowly.
#[tokio::test]
async fn a_client_that_is_behind_is_so_for_the_next_worker_too() {
    let options = Options::portable().with("--outbox-limit", "64KiB");
    let pool = Pool::start(options).await;
    let mut slow = Raw::websocket(pool.address(), &format!("{PATH}?adopting=try")).await;
    slow.write_frame(1, b"fill").await;
    pool.wait_for_event("a full outbox", |event| event["event"] == "filled").await;
    pool.reload(2).await;
    let tried = pool.wait_for_event("the adoption", |event| event["event"] == "tried").await;
    assert_eq!(tried["outcome"], "Err(Full)");
    // It reads on: there is room again, and the answers come.
    slow.write_frame(1, b"after").await;
    loop {
        let frame = slow.frame().await;
        let text = String::from_utf8(frame.payload.to_vec()).unwrap();
        if text.contains("\"echo\":\"after\"") {
            break assert!(text.contains("\"generation\":2"), "{text}");
        }
    }
}

/// G54: ten thousand moves of connections with messages under way, and no message is lost behind a
/// `ws:release` or before a `ws:adopt`.
///
/// Between the main thread, which tells a worker to give its connections up, and the I/O threads is
/// a queue of tokio's and nothing of ours, so there is no interleaving of our own code for a model
/// of threads to try. A release and the messages before it go out by one thread, in one queue.
#[tokio::test]
async fn ten_thousand_releases_under_full_load_lose_nothing() {
    const CLIENTS: usize = 500;
    const RELOADS: u64 = 20;
    let options = Options::portable().workers(2).with("--io-threads", "2");
    let pool = Pool::start(options).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Counted::connect(&pool, "").await);
    }
    let busy = Busy::start(clients, &["under way"]);
    for generation in 2..2 + RELOADS {
        busy.wait_for_answers(CLIENTS).await;
        pool.reload(generation).await;
    }
    assert_eq!(busy.redelivered(), 0, "a planned move marks nothing");
    let mut clients = busy.finish().await;
    for client in &mut clients {
        client.ask("still there").await;
    }
    let moves = CLIENTS * usize::try_from(RELOADS).unwrap();
    assert_eq!((pool.events("released").len(), pool.events("adopted").len()), (moves, moves));
    assert_eq!(pool.events("close"), Vec::<Value>::new());
}

/// G54: handlers that wait, more of them than may be on their way at once, hold up no connection of
/// the same worker.
#[tokio::test]
async fn handlers_that_wait_hold_up_no_neighbour_of_their_worker() {
    const WAITING: usize = 100;
    let options = Options::portable().with("--handler-timeout", "60s");
    let pool = Pool::start(options).await;
    let (mut waiting, mut neighbours) = (Vec::new(), Vec::new());
    // A worker gives its connections up in their order: before, between and behind the neighbours.
    for number in 0..2 * WAITING {
        let mut client = Counted::connect(&pool, "").await;
        if number % 2 == 0 {
            client.send("gate held").await;
            waiting.push(client);
        } else {
            neighbours.push(client);
        }
    }
    until("all handlers", || pool.events("waiting").len() == WAITING).await;
    let old = pool.workers()[0].pid;
    pool.sighup();
    pool.wait_until_ready(2, 1).await;
    for client in &mut neighbours {
        while client.ask("still there").await["generation"] != 2 {}
    }
    assert!(is_alive(old), "it waits for its handlers");
    assert_eq!(pool.events("dropped"), Vec::<Value>::new(), "no deadline has passed");
    pool.open_gate("held");
    for client in &mut waiting {
        assert_eq!(pid_in(&client.receive().await), old);
        assert_eq!(client.ask("moved").await["generation"], 2);
    }
    pool.wait_for_reload(2).await;
}
