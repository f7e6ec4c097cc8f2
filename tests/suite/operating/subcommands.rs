//! I67: the subcommands, and what other groups say of the status.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use shovel_tests::{Deploy, Options, Pool, WebSocket, get, signal, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::owned::{Owned, connection_on_each_worker};

/// E38.
#[tokio::test]
async fn the_status_shows_each_worker_as_the_log_and_its_own_page_do() {
    let pool = Pool::start(Options::app().workers(4)).await;
    let status = pool.status().await;
    let field = |worker: &Value, name: &str| worker[name].as_u64().unwrap();
    let shown: Vec<_> = status["workers"].as_array().unwrap().iter().collect();
    let told: Vec<_> = shown
        .iter()
        .map(|worker| ["pid", "id", "index", "generation"].map(|name| field(worker, name)))
        .collect();
    let mut logged = pool.workers();
    logged.sort_by_key(|worker| worker.id);
    let logged: Vec<_> = logged
        .iter()
        .map(|worker| [u64::from(worker.pid), worker.id, worker.index, worker.generation])
        .collect();
    assert_eq!(told, logged);
    assert!(shown.iter().all(|worker| worker["state"] == "ready"));
    assert!(shown.iter().all(|worker| field(worker, "rss_bytes") > 100_000));
    assert_eq!(status["pid"], pool.pid());
    assert_eq!(status["generation"], 1);
    assert_eq!(status["listen"], json!([format!("http://{}", pool.address())]));
    let page = get(pool.address(), "/info").await.json();
    assert!(told.iter().any(|[pid, ..]| page["pid"] == *pid), "{page}");
    let text = pool.operate(&["status"]).await;
    let workers = pool.operate(&["workers"]).await;
    for [pid, ..] in &told {
        assert!(text.text().contains(&pid.to_string()), "{text:?}");
        assert!(workers.text().contains(&pid.to_string()), "{workers:?}");
    }
}

/// C27.
#[tokio::test]
async fn the_status_counts_the_subscribers_that_there_are() {
    let pool = Pool::start(Options::app().with("--io-threads", "3")).await;
    let subscribers = async |channel: &str| {
        let status = pool.status().await;
        let all = status["channels"]["largest"].as_array().unwrap().clone();
        let found = all.into_iter().find(|found| found["name"] == channel);
        found.map(|found| found["connections"].as_u64().unwrap())
    };
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(WebSocket::connect(pool.address(), "/ws?subscribe=room").await);
    }
    assert_eq!(subscribers("room").await, Some(8));
    assert_eq!(sockets[0].ask("subscribe room").await, "subscribed room");
    assert_eq!(sockets[0].ask("subscribe other").await, "subscribed other");
    assert_eq!(subscribers("room").await, Some(8));
    assert_eq!(subscribers("other").await, Some(1));
    assert_eq!(sockets[0].ask("unsubscribe room").await, "unsubscribed room");
    assert_eq!(subscribers("room").await, Some(7));
    for socket in sockets {
        socket.close(1000, "").await;
    }
    until_status(&pool, |status| status["connections"] == 0).await;
    assert_eq!(subscribers("room").await, None);
    assert_eq!(subscribers("other").await, None);
}

/// F50 and I67.
#[tokio::test]
async fn a_failed_reload_exits_1_with_its_reason_and_the_status_keeps_it() {
    let deploy = Deploy::of("good");
    let pool = Pool::start(Options::deployed(&deploy)).await;
    assert_eq!(pool.status().await["reload"]["last"], Value::Null);
    for (deployment, reason) in [("exit", "exited with code 3"), ("stranger", "link")] {
        deploy.rogue(deployment);
        let told = pool.operate(&["reload"]).await;
        assert!(told.failure().contains(reason), "{told:?}");
        let status = pool.status().await;
        assert_eq!(status["reload"]["last"]["outcome"], "abandoned");
        assert!(status["reload"]["last"]["why"].as_str().unwrap().contains(reason), "{status}");
        assert_eq!(status["generation"], 1);
        let text = pool.operate(&["status"]).await;
        assert!(text.text().contains(reason), "{text:?}");
    }
    deploy.app("better");
    let told = pool.operate(&["reload", "--json"]).await.json();
    assert_eq!(told["generation"], 4);
    assert_eq!(get(pool.address(), "/info").await.json()["label"], "better");
    let status = pool.status().await;
    assert_eq!(status["reload"]["last"]["outcome"], "finished");
    assert_eq!(status["reload"]["finished"], 1);
    assert_eq!(status["reload"]["abandoned"], 2);
}

