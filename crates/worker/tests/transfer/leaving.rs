//! Giving a connection up: when asked to, or at once.

use std::pin::pin;
use std::task::{Context, Waker};

use shovel_protocol::{Act, Effect, ToSupervisor, ToWorker, When};
use shovel_worker::{PublishError, SendError};

use crate::harness::{CONNECTION, Supervisor, commit, patiently, text};
use crate::{
    SECOND, THIRD, adopt_as, adopted, app, attached, during, message_of, release_of, released,
    revoke_of, sent_by, staged, subscribed,
};

#[tokio::test]
async fn an_idle_connection_is_released_at_once_and_inert_from_then_on() {
    let (app, state, _heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let connection = state.connection();
    let mut moved = pin!(connection.moved());
    assert!(moved.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    supervisor.send(&[text(1, "send one"), release_of(CONNECTION)]).await;
    supervisor.expect(staged("one", true)).await;
    supervisor.expect(released(CONNECTION, 1, 1)).await;
    patiently("the move", moved).await;
    assert!(!connection.is_open());
    assert_eq!(connection.send("late").await, Err(SendError::Moved));
    assert_eq!(connection.try_send("late"), Err(SendError::Moved));
    let publish = connection.publish("news", "late").await;
    assert!(matches!(publish, Err(PublishError::Moved)), "{publish:?}");
    connection.close(1000, "late").unwrap();
    connection.subscribe("news").unwrap();
    connection.unsubscribe("news").unwrap();
    connection.attach_bytes(1, b"late").unwrap();
    connection.flush().await;
    patiently("a move long since", connection.moved()).await;
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_release_waits_for_the_running_handler_and_hands_back_what_waits_behind_it() {
    let (app, state, mut heard) = app();
    *state.on_release.lock().unwrap() = "send bye; subscribe last; attach end";
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let messages = [text(1, "wait; send one"), text(2, "say two"), text(3, "say three")];
    supervisor.send(&messages).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.send(&[release_of(CONNECTION)]).await;
    supervisor.expect_nothing().await;
    state.go.notify_one();
    supervisor.expect(staged("one", true)).await;
    supervisor.expect(attached(CONNECTION, When::Staged, "end")).await;
    supervisor.expect(staged("bye", false)).await;
    supervisor.expect(subscribed(CONNECTION, "last")).await;
    supervisor.expect(released(CONNECTION, 1, 1)).await;
    supervisor.expect_nothing().await;
    assert!(heard.nothing_more());
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_release_hook_that_takes_its_time_or_fails_is_answered_for_all_the_same() {
    for (script, counts) in [("wait; send bye; fail", true), ("wait; send bye; panic", false)] {
        let (app, state, mut heard) = app();
        *state.on_release.lock().unwrap() = script;
        let mut supervisor = Supervisor::start(app).await;
        supervisor.open("/").await;
        supervisor.send(&[release_of(CONNECTION)]).await;
        assert_eq!(heard.next().await, "waits");
        // A second one changes nothing.
        supervisor.send(&[release_of(CONNECTION)]).await;
        supervisor.expect_nothing().await;
        state.go.notify_one();
        if counts {
            supervisor.expect(staged("bye", false)).await;
        }
        supervisor.expect(released(CONNECTION, 0, 0)).await;
        supervisor.expect_nothing().await;
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_revoke_drops_the_handler_with_what_it_did_and_is_answered_only_then() {
    let (app, state, mut heard) = app();
    *state.on_release.lock().unwrap() = "say hook; send bye";
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let messages =
        [text(1, "send zero"), text(2, "send one; attach a; wait"), text(3, "say three")];
    supervisor.send(&messages).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.expect(staged("zero", true)).await;
    supervisor.send(&[release_of(CONNECTION), revoke_of(CONNECTION)]).await;
    supervisor.expect(released(CONNECTION, 1, 2)).await;
    assert!(!heard.nothing_more(), "the handler lives on");
    assert!(heard.nothing_more(), "neither the hook nor the next message");
    assert_eq!(state.connection().send("late").await, Err(SendError::Moved));
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn what_was_flushed_before_a_revoke_stays_said() {
    let (app, _state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "send one; flush; send two; wait")]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.send(&[release_of(CONNECTION), revoke_of(CONNECTION)]).await;
    supervisor.expect(during("one")).await;
    supervisor.expect(released(CONNECTION, 0, 1)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_revoke_ends_a_release_hook_too() {
    let (app, state, mut heard) = app();
    *state.on_release.lock().unwrap() = "send bye; attach a; wait";
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "send one"), release_of(CONNECTION)]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.send(&[revoke_of(CONNECTION)]).await;
    supervisor.expect(staged("one", true)).await;
    supervisor.expect(released(CONNECTION, 1, 1)).await;
    assert_eq!(heard.next().await, "dropped");
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

/// docs/wire.md: "a `ws:revoke` may have crossed the answer".
#[tokio::test]
async fn what_comes_for_a_lease_that_has_ended_or_never_was_is_ignored() {
    let (app, _state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[release_of(CONNECTION)]).await;
    supervisor.expect(released(CONNECTION, 0, 0)).await;
    supervisor.send(&[revoke_of(CONNECTION), revoke_of(THIRD), release_of(THIRD)]).await;
    supervisor.send(&[release_of(CONNECTION), text(1, "say never")]).await;
    supervisor.expect_nothing().await;
    assert!(heard.nothing_more());
    supervisor.shut_down().await;
}

#[tokio::test]
async fn the_app_s_close_under_way_does_not_hold_up_a_release() {
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "close enough; wait"), release_of(CONNECTION)]).await;
    assert_eq!(heard.next().await, "waits");
    state.go.notify_one();
    let close = Effect::Close { code: 4000, reason: "enough" };
    supervisor.expect(Act::new(CONNECTION, When::Staged, close).into()).await;
    supervisor.expect(commit(1)).await;
    supervisor.expect(released(CONNECTION, 1, 1)).await;
    supervisor.shut_down().await;
}

/// A sender that waits for a slow client learns that the connection has gone.
#[tokio::test]
async fn a_send_that_waits_for_room_ends_when_the_connection_moves() {
    let (app, state, _heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[ToWorker::Pressure { connection: CONNECTION, over: true }]).await;
    supervisor.expect(ToSupervisor::Pressed { connection: CONNECTION }).await;
    let connection = state.connection();
    let waiting = tokio::spawn(async move { connection.send("slow").await });
    supervisor.send(&[release_of(CONNECTION)]).await;
    supervisor.expect(released(CONNECTION, 0, 0)).await;
    assert_eq!(patiently("the send", waiting).await.unwrap(), Err(SendError::Moved));
    supervisor.shut_down().await;
}

/// TRANSFER "What goes wrong otherwise" 6: each tenure has an object of its own.
#[tokio::test]
async fn a_connection_that_comes_back_is_another_object_with_the_same_name() {
    let (app, state, _heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let first = state.connection();
    supervisor.send(&[release_of(CONNECTION)]).await;
    supervisor.expect(released(CONNECTION, 0, 0)).await;

    supervisor.send(&[adopt_as(SECOND, "send back", false)]).await;
    supervisor.expect(sent_by(SECOND, When::Staged, "back", false)).await;
    supervisor.expect(adopted(SECOND, true)).await;
    let second = state.connection();
    assert_eq!(first.id(), second.id());
    assert_eq!(first.send("stale").await, Err(SendError::Moved));
    second.send("fresh").await.unwrap();
    supervisor.expect(sent_by(SECOND, When::Now, "fresh", false)).await;
    // What is about the first tenure does not touch the second.
    let stale = [revoke_of(CONNECTION), release_of(CONNECTION), text(5, "send stale")];
    supervisor.send(&stale).await;
    supervisor.send(&[message_of(SECOND, 5, "send five"), release_of(SECOND)]).await;
    supervisor.expect(sent_by(SECOND, When::Staged, "five", true)).await;
    supervisor.expect(released(SECOND, 5, 5)).await;

    supervisor.send(&[adopt_as(THIRD, "", false)]).await;
    supervisor.expect(adopted(THIRD, true)).await;
    assert_eq!(second.send("stale").await, Err(SendError::Moved));
    state.connection().send(vec![0]).await.unwrap();
    let send = Effect::Send { binary: true, data: &[0] };
    supervisor.expect(Act::new(THIRD, When::Now, send).into()).await;
    supervisor.shut_down().await;
}
