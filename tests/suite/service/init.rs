//! J74: the pool as pid 1, as in a container.

use nix::sys::signal::Signal;
use shovel_tests::{Options, Pool, WebSocket, can_unshare, children, get, signal, until};

const ORPHANS: usize = 20;

/// `None`, with the reason on stdout, where no namespace can be made.
async fn first_process(options: Options) -> Option<Pool> {
    if let Err(why) = can_unshare() {
        println!("skipped: this machine does not allow namespaces: {why}");
        return None;
    }
    let pool = Pool::start(options.as_pid_1()).await;
    let line = pool.wait_for("an address", |line| line.is("listening")).await;
    assert_eq!(line.number("pid"), Some(1));
    Some(pool)
}

/// J74.
#[tokio::test]
async fn orphans_are_reaped_and_workers_are_not_taken_for_them() {
    let Some(pool) = first_process(Options::app().workers(2)).await else { return };
    let init = pool.pid();
    get(pool.address(), &format!("/orphans?count={ORPHANS}")).await;
    until("orphans", || children(init).len() == 2 + ORPHANS).await;
    pool.open_gate("orphans");
    until("the end of all orphans", || children(init).len() == 2).await;

    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    children(init).into_iter().for_each(|worker| signal(worker, Signal::SIGKILL));
    socket.expect_close_code(1011).await;
    for worker in [1, 2] {
        let exited = |line: &shovel_tests::Line| {
            line.is("worker exited") && line.number("worker") == Some(worker)
        };
        let line = pool.wait_for("the end of a worker", exited).await;
        assert!(line.text("status").contains("signal 9"), "{}", line.raw);
    }
    pool.wait_until_ready(1, 4).await;
    assert_eq!(get(pool.address(), "/info").await.status, 200);
}

/// J74: signals that a process of another number would end by are handled by pid 1 itself.
#[tokio::test]
async fn pid_1_reloads_and_ends_as_it_is_told() {
    let Some(mut pool) = first_process(Options::app().workers(2)).await else { return };
    get(pool.address(), &format!("/orphans?count={ORPHANS}")).await;
    pool.reload(2).await;
    assert_eq!(get(pool.address(), "/info").await.json()["generation"], 2);
    pool.sigterm();
    assert_eq!(pool.exit_status().await.code(), Some(0), "{}", pool.log());
}
