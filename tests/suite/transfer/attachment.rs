//! G56: what is attached to a connection, and connections that are refused.

use serde_json::Value;
use shovel_tests::{Deploy, Options, Pool, is_alive, program};

use crate::harness::counted::Counted;

/// Deploys the fixture with attachments of this version.
fn deploy_version(deploy: &Deploy, version: u32) {
    let app = program("fixture-app");
    deploy.script(&format!("exec '{}' portable version={version}", app.display()));
}

/// G56.
#[tokio::test]
async fn the_newest_attachment_wins_on_reload_and_on_a_crash() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "").await;
    assert_eq!(client.ask("notes one two three").await["about"]["note"], "three");
    pool.reload(2).await;
    assert_eq!(client.ask("who").await["about"]["note"], "three");
    let fourth = client.ask("note four").await;
    pool.kill_worker(crate::harness::counted::pid_in(&fourth));
    let answer = client.ask("who").await;
    assert_eq!((&answer["about"]["note"], &answer["generation"]), (&"four".into(), &2.into()));
}

/// G56: 16 KiB at most.
#[tokio::test]
async fn an_attachment_that_is_too_long_is_an_error_and_changes_nothing() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "").await;
    client.socket.send("attach 16385").await;
    let error = client.socket.next_json().await["error"].as_str().unwrap().to_owned();
    assert!(error.contains("16385 bytes; at most 16384"), "{error}");
    let mut socket = client.socket;
    // What was attached before stands.
    socket.send("who").await;
    assert_eq!(socket.next_json().await["n"], 2);
    socket.send("attach 16384").await;
    assert_eq!(socket.next_json().await["error"], Value::Null);
}

/// G56: the version goes along, and decides who may read.
#[tokio::test]
async fn the_version_of_an_attachment_travels_and_a_newer_one_is_refused() {
    let deploy = Deploy::of("");
    deploy_version(&deploy, 1);
    let options = Options::deployed(&deploy).with("--close-spread", "0ms");
    let pool = Pool::start(options).await;
    let mut client = Counted::connect(&pool, "").await;
    let mut idle = Counted::connect(&pool, "").await;
    deploy_version(&deploy, 2);
    pool.reload(2).await;
    // Its worker writes the new version from now on.
    client.ask("written anew").await;
    deploy_version(&deploy, 1);
    pool.reload(3).await;
    client.socket.expect_close_code(1012).await;
    assert_eq!(pool.wait_for_close_event(&client.id).await["code"], 1012);
    assert_eq!(idle.ask("still there").await["generation"], 3);
    let versions = |id: &str| {
        let events = pool.events("adopted").into_iter().filter(|event| event["id"] == id);
        events.map(|event| event["version"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((versions(&client.id), versions(&idle.id)), (vec![1, 2], vec![1, 1]));
}

/// G56: one that is refused is closed 1012, and no other.
#[tokio::test]
async fn an_adopt_handler_that_errs_closes_that_connection_1012_and_no_other() {
    let options = Options::portable().workers(2);
    let pool = Pool::start(options).await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(Counted::connect(&pool, "").await);
    }
    let mut refused = Counted::connect(&pool, "adopting=refuse").await;
    pool.sighup();
    refused.socket.expect_close_code(1012).await;
    let event = pool.wait_for_close_event(&refused.id).await;
    assert_eq!((&event["code"], &event["redelivered"]), (&1012.into(), &false.into()));
    pool.wait_for_reload(2).await;
    for client in &mut others {
        assert_eq!(client.ask("still there").await["generation"], 2);
    }
    assert_eq!(pool.events("close").len(), 1);
    assert_eq!(pool.exited().len(), 2, "{}", pool.log());
}

/// G56: the close event of one that was refused survives the worker that refused it.
#[tokio::test]
async fn the_close_event_of_a_refused_connection_comes_though_its_worker_dies() {
    let pool = Pool::start(Options::portable()).await;
    let mut refused = Counted::connect(&pool, "adopting=refuse&closing=closing").await;
    pool.sighup();
    refused.socket.expect_close_code(1012).await;
    let first = crate::harness::counted::pid_in(&pool.wait_at_gate("closing").await);
    pool.kill_worker(first);
    pool.open_gate("closing");
    let event = pool.wait_for_close_event(&refused.id).await;
    assert_eq!((&event["code"], &event["redelivered"]), (&1012.into(), &true.into()));
    assert!(!is_alive(first));
}
