//! What a handler does to its connection takes effect in one step with its commit.

use shovel_protocol::control::{Effect, Welcome};
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::{Act, ToSupervisor, ToWorker, When};
use shovel_worker::AttachmentError;

use crate::harness::{CONNECTION, Supervisor, closed, commit, sent, text};
use crate::{app, attached, during, long, plain_app, published, staged, subscribed};

/// Upgrades; returns whether the connection is portable, and what is attached to it at once.
async fn open(supervisor: &mut Supervisor, target: &str) -> (bool, Option<Vec<u8>>) {
    supervisor.offer(target).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Upgrade { portable, mut effects, .. } = seen.read() else {
        panic!("no upgrade: {:?}", seen.read());
    };
    let attached = effects.next().map(|effect| match effect.unwrap() {
        Effect::Attach { version: 1, data } => data.to_vec(),
        other => panic!("no attachment: {other:?}"),
    });
    assert!(effects.next().is_none());
    (portable, attached)
}

#[tokio::test]
async fn an_upgrade_says_that_the_connection_may_move_and_carries_what_is_attached() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    assert_eq!(open(&mut supervisor, "/room").await, (true, Some(b"/room".to_vec())));
    supervisor.shut_down().await;
}

#[tokio::test]
async fn what_a_handler_does_is_staged_until_it_ends_and_then_committed_in_order() {
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let script = "send one; subscribe news; publish hello; wait; send two";
    supervisor.send(&[text(1, script)]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.expect_nothing().await;
    state.go.notify_one();
    supervisor.expect(staged("one", false)).await;
    supervisor.expect(subscribed(CONNECTION, "news")).await;
    supervisor.expect(published(CONNECTION, When::Staged, "hello")).await;
    supervisor.expect(staged("two", true)).await;
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

/// An echo stays one frame.
#[tokio::test]
async fn a_staged_send_that_is_the_last_act_commits_and_any_other_act_does_not() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let scripts = ["send one", "say nothing", "send two; unsubscribe news", "send three"];
    let mut seq = 0;
    for script in scripts {
        seq += 1;
        supervisor.send(&[text(seq, script)]).await;
    }
    supervisor.expect(staged("one", true)).await;
    supervisor.expect(commit(2)).await;
    supervisor.expect(staged("two", false)).await;
    let unsubscribe = Effect::Unsubscribe { channel: "news" };
    supervisor.expect(Act::new(CONNECTION, When::Staged, unsubscribe).into()).await;
    supervisor.expect(commit(3)).await;
    supervisor.expect(staged("three", true)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn the_newest_attachment_is_written_once_in_front_of_the_sends() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let scripts = [text(1, "attach a; send one; attach b"), text(2, "attach c"), text(3, "send x")];
    supervisor.send(&scripts).await;
    supervisor.expect(attached(CONNECTION, When::Staged, "b")).await;
    supervisor.expect(staged("one", true)).await;
    supervisor.expect(attached(CONNECTION, When::Staged, "c")).await;
    supervisor.expect(commit(2)).await;
    supervisor.expect(staged("x", true)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_send_of_200_kib_is_staged_whole() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "send before; long 204800")]).await;
    supervisor.expect(staged("before", false)).await;
    supervisor.expect(staged(&long(204_800), false)).await;
    supervisor.expect(commit(1)).await;
    supervisor.shut_down().await;
}

/// docs/lifecycle.md, "What is promised about messages".
#[tokio::test]
async fn a_handler_that_fails_commits_what_it_did() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "send one; attach a; fail"), text(2, "attach b; fail")]).await;
    supervisor.expect(attached(CONNECTION, When::Staged, "a")).await;
    supervisor.expect(staged("one", true)).await;
    supervisor.expect(attached(CONNECTION, When::Staged, "b")).await;
    supervisor.expect(commit(2)).await;
    supervisor.shut_down().await;
}

/// docs/lifecycle.md, "What is promised about messages": at once, and after it has waited.
#[tokio::test]
async fn of_a_handler_that_panics_only_the_commit_is_written() {
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let script = "send one; attach a; subscribe news; publish hello; panic";
    let later = "send two; wait; attach b; panic";
    supervisor.send(&[text(1, script), text(2, later), text(3, "send three")]).await;
    supervisor.expect(commit(1)).await;
    assert_eq!(heard.next().await, "waits");
    state.go.notify_one();
    supervisor.expect(commit(2)).await;
    supervisor.expect(staged("three", true)).await;
    assert_eq!(state.connection().attachment_bytes(), Some((1, b"/".to_vec())));
    supervisor.shut_down().await;
}