#[tokio::test]
async fn reload_waits_until_the_old_generation_is_gone_and_those_that_come_meanwhile_for_the_next()
{
    let pool = Pool::start(Options::app()).await;
    let address = pool.address();
    let slow = tokio::spawn(async move { get(address, "/gated?gate=slow").await });
    pool.wait_at_gate("slow").await;
    let first = pool.begin(&["reload", "--json"]);
    pool.wait_until_ready(2, 1).await;
    until_status(&pool, |status| status["reload"]["state"] == "draining").await;
    let others = [(); 2].map(|()| pool.begin(&["reload", "--json"]));
    let is_coalesced = |line: &shovel_tests::Line| line.raw.contains("one more will follow");
    until("both to be noted", || {
        pool.log().lines().iter().filter(|line| is_coalesced(line)).count() == 2
    })
    .await;
    assert!(!first.is_finished());
    pool.open_gate("slow");
    assert_eq!(slow.await.unwrap().status, 200);
    assert_eq!(first.await.unwrap().json()["generation"], 2);
    for other in others {
        assert_eq!(other.await.unwrap().json()["generation"], 3);
    }
}

#[tokio::test]
async fn a_reload_cut_short_by_the_end_of_the_pool_exits_1_in_one_line() {
    for end in ["sigterm", "sigkill"] {
        let deploy = Deploy::of("good");
        let mut pool = Pool::start(Options::deployed(&deploy)).await;
        deploy.rogue("never-ready");
        let reload = pool.begin(&["reload"]);
        pool.wait_for("the reload", |line| line.is("reload started")).await;
        match end {
            "sigterm" => pool.sigterm(),
            _ => pool.kill(),
        }
        let told = reload.await.unwrap();
        let why = if end == "sigterm" { "the pool is ending" } else { "the pool has ended" };
        assert!(told.failure().contains(why), "{told:?}");
    }
}

#[tokio::test]
async fn scale_starts_workers_and_drains_those_too_many_and_a_reload_keeps_the_number() {
    let pool = Pool::start(Options::app().workers(1).with("--close-spread", "0ms")).await;
    assert_eq!(pool.operate(&["scale", "3", "--json"]).await.json()["before"], 1);
    pool.wait_until_ready(1, 3).await;
    let mut owned = connection_on_each_worker(&pool, "/ws", 3).await;
    // The worker of index 0 was there first and stays.
    let stays = pool.workers().into_iter().find(|worker| worker.index == 0).unwrap();
    owned.sort_by_key(|owned| owned.pid != stays.pid);
    let address = pool.address();
    owned[1].socket.send("gate slow").await;
    pool.wait_at_gate("slow").await;
    let told = pool.operate(&["scale", "1"]).await;
    assert_eq!(told.text(), "from 3 to 1 workers\n");
    owned[2].socket.expect_close(1012, "server reloading").await;
    // What it was asked is finished first.
    pool.open_gate("slow");
    owned[1].socket.expect_text("passed slow").await;
    owned[1].socket.expect_close(1012, "server reloading").await;
    until("the others to leave", || pool.workers() == [stays]).await;
    assert_eq!(owned[0].socket.ask("still here").await, "echo still");
    assert_eq!(get(address, "/info").await.json()["pid"], stays.pid);
    pool.operate(&["scale", "2"]).await.text();
    pool.operate(&["reload"]).await.text();
    let status = pool.status().await;
    assert_eq!(status["workers_wanted"], 2);
    let workers = status["workers"].as_array().unwrap();
    assert!(workers.iter().all(|worker| worker["generation"] == 2), "{status}");
    assert_eq!(workers.len(), 2);
}

