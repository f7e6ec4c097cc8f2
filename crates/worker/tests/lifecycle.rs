//! Start, shutdown, and the links themselves.

mod harness;

use std::sync::Arc;

use harness::{REQUEST, Supervisor};
use shovel_protocol::handshake::{Capabilities, Greeting};
use shovel_protocol::head::{self, Kind};
use shovel_protocol::{ToSupervisor, ToWorker};
use shovel_worker::{App, Error, FetchEvent, RunError, ShutdownEvent, StartEvent};
use tokio::sync::Notify;

/// The order of the end: handlers, then background work, then the shutdown handler.
#[tokio::test]
async fn shutdown_waits_for_handlers_and_background_work() {
    #[derive(Default)]
    struct Gates {
        handler: Notify,
        work: Notify,
        notes: harness::Notes,
    }
    let gates = Arc::new(Gates::default());
    let mut heard = gates.notes.listen();
    let app = App::new(gates.clone())
        .on_fetch(async |event: FetchEvent<Arc<Gates>>| {
            let gates = event.state().clone();
            let later = Arc::clone(&gates);
            event.wait_until(async move {
                later.work.notified().await;
                later.notes.say("work");
            });
            gates.handler.notified().await;
            gates.notes.say("handler");
            Ok::<_, Error>("done")
        })
        .on_shutdown(async |event: ShutdownEvent<Arc<Gates>>| {
            event.state().notes.say("shutdown");
            Ok::<_, Error>(())
        });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.get(REQUEST, "/").await;
    supervisor.send(&[ToWorker::Shutdown]).await;
    supervisor.expect_nothing().await;
    gates.handler.notify_one();
    assert_eq!(supervisor.response().await, (200, b"done".to_vec()));
    supervisor.expect_nothing().await;
    gates.work.notify_one();
    supervisor.expect(ToSupervisor::ShutdownComplete).await;
    for note in ["handler", "work", "shutdown"] {
        assert_eq!(heard.next().await, note);
    }
    harness::patiently("the end", supervisor.worker).await.unwrap().unwrap();
}

/// E42: a worker that takes its time to start is not taken for one that hangs.
#[tokio::test]
async fn a_ping_is_answered_while_the_start_handler_runs() {
    let go = Arc::new(Notify::new());
    let app = App::new(go.clone()).on_start(async |event: StartEvent<Arc<Notify>>| {
        event.state().notified().await;
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start_with(app, 1, false).await;
    supervisor.expect_nothing().await;
    go.notify_one();
    supervisor.expect_ready().await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_failed_or_panicked_start_ends_the_worker_with_one_line() {
    let fails = App::new(())
        .on_start(async |_event: StartEvent<()>| Err::<(), _>(Error::message("no database")));
    let error = Supervisor::start_with(fails, 1, false).await.ended().await;
    assert_eq!(format!("{error:?}"), "start failed: no database");
    let panics = App::new(()).on_start(async |event: StartEvent<()>| {
        assert!(event.worker().id == 0, "by intent");
        Ok::<_, Error>(())
    });
    let error = Supervisor::start_with(panics, 1, false).await.ended().await;
    assert_eq!(error.to_string(), "start failed: panicked: by intent");
}

/// E43: whatever runs, the end of a link ends the worker.
#[tokio::test]
async fn a_worker_ends_with_its_supervisor() {
    let app = App::new(()).on_fetch(async |event: FetchEvent<()>| {
        event.wait_until(std::future::pending());
        std::future::pending::<Result<(), Error>>().await
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.get(REQUEST, "/").await;
    supervisor.expect_nothing().await;
    assert!(matches!(supervisor.vanish().await, RunError::SupervisorGone));
}

#[tokio::test]
async fn a_supervisor_of_another_version_is_refused_in_one_line() {
    let mut supervisor = Supervisor::silent(App::new(()), 1);
    let future = Greeting { version: 9, oldest: 8, capabilities: Capabilities::default() };
    let mut hello = Vec::new();
    head::put(&mut hello, Kind::Hello, 0, 0, |out| out.extend_from_slice(&future.to_bytes()));
    supervisor.send_bytes(&hello).await;
    let line = supervisor.ended().await.to_string();
    assert!(line.contains("speaks versions 8 to 9 of the link protocol"), "{line}");
    assert!(!line.contains('\n'));
}

#[tokio::test]
async fn a_link_that_does_not_begin_with_hello_is_refused() {
    let mut supervisor = Supervisor::silent(App::new(()), 1);
    supervisor.send(&[ToWorker::Ping { nonce: 1 }]).await;
    assert!(matches!(supervisor.ended().await, RunError::Protocol(_)));
}

#[cfg(not(feature = "direct"))]
#[tokio::test]
async fn a_program_without_a_supervisor_says_how_to_start_it() {
    let error = App::new(()).serve().await.unwrap_err();
    assert!(error.to_string().ends_with("start it with: shovel-pool PROGRAM"));
}