#[tokio::test]
async fn what_was_let_out_stays_though_the_handler_panics() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "send one; flush; send two; panic")]).await;
    supervisor.expect(during("one")).await;
    supervisor.expect(commit(1)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_connection_is_open_again_if_the_handler_that_closed_it_panics() {
    let (app, state, _heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "close enough; panic"), text(2, "send two")]).await;
    supervisor.expect(commit(1)).await;
    supervisor.expect(staged("two", true)).await;
    assert!(state.connection().is_open());
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_close_handler_that_panics_is_finished_and_nothing_that_it_did_happens() {
    let (app, _state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let ToWorker::Closed { connection, seq, again, mut close } = closed(1, 1000) else {
        unreachable!()
    };
    close.reason = "publish left; panic".into();
    supervisor.send(&[ToWorker::Closed { connection, seq, again, close }]).await;
    supervisor.expect(commit(1)).await;
    assert_eq!(heard.next().await, "closed 1000 false");
    supervisor.shut_down().await;
}

/// What does not wait for a handler's end is done when it panics.
#[tokio::test]
async fn what_a_handler_does_to_a_connection_that_does_not_move_stays_though_it_panics() {
    let (app, ..) = plain_app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/bare").await;
    supervisor.send(&[text(1, "send one; panic"), text(2, "send two")]).await;
    supervisor.expect(sent("one", false)).await;
    supervisor.expect(sent("two", false)).await;
    supervisor.expect(commit(2)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_close_handler_s_publishes_are_committed_with_the_close() {
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let ToWorker::Closed { connection, seq, again, mut close } = closed(1, 1000) else {
        unreachable!()
    };
    close.reason = "publish left; wait".into();
    supervisor.send(&[ToWorker::Closed { connection, seq, again, close }]).await;
    assert_eq!(heard.next().await, "closed 1000 false");
    assert_eq!(heard.next().await, "waits");
    supervisor.expect_nothing().await;
    state.go.notify_one();
    supervisor.expect(published(CONNECTION, When::Staged, "left")).await;
    supervisor.expect(commit(1)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_handler_s_own_close_is_staged_too() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "send last; close enough"), text(2, "send dropped")]).await;
    supervisor.expect(staged("last", false)).await;
    let close = Effect::Close { code: 4000, reason: "enough" };
    supervisor.expect(Act::new(CONNECTION, When::Staged, close).into()).await;
    supervisor.expect(commit(1)).await;
    supervisor.expect(commit(2)).await;
    supervisor.shut_down().await;
}

/// The handler's older value must not come back: `docs/wire.md`, "Staging".
#[tokio::test]
async fn an_attachment_while_idle_is_immediate_and_while_a_handler_runs_part_of_its_commit() {
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let connection = state.connection();
    connection.attach_bytes(1, b"idle").unwrap();
    supervisor.expect(attached(CONNECTION, When::Now, "idle")).await;
    supervisor.send(&[text(1, "attach handler; wait")]).await;
    assert_eq!(heard.next().await, "waits");
    connection.attach_bytes(1, b"timer").unwrap();
    supervisor.expect_nothing().await;
    assert_eq!(connection.attachment_bytes(), Some((1, b"timer".to_vec())));
    state.go.notify_one();
    supervisor.expect(attached(CONNECTION, When::Staged, "timer")).await;
    supervisor.expect(commit(1)).await;
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn what_others_do_while_a_handler_runs_is_staged_in_order_and_afterwards_immediate() {
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let connection = state.connection();
    supervisor.send(&[text(1, "send one; wait; send three")]).await;
    assert_eq!(heard.next().await, "waits");
    connection.send("two").await.unwrap();
    supervisor.expect_nothing().await;
    state.go.notify_one();
    for (message, last) in [("one", false), ("two", false), ("three", true)] {
        supervisor.expect(staged(message, last)).await;
    }
    connection.send("four").await.unwrap();
    supervisor.expect(sent("four", false)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_flush_lets_out_what_was_done_before_its_handler_has_ended() {
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "send one; publish hello; attach a; flush; send two; wait")]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.expect(during("one")).await;
    supervisor.expect(published(CONNECTION, When::During, "hello")).await;
    supervisor.expect_nothing().await;
    state.go.notify_one();
    supervisor.expect(attached(CONNECTION, When::Staged, "a")).await;
    supervisor.expect(staged("two", true)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_flush_while_idle_does_nothing() {
    let (app, state, _heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    state.connection().flush().await;
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn more_than_1_mib_is_let_out_by_itself() {
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "send one; long 600000; long 600000; wait")]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.expect(during("one")).await;
    supervisor.expect(during(&long(600_000))).await;
    supervisor.expect_nothing().await;
    state.go.notify_one();
    supervisor.expect(staged(&long(600_000), false)).await;
    supervisor.expect(commit(1)).await;
    supervisor.shut_down().await;
}

/// A send behind `ws:pressed` is one in spite of the pressure, for which a client may be closed.
#[tokio::test]
async fn pressure_is_known_only_behind_what_was_held_when_it_came() {
    let over = ToWorker::Pressure { connection: CONNECTION, over: true };
    let below = ToWorker::Pressure { connection: CONNECTION, over: false };
    let pressed = ToSupervisor::Pressed { connection: CONNECTION };
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "send one; wait; attach a")]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.send(std::slice::from_ref(&over)).await;
    supervisor.expect_nothing().await;
    state.go.notify_one();
    supervisor.expect(attached(CONNECTION, When::Staged, "a")).await;
    supervisor.expect(staged("one", true)).await;
    supervisor.expect(pressed.clone()).await;
    // Likewise if it is flushed; and if there is relief meanwhile, since answers are counted.
    supervisor.send(&[below.clone(), text(2, "send two; wait; flush; wait")]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.send(std::slice::from_ref(&over)).await;
    supervisor.expect_nothing().await;
    state.go.notify_one();
    supervisor.expect(during("two")).await;
    supervisor.expect(pressed.clone()).await;
    state.go.notify_one();
    supervisor.expect(commit(2)).await;
    supervisor.send(&[below.clone(), text(3, "send three; wait")]).await;
    for _waits in 0..2 {
        assert_eq!(heard.next().await, "waits");
    }
    supervisor.send(&[over.clone(), below]).await;
    supervisor.expect_nothing().await;
    state.go.notify_one();
    supervisor.expect(staged("three", true)).await;
    supervisor.expect(pressed.clone()).await;
    supervisor.send(std::slice::from_ref(&over)).await;
    supervisor.expect(pressed).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_pinned_connection_stages_nothing_and_takes_no_attachment() {
    let (app, state, _heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    assert_eq!(open(&mut supervisor, "/pinned").await, (false, None));
    supervisor.send(&[text(1, "send one; send two")]).await;
    supervisor.expect(sent("one", false)).await;
    supervisor.expect(sent("two", true)).await;
    let refused = state.connection().attach_bytes(1, b"a");
    assert!(matches!(refused, Err(AttachmentError::NotPortable)), "{refused:?}");
    supervisor.shut_down().await;
}

#[tokio::test]
async fn an_app_that_is_not_portable_stages_nothing() {
    let (app, ..) = plain_app();
    let mut supervisor = Supervisor::start(app).await;
    assert_eq!(open(&mut supervisor, "/bare").await, (false, None));
    supervisor.send(&[text(1, "send one; subscribe news; send two")]).await;
    supervisor.expect(sent("one", false)).await;
    let subscribe = Effect::Subscribe { channel: "news" };
    supervisor.expect(Act::new(CONNECTION, When::Now, subscribe).into()).await;
    supervisor.expect(sent("two", true)).await;
    supervisor.shut_down().await;
}

/// docs/wire.md, "Who takes part".
#[tokio::test]
async fn a_supervisor_that_moves_nothing_is_sent_nothing_staged() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::silent(app, 1);
    let welcome = Welcome {
        worker: 7,
        index: 0,
        generation: 1,
        link: 0,
        links: 1,
        max_message_bytes: 1024,
        body_window_bytes: 1024,
        dev: false,
    };
    supervisor.send(&[ToWorker::hello(Capabilities::default(), welcome)]).await;
    supervisor.expect_ready().await;
    assert_eq!(open(&mut supervisor, "/bare").await, (false, None));
    supervisor.send(&[text(1, "send one; send two")]).await;
    supervisor.expect(sent("one", false)).await;
    supervisor.expect(sent("two", true)).await;
    supervisor.shut_down().await;
}
