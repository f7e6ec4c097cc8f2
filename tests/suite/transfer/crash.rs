//! G55: connections that outlive the death of their worker.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use shovel_tests::{Options, Pool, WebSocket, is_alive, signal};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::counted::{Beside, Busy, Counted, PATH, pid_in};

/// G55: what each handler sends comes once, whole and in order; the counter misses nothing.
#[tokio::test]
async fn none_closes_and_all_effects_come_once_when_owners_are_killed_under_load() {
    const CLIENTS: usize = 24;
    let options = Options::portable().workers(3).with("--io-threads", "2");
    let pool = Pool::start(options).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Counted::connect(&pool, "").await);
    }
    let busy = Busy::start(clients, &["short", "parts"]);
    for killed in 1..=6 {
        busy.wait_for_answers(3 * CLIENTS).await;
        // The one that has been there longest, so that it has connections.
        pool.kill_worker(pool.workers()[0].pid);
        pool.wait_until_ready(1, 3 + killed).await;
    }
    busy.wait_for_answers(3 * CLIENTS).await;
    assert!(busy.redelivered() > 0, "nobody was killed in a handler");
    let mut clients = busy.finish().await;
    for client in &mut clients {
        client.ask("still there").await;
    }
    assert_eq!(pool.events("close"), Vec::<Value>::new());
    // A message that was begun before comes marked.
    let mut begun = HashSet::new();
    for event in pool.events("begun") {
        let is_new = begun.insert((event["id"].to_string(), event["seq"].to_string()));
        assert!(is_new || event["redelivered"] == true, "{event}");
    }
    assert!(pool.events("adopted").iter().all(|event| event["cause"] == "Crash"));
}

/// G55: nothing of a handler that did not end is seen, and its message comes again, marked; what
/// stands behind it may have been begun too, as far as anybody knows.
#[tokio::test]
async fn two_crashes_and_then_a_planned_move_keep_the_mark() {
    let pool = Pool::start(Options::portable()).await;
    let (mut client, beside) = Beside::open(&pool, "").await;
    client.send("gate held").await;
    client.send("behind").await;
    let mut pids = HashSet::new();
    let mut last = 0;
    for _ in 0..3 {
        let is_new = |event: &Value| event["event"] == "waiting" && !pids.contains(&pid_in(event));
        let pid = pid_in(&pool.wait_for_event("the next try", is_new).await);
        pids.insert(pid);
        last = pid;
        if pids.len() < 3 {
            // The supervisor answers, which has read the messages before it by then.
            client.socket.send_message(Message::Ping("read".into())).await;
            assert_eq!(client.socket.next().await, Message::Pong("read".into()));
            pool.kill_worker(pid);
        }
    }
    pool.sighup();
    beside.wait_until_released(&pool, last).await;
    pool.open_gate("held");
    let held = client.receive().await;
    assert_eq!((&held["redelivered"], &held["generation"]), (&true.into(), &1.into()));
    let behind = client.receive().await;
    assert_eq!((&behind["redelivered"], &behind["generation"]), (&true.into(), &2.into()));
    assert_eq!(client.ask("new").await["redelivered"], false);
    pool.wait_for_reload(2).await;
}

/// G55: what was flushed may come twice, and then the message says so.
#[tokio::test]
async fn a_message_of_which_something_was_flushed_comes_again_as_partial() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "").await;
    client.send("flush half").await;
    client.socket.expect_text("so far").await;
    let first = pid_in(&pool.wait_at_gate("half").await);
    pool.kill_worker(first);
    client.socket.expect_text("so far").await;
    pool.open_gate("half");
    let answer = client.receive().await;
    assert_eq!((&answer["redelivered"], &answer["partial"]), (&true.into(), &true.into()));
}

/// G55: a connection counts as portable from the message on that attaches first.
#[tokio::test]
async fn messages_behind_the_first_attachment_are_kept() {
    let pool = Pool::start(Options::portable()).await;
    let mut socket = WebSocket::connect(pool.address(), &format!("{PATH}?bare")).await;
    for text in ["first", "gate second", "third"] {
        socket.feed(Message::text(text)).await;
    }
    socket.send("fourth").await;
    let first = socket.next_json().await;
    assert_eq!((&first["n"], &first["redelivered"]), (&1.into(), &false.into()));
    pool.kill_worker(pid_in(&pool.wait_at_gate("second").await));
    pool.open_gate("second");
    for (number, text) in [(2, "gate second"), (3, "third"), (4, "fourth")] {
        let answer = socket.next_json().await;
        assert_eq!((&answer["n"], &answer["echo"]), (&number.into(), &text.into()));
        assert!(number != 2 || answer["redelivered"] == true, "{answer}");
    }
}

