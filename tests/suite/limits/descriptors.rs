//! H62: a supervisor that has few descriptors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use shovel_tests::{
    Options, Pool, Raw, WebSocket, get, open_descriptors, processor_time, signal, until,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::owned::connection_on_each_worker;

/// Clients that each ask once and stay until they are sent away.
struct Crowd {
    answered: Arc<AtomicUsize>,
    leave: Arc<Notify>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn gather(address: SocketAddr, clients: usize) -> Crowd {
        let (answered, leave) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let clients = (0..clients)
            .map(|_| tokio::spawn(ask_and_stay(address, answered.clone(), leave.clone())))
            .collect();
        Crowd { answered, leave, clients }
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until the pool takes no more of them, though some still wait.
    async fn wait_until_some_must_wait(&self, pool: &Pool) {
        let (mut before, mut unchanged) = ((0, 0), 0);
        until("a crowd that stands", || {
            let now = (self.answered(), open_descriptors(pool.pid()));
            unchanged = if now == before { unchanged + 1 } else { 0 };
            before = now;
            now.0 > 0 && unchanged > 50
        })
        .await;
        assert!(self.answered() < self.clients.len(), "there was room for everybody");
    }

    /// Has those leave that were answered, until everybody was.
    async fn disperse(self) {
        while self.answered() < self.clients.len() {
            let before = self.answered();
            self.leave.notify_waiters();
            until("others to be answered", || self.answered() > before).await;
        }
        self.leave.notify_waiters();
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

async fn ask_and_stay(address: SocketAddr, answered: Arc<AtomicUsize>, leave: Arc<Notify>) {
    let mut raw = Raw::connect(address).await;
    raw.write("GET /info HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let leave = leave.notified();
    answered.fetch_add(1, Ordering::Relaxed);
    leave.await;
}

/// H62.
#[tokio::test]
async fn clients_beyond_the_limit_wait_at_no_cost_and_are_served_when_others_leave() {
    let options = Options::app().workers(2).after("ulimit -n 96");
    let pool = Pool::start(options).await;
    let mut owned = connection_on_each_worker(&pool, "/ws", 2).await;
    let crowd = Crowd::gather(pool.address(), 120);
    crowd.wait_until_some_must_wait(&pool).await;

    let before = processor_time(pool.pid());
    // The time over which it is measured, not one that anything needs.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = processor_time(pool.pid()) - before;
    assert!(spent < Duration::from_millis(100), "{spent:?} of a second");

    // A new worker needs descriptors too.
    pool.kill_worker(owned[0].pid);
    owned[0].socket.expect_close_code(1011).await;
    pool.wait_until_ready(1, 3).await;
    assert_eq!(owned[1].socket.ask("next").await, "echo next");
    crowd.disperse().await;
    assert_eq!(get(pool.address(), "/info").await.status, 200);
    assert_eq!(pool.workers().len(), 2);
}

/// H62.
#[tokio::test]
async fn a_reload_succeeds_though_clients_wait_for_a_descriptor() {
    let pool = Pool::start(Options::app().workers(2).after("ulimit -n 96")).await;
    let crowd = Crowd::gather(pool.address(), 120);
    crowd.wait_until_some_must_wait(&pool).await;
    pool.reload(2).await;
    crowd.disperse().await;
    assert!(pool.workers().iter().all(|worker| worker.generation == 2));
}

/// H62: to wait until a full link has room takes no descriptor that might be missing.
#[tokio::test]
async fn a_link_that_was_full_goes_on_though_no_descriptor_is_left() {
    let pool = Pool::start(Options::app().after("ulimit -n 64")).await;
    let mut big = WebSocket::connect(pool.address(), "/ws/echo").await;
    let mut other = WebSocket::connect(pool.address(), "/ws").await;
    let crowd = Crowd::gather(pool.address(), 100);
    crowd.wait_until_some_must_wait(&pool).await;
    let worker = pool.workers()[0].pid;
    signal(worker, Signal::SIGSTOP);
    let message = Message::binary(vec![7; 4 << 20]);
    big.send_message(message.clone()).await;
    // The supervisor answers this, and only when it has handed over what came before.
    big.send_message(Message::Ping("there?".into())).await;
    assert_eq!(big.next().await, Message::Pong("there?".into()));
    other.send("meanwhile").await;
    signal(worker, Signal::SIGCONT);
    other.expect_text("echo meanwhile").await;
    assert!(big.next().await == message, "another message than was sent");
    assert_eq!(big.ask("after").await, "after");
    crowd.disperse().await;
    assert_eq!(pool.exited(), [], "the link has ended");
}