/// I200.
#[tokio::test]
async fn more_workers_than_descriptors_allow_are_refused_wherever_that_is_said() {
    let bound = "at most 98 workers here, not 99";
    let pool = Pool::start(Options::app().after("ulimit -n 1024")).await;
    let told = pool.operate(&["scale", "99"]).await;
    assert!(told.failure().contains(bound) && told.err.contains("ulimit -n"), "{told:?}");
    assert_eq!(pool.status().await["workers_wanted"], 1);
    assert_eq!(pool.workers().len(), 1);

    let mut pool = Pool::launch(Options::app().workers(99).after("ulimit -n 1024"));
    assert_eq!(pool.exit_status().await.code(), Some(2));
    pool.wait_for("the bound", |line| line.raw.contains(bound)).await;
    let pool = Pool::start(Options::app()).await;
    for workers in ["1025", "100000"] {
        let told = pool.operate(&["scale", workers]).await;
        assert!(told.failure().contains("at most"), "{told:?}");
    }
    assert_eq!(pool.workers().len(), 1);
}

/// I200.
#[tokio::test]
async fn workers_that_were_asked_for_too_many_are_taken_back_before_they_are_started() {
    let pool = Pool::start(Options::app()).await;
    let path = pool.status().await["admin_socket"].as_str().unwrap().to_owned();
    // Both questions wait for a pool that stands still, so that it finds both.
    signal(pool.pid(), Signal::SIGSTOP);
    let mut asked = Vec::new();
    for workers in [90, 2] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let question = json!({"ask": "scale", "workers": workers}).to_string() + "\n";
        stream.write_all(question.as_bytes()).await.unwrap();
        asked.push(stream);
    }
    signal(pool.pid(), Signal::SIGCONT);
    for mut stream in asked {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("ok"), "{answer}");
    }
    until_status(&pool, |status| status["workers"].as_array().unwrap().len() == 2).await;
    pool.wait_until_ready(1, 2).await;
    let started = pool.log().lines().iter().filter(|line| line.is("worker started")).count();
    assert!(started < 90, "{started} were started");
}