/// G55 and E39: until then it is like any other.
#[tokio::test]
async fn a_connection_that_has_attached_nothing_yet_is_closed_1011() {
    let pool = Pool::start(Options::portable()).await;
    let mut socket = WebSocket::connect(pool.address(), &format!("{PATH}?bare")).await;
    socket.send("gate first").await;
    pool.kill_worker(pid_in(&pool.wait_at_gate("first").await));
    socket.expect_close_code(1011).await;
}

/// G55: one that dies before it has read that it is to adopt has begun nothing.
#[tokio::test]
async fn an_adopter_that_dies_before_it_reads_taints_nothing() {
    let pool = Pool::start(Options::portable().workers(2)).await;
    let mut client = Counted::connect(&pool, "").await;
    let owner = client.pid().await;
    let target = pool.workers().into_iter().find(|worker| worker.pid != owner).unwrap().pid;
    signal(target, Signal::SIGSTOP);
    pool.kill_worker(owner);
    pool.wait_until_exited(owner).await;
    client.send("unread").await;
    // The only one that is ready was asked, before the one that is started now.
    pool.kill_worker(target);
    assert_eq!(client.receive().await["redelivered"], false);
    let pid = client.pid().await;
    assert!(pid != owner && pid != target);
}

/// G55: one that dies inside its adopt handler has done nothing, and another adopts.
#[tokio::test]
async fn an_adopter_that_dies_within_its_handler_is_followed_by_another() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "adopting=gate+adopt").await;
    let owner = client.pid().await;
    pool.kill_worker(owner);
    let first = pid_in(&pool.wait_at_gate("adopt").await);
    client.send("meanwhile").await;
    pool.kill_worker(first);
    let is_next = |event: &Value| event["event"] == "waiting" && event["pid"] != first;
    let second = pid_in(&pool.wait_for_event("the next adoption", is_next).await);
    pool.open_gate("adopt");
    let answer = client.receive().await;
    assert_eq!((pid_in(&answer), &answer["redelivered"]), (second, &false.into()));
}

/// G55: what an adopt handler sends comes once.
#[tokio::test]
async fn what_an_adopt_handler_sends_comes_before_the_answers() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "adopting=send+here").await;
    client.send("gate held").await;
    pool.kill_worker(pid_in(&pool.wait_at_gate("held").await));
    pool.open_gate("held");
    client.socket.expect_text("here").await;
    assert_eq!(client.receive().await["redelivered"], true);
    client.ask("next").await;
}

/// G55: a client whose messages find no room, and whose pongs are behind them, is not taken for dead.
#[tokio::test]
async fn a_client_that_is_not_read_for_long_stays_open() {
    const MESSAGES: usize = 40;
    let options = Options::portable().with("--ping-interval", "200ms");
    let pool = Pool::start(options.with("--pong-timeout", "500ms")).await;
    let mut client = Counted::connect(&pool, "").await;
    client.send("gate held").await;
    pool.wait_at_gate("held").await;
    let begun = Instant::now();
    let text = "x".repeat(256 << 10);
    let sending = tokio::spawn(async move {
        for _ in 0..MESSAGES {
            client.send(&text).await;
        }
        client
    });
    // The clock is what is tested: twice the pong timeout, and its ping.
    tokio::time::sleep_until((begun + Duration::from_millis(1500)).into()).await;
    assert!(!sending.is_finished(), "10 MiB went nowhere");
    assert_eq!(pool.events("close"), Vec::<Value>::new());
    pool.open_gate("held");
    let mut client = sending.await.unwrap();
    client.settle().await;
    client.ask("still there").await;
}

/// G55: a worker's child may hold the link open for longer than the worker lives. That nobody waits
/// for it is shown where a clock can be stopped, in the router's `reader`.
#[tokio::test]
async fn a_grandchild_that_holds_the_link_delays_no_adoption() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let options = Options::program(folder.join("with_child.py"));
    let pool = Pool::start(options.variable("PYTHONPATH", folder.to_str().unwrap())).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws/counter").await;
    socket.send("one").await;
    socket.expect_text("1 one").await;
    let old = pool.workers()[0].pid;
    let child = pool.log().find("its child", |line| {
        let number = line.output()?.strip_prefix("child ")?;
        (line.number("pid") == Some(old.into())).then(|| number.parse::<u32>().unwrap())
    });
    let child = child.await;
    pool.kill_worker(old);
    socket.send("two").await;
    socket.expect_text("2 two").await;
    assert!(is_alive(child), "it held the link meanwhile");
    pool.open_gate("children");
}
