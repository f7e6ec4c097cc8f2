//! Whose fault a worker's death is.

use nix::sys::signal::Signal;
use serde_json::Value;
use shovel_tests::{Options, Pool, post, signal, until};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::counted::{Counted, PATH, pid_in};
use crate::harness::watched::Watched;

/// Deaths after which a message is given up in any case.
const HOPELESS: usize = 8;

/// The workers that wait at a gate for a message, one after the other.
struct Waiting<'a> {
    pool: &'a Pool,
    gate: String,
    seen: Vec<u32>,
}

impl<'a> Waiting<'a> {
    fn at(pool: &'a Pool, gate: &str) -> Self {
        Waiting { pool, gate: gate.to_owned(), seen: Vec::new() }
    }

    /// The next one that has not been there before.
    async fn next(&mut self) -> u32 {
        let (gate, seen) = (&self.gate, &self.seen);
        let is_next = |event: &Value| {
            let is_there = event["event"] == "waiting" && event["gate"] == **gate;
            is_there && !seen.contains(&pid_in(event))
        };
        let event = self.pool.wait_for_event(&format!("another worker at {gate}"), is_next).await;
        self.seen.push(pid_in(&event));
        pid_in(&event)
    }
}

/// G82: three deaths, but the message that survived two of them has ended.
#[tokio::test]
async fn a_message_that_kills_for_the_first_time_is_not_convicted_for_the_one_before() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "").await;
    client.send("gate slow").await;
    client.send("abort-unless mended").await;
    client.send("after").await;
    let mut waiting = Waiting::at(&pool, "slow");
    for _ in 0..2 {
        pool.kill_worker(waiting.next().await);
    }
    let third = waiting.next().await;
    pool.open_gate("slow");
    assert_eq!(client.receive().await["redelivered"], true);
    pool.wait_until_exited(third).await;
    pool.open_gate("mended");
    assert_eq!(client.receive().await["redelivered"], true);
    client.receive().await;
    client.ask("still open").await;
    assert_eq!(pool.events("close"), Vec::<Value>::new());
    assert_eq!(pool.exited().len(), 3, "{}", pool.log());
}

/// G82: and the killer gets three deaths of its own.
#[tokio::test]
async fn a_killer_behind_a_message_that_survived_is_convicted_by_its_own_deaths() {
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "").await;
    client.send("gate slow").await;
    client.send("abort").await;
    let mut waiting = Waiting::at(&pool, "slow");
    for _ in 0..2 {
        pool.kill_worker(waiting.next().await);
    }
    waiting.next().await;
    pool.open_gate("slow");
    client.receive().await;
    client.socket.expect_close_code(1011).await;
    assert_eq!(pool.wait_for_close_event(&client.id).await["code"], 1011);
    assert_eq!(pool.exited().len(), 5, "{}", pool.log());
}

/// G82: of messages that came together, those that do not kill are answered, each once.
#[tokio::test]
async fn healthy_messages_before_a_killer_are_answered_once_and_only_the_killer_convicts() {
    const HEALTHY: u64 = 3;
    let pool = Pool::start(Options::portable()).await;
    let mut client = Counted::connect(&pool, "").await;
    for _ in 0..HEALTHY {
        client.socket.feed(Message::text("healthy")).await;
    }
    client.socket.send("abort").await;
    for number in 2..2 + HEALTHY {
        let answer = client.socket.next_json().await;
        assert_eq!((&answer["n"], &answer["seq"]), (&number.into(), &number.into()));
        assert_eq!(answer["echo"], "healthy");
    }
    client.socket.expect_close_code(1011).await;
    assert_eq!(pool.wait_for_close_event(&client.id).await["code"], 1011);
    // Two that are taken for the first message's fault, and three.
    assert!(pool.exited().len() <= 5, "{}", pool.log());
    let is_verdict = |line: &shovel_tests::Line| line.message().contains("has ended its workers");
    assert_eq!(pool.log().lines().iter().filter(|line| is_verdict(line)).count(), 1);
}

/// G83: whoever kills from outside can hit the same message again and again. Each time a request is
/// under way too.
#[tokio::test]
async fn a_message_that_is_hit_from_outside_in_company_is_never_convicted() {
    let pool = Pool::start(Options::portable()).await;
    let address = pool.address();
    let mut client = Counted::connect(&pool, "").await;
    client.send("gate slow").await;
    let mut waiting = Waiting::at(&pool, "slow");
    for number in 0..=HOPELESS {
        let pid = waiting.next().await;
        let gate = format!("company-{number}");
        let path = format!("/gated?gate={gate}");
        let company = tokio::spawn(async move { post(address, &path, "text").await.status });
        assert_eq!(Waiting::at(&pool, &gate).next().await, pid);
        let how = if number % 2 == 0 { Signal::SIGKILL } else { Signal::SIGTERM };
        signal(pid, how);
        assert_eq!(company.await.unwrap(), 502);
    }
    waiting.next().await;
    pool.open_gate("slow");
    assert_eq!(client.receive().await["redelivered"], true);
    assert_eq!(pool.events("close"), Vec::<Value>::new());
}

/// G83: nor one that is alone with its worker, but longer than its trial lasts.
#[tokio::test]
async fn a_message_that_is_hit_from_outside_after_its_trial_is_not_convicted() {
    let pool = Pool::start(Options::portable()).await;
    let mut neighbour = Counted::connect(&pool, "").await;
    let mut client = Counted::connect(&pool, "").await;
    client.send("gate slow").await;
    let mut waiting = Waiting::at(&pool, "slow");
    for _ in 0..2 {
        pool.kill_worker(waiting.next().await);
    }
    let third = waiting.next().await;
    // It waits for the end of the trial.
    neighbour.ask("are you there").await;
    pool.kill_worker(third);
    waiting.next().await;
    pool.open_gate("slow");
    assert_eq!(client.receive().await["redelivered"], true);
    assert_eq!(pool.events("close"), Vec::<Value>::new());
}

/// G83: but a message that has its worker killed each time, as the kernel does when memory runs out,
/// does not go on for ever, though others are busy beside it.
#[tokio::test]
async fn a_message_that_has_its_workers_killed_by_sigkill_is_convicted_in_the_end() {
    let watched = Watched::start(Options::portable().workers(2)).await;
    let pool = &watched.pool;
    let mut neighbour = Counted::connect(pool, "").await;
    let mut client = Counted::connect(pool, "").await;
    client.send("kill").await;
    client.socket.expect_close_code(1011).await;
    assert_eq!(pool.wait_for_close_event(&client.id).await["code"], 1011);
    assert!(pool.exited().len() <= HOPELESS, "{}", pool.log());
    neighbour.ask("still open").await;
    let metrics = watched.metrics().await;
    assert_eq!(metrics.of("shovel_connections_quarantined_total"), 1.0);
    until("as many workers as before", || pool.workers().len() == 2).await;
    assert!(client_path_is_open(pool).await);
}

/// Whether a new connection is taken.
async fn client_path_is_open(pool: &Pool) -> bool {
    shovel_tests::WebSocket::try_connect(pool.address(), PATH).await.is_ok()
}