/// C24.
#[tokio::test]
async fn an_operator_publishes_to_the_subscribers_of_all_threads() {
    let pool = Pool::start(Options::app().workers(2).with("--io-threads", "3")).await;
    let mut sockets = Vec::new();
    for _ in 0..6 {
        sockets.push(WebSocket::connect(pool.address(), "/ws?subscribe=room").await);
    }
    let told = pool.operate(&["publish", "room", "from outside", "--json"]).await.json();
    assert_eq!(told, json!({"delivered": 6, "dropped": 0, "closed": 0}));
    let told = pool.operate_with(&["publish", "room", "-"], "from stdin ü\n".as_bytes()).await;
    assert_eq!(told.text(), "delivered 6, dropped 0, closed 0\n");
    let binary = pool.operate_with(&["publish", "room", "--binary"], &[0, 255, 1]).await;
    binary.text();
    let empty = pool.operate(&["publish", "room", ""]).await;
    empty.text();
    for socket in &mut sockets {
        socket.expect_text("from outside").await;
        socket.expect_text("from stdin ü\n").await;
        assert_eq!(socket.next().await, Message::binary(vec![0, 255, 1]));
        socket.expect_text("").await;
    }
    // Workers that subscribe themselves hear it too.
    pool.operate(&["publish", "objects", "outside"]).await.text();
    until("both objects of both workers to hear it", || {
        pool.events("heard").iter().filter(|event| event["text"] == "outside").count() == 4
    })
    .await;
    let nobody = pool.operate(&["publish", "nobody-is-here", "x", "--json"]).await.json();
    assert_eq!(nobody["delivered"], 0);
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_in_one_line() {
    let pool = Pool::start(Options::app().with("--max-message-size", "64KiB")).await;
    let mut socket = WebSocket::connect(pool.address(), "/ws?subscribe=room").await;
    let told = pool.operate_with(&["publish", "room"], &[0, 255, 1]).await;
    assert!(told.failure().contains("UTF-8"), "{told:?}");
    let told = pool.operate_with(&["publish", "room"], &vec![b'x'; 8 << 20]).await;
    assert!(told.failure().contains("65536 bytes"), "{told:?}");
    let told = pool.operate(&["publish", &"x".repeat(2000), "y"]).await;
    assert!(told.failure().contains("name"), "{told:?}");
    pool.operate_with(&["publish", "room"], &vec![b'x'; 64 << 10]).await.text();
    assert_eq!(socket.next_text().await.len(), 64 << 10);
}

#[tokio::test]
async fn connections_are_listed_with_what_they_are_and_have() {
    let pool = Pool::start(Options::app().workers(2).with("--io-threads", "2")).await;
    let mut owned = connection_on_each_worker(&pool, "/ws?subscribe=a&subscribe=b", 2).await;
    owned[0].socket.send("gate slow").await;
    pool.wait_at_gate("slow").await;
    owned[0].socket.send("info").await;
    let list = async |arguments: &[&str]| {
        let told = pool.operate(&[&["connections", "--json"], arguments].concat()).await.json();
        told.as_array().unwrap().clone()
    };
    let workers = pool.workers();
    // The message may still be on its way to the worker.
    let is_there = async || {
        let all = list(&[]).await;
        let busy = all.iter().find(|one| one["uuid"] == *owned[0].id).unwrap();
        (busy["uncommitted"] == 2).then(|| all.clone())
    };
    let all = shovel_tests::within("both messages", async {
        loop {
            if let Some(all) = is_there().await {
                return all;
            }
        }
    })
    .await;
    for Owned { id, pid, .. } in &owned {
        let one = all.iter().find(|one| one["uuid"] == **id).unwrap();
        let worker = workers.iter().find(|worker| worker.pid == *pid).unwrap();
        assert_eq!(one["worker"], worker.id);
        assert_eq!(one["url"], "/ws?subscribe=a&subscribe=b");
        assert_eq!(one["subscriptions"], 2);
        let mut channels: Vec<_> = one["channels"].as_array().unwrap().clone();
        channels.sort_by_key(|name| name.to_string());
        assert_eq!(channels, ["a", "b"]);
        assert!(one["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        let age = one["age"].as_f64().unwrap();
        assert!((0.0..60.0).contains(&age), "{age}");
        let its = list(&["--worker", &worker.id.to_string()]).await;
        assert!(its.iter().any(|one| one["uuid"] == **id));
        assert!(its.iter().all(|one| one["worker"] == worker.id));
    }
    pool.open_gate("slow");
    owned[0].socket.expect_text("passed slow").await;
}

/// H180: what its app has chosen for a connection.
#[tokio::test]
async fn connections_are_listed_with_what_becomes_of_slow_ones_if_their_app_has_chosen_that() {
    let pool = Pool::start(Options::app().with("--slow-consumer", "drop-oldest")).await;
    let _usual = WebSocket::connect(pool.address(), "/ws?subscribe=a").await;
    let mut chosen = WebSocket::connect(pool.address(), "/ws?slow=drop-newest").await;
    let list = async || {
        let told = pool.operate(&["connections", "--json"]).await.json();
        let all = told.as_array().unwrap().iter();
        let shown = |one: &Value| (one["url"].clone(), one["slow_consumer"].clone());
        all.map(shown).collect::<std::collections::HashMap<_, _>>()
    };
    let all = list().await;
    assert_eq!(all[&json!("/ws?subscribe=a")], Value::Null);
    assert_eq!(all[&json!("/ws?slow=drop-newest")], "drop-newest");
    let text = pool.operate(&["connections"]).await.text().to_owned();
    assert_eq!(text.matches(" drop-newest ").count(), 1, "{text}");
    assert_eq!(text.matches("drop-oldest").count(), 0, "{text}");
    assert_eq!(chosen.ask("slow close").await, "slow close");
    assert_eq!(list().await[&json!("/ws?slow=drop-newest")], "close");
}

#[tokio::test]
async fn a_long_list_of_connections_is_whole_and_a_limited_one_says_so() {
    let pool = Pool::start(Options::app().with("--io-threads", "3")).await;
    let mut sockets = Vec::new();
    for _ in 0..50 {
        sockets.push(WebSocket::connect(pool.address(), "/ws").await);
    }
    let told = pool.operate(&["connections", "--json"]).await;
    let all = told.json();
    let ids: std::collections::BTreeSet<_> =
        all.as_array().unwrap().iter().map(|one| one["uuid"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 50);
    assert_eq!(told.err, "");
    let told = pool.operate(&["connections", "--limit", "20"]).await;
    assert_eq!(told.text().lines().count(), 21);
    assert!(told.err.contains("--limit"), "{told:?}");
}

/// Asks for the status until it is so.
async fn until_status(pool: &Pool, is_so: impl Fn(&Value) -> bool) {
    shovel_tests::within("a change of the status", async { while !is_so(&pool.status().await) {} })
        .await;
}
