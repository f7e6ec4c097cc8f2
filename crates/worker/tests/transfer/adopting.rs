//! Taking over a connection that another worker had.

use shovel_protocol::{
    Again, Close, CloseCode, MessageKind, ToSupervisor, ToWorker, When, WsMessage,
};
use shovel_worker::{AdoptCause, AdoptEvent, Error, SendError};

use crate::harness::{CONNECTION, Supervisor, UUID_TEXT};
use crate::{
    SECOND, State, adopt_as, adopted, app, attached, long, message_of, plain_app, release_of,
    released, revoke_of, sent_by, subscribed,
};

fn closed(seq: u64, code: u16, redelivered: bool) -> ToWorker<'static> {
    let close = Close { code: CloseCode(code), reason: String::new(), was_clean: true };
    let again = Again { redelivered, partial: false };
    ToWorker::Closed { connection: SECOND, seq, again, close }
}

fn commit(seq: u64) -> ToSupervisor<'static> {
    ToSupervisor::Commit { connection: SECOND, seq }
}

#[tokio::test]
async fn an_adopter_knows_all_that_the_connection_was() {
    let (app, state, mut heard) = plain_app();
    let app = app.on_adopt(async |event: AdoptEvent<State>| {
        let connection = event.connection();
        assert_eq!(event.cause(), AdoptCause::Crash);
        assert_eq!(event.channels_subscribed().collect::<Vec<_>>(), ["news", "weather"]);
        assert_eq!(event.client(), Some("192.0.2.1:4321".parse().unwrap()));
        assert_eq!(connection.id().to_string(), UUID_TEXT);
        assert_eq!(connection.url(), "/room?name=a");
        assert_eq!(connection.headers()["host"], "example.org");
        assert_eq!(connection.protocol(), Some("v2"));
        assert_eq!(connection.attachment_bytes(), Some((1, b"state".to_vec())));
        assert!(connection.is_open());
        event.state().notes.say("seen");
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.send(&[adopt_as(SECOND, "state", false)]).await;
    supervisor.expect(adopted(SECOND, true)).await;
    assert_eq!(heard.next().await, "seen");
    drop(state);
    supervisor.shut_down().await;
}

#[tokio::test]
async fn messages_come_after_the_adopt_handler_and_count_from_what_was_committed() {
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.send(&[adopt_as(SECOND, "wait", false), message_of(SECOND, 5, "send five")]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.expect_nothing().await;
    state.go.notify_one();
    supervisor.expect(adopted(SECOND, true)).await;
    supervisor.expect(sent_by(SECOND, When::Staged, "five", true)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn what_an_adopt_handler_does_is_staged_in_front_of_the_answer() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    let script = "send one; attach a; subscribe news; send two";
    supervisor.send(&[adopt_as(SECOND, script, false)]).await;
    supervisor.expect(attached(SECOND, When::Staged, "a")).await;
    supervisor.expect(sent_by(SECOND, When::Staged, "one", false)).await;
    supervisor.expect(subscribed(SECOND, "news")).await;
    // The answer commits, so LAST would commit an event that nobody has begun.
    supervisor.expect(sent_by(SECOND, When::Staged, "two", false)).await;
    supervisor.expect(adopted(SECOND, true)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn an_app_without_an_adopt_handler_takes_over_at_once() {
    let (app, ..) = plain_app();
    let mut supervisor = Supervisor::start(app.portable()).await;
    let adoption = [adopt_as(SECOND, "state", false), message_of(SECOND, 5, "send five")];
    supervisor.send(&adoption).await;
    supervisor.expect(adopted(SECOND, true)).await;
    supervisor.expect(sent_by(SECOND, When::Staged, "five", true)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn an_adopt_handler_s_failure_refuses_and_nothing_that_it_did_is_said() {
    for script in ["send one; attach a; fail", "send one; attach a; panic"] {
        let (app, state, mut heard) = app();
        let mut supervisor = Supervisor::start(app).await;
        supervisor.send(&[adopt_as(SECOND, script, false)]).await;
        supervisor.expect(adopted(SECOND, false)).await;
        // It has the connection for its end alone.
        assert!(!state.connection().is_open());
        assert_eq!(state.connection().send("late").await, Err(SendError::Closed));
        supervisor.expect_nothing().await;
        supervisor.send(&[message_of(SECOND, 5, "say never"), closed(9, 1012, false)]).await;
        supervisor.expect(commit(5)).await;
        supervisor.expect(commit(9)).await;
        assert_eq!(heard.next().await, "closed 1012 false");
        assert!(heard.nothing_more());
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn handlers_see_that_an_event_comes_again_and_whether_something_was_let_out() {
    let (app, _state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.send(&[adopt_as(SECOND, "", false)]).await;
    supervisor.expect(adopted(SECOND, true)).await;
    for (seq, partial) in [(5, false), (6, true)] {
        let (kind, data) = (MessageKind::Text, &b"send again"[..]);
        let again = Again { redelivered: true, partial };
        let message = ToWorker::Message(WsMessage { connection: SECOND, seq, again, kind, data });
        supervisor.send(&[message]).await;
        supervisor.expect(sent_by(SECOND, When::Staged, "again", true)).await;
        assert_eq!(heard.next().await, format!("{seq} again, partial {partial}"));
    }
    supervisor.send(&[message_of(SECOND, 7, "say first")]).await;
    supervisor.expect(commit(7)).await;
    assert_eq!(heard.next().await, "first");
    supervisor.send(&[closed(8, 1001, true)]).await;
    supervisor.expect(commit(8)).await;
    assert_eq!(heard.next().await, "closed 1001 true");
    supervisor.shut_down().await;
}

/// Nobody has the connection until the handler ends, so it must not wait for a slow client.
#[tokio::test]
async fn a_client_that_is_behind_holds_up_the_messages_but_not_the_adopt_handler() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.send(&[adopt_as(SECOND, "send hello", true)]).await;
    supervisor.expect(sent_by(SECOND, When::Staged, "hello", false)).await;
    supervisor.expect(adopted(SECOND, true)).await;
    supervisor.send(&[message_of(SECOND, 5, "send five")]).await;
    supervisor.expect_nothing().await;
    supervisor.send(&[ToWorker::Pressure { connection: SECOND, over: false }]).await;
    supervisor.expect(sent_by(SECOND, When::Staged, "five", true)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn an_adopt_handler_that_takes_too_long_is_dropped_and_leaves_nothing() {
    let (app, state, mut heard) = app();
    *state.on_release.lock().unwrap() = "say hook";
    let mut supervisor = Supervisor::start(app).await;
    supervisor.send(&[adopt_as(SECOND, "send one; attach a; wait", false)]).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.send(&[revoke_of(SECOND)]).await;
    supervisor.expect(released(SECOND, 4, 4)).await;
    assert_eq!(heard.next().await, "dropped");
    assert_eq!(state.connection().send("late").await, Err(SendError::Moved));
    supervisor.expect_nothing().await;
    assert!(heard.nothing_more());
    supervisor.shut_down().await;
}

/// A worker that has what another attached gives it on as it is.
#[tokio::test]
async fn an_adopted_connection_is_released_again_without_repeating_its_attachment() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.send(&[adopt_as(SECOND, "", false), release_of(SECOND)]).await;
    supervisor.expect(adopted(SECOND, true)).await;
    supervisor.expect(released(SECOND, 4, 4)).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn an_attachment_of_16_kib_is_adopted_with_all_else() {
    let (app, state, _heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    let script = format!("say {}", long(16 * 1024 - 4));
    supervisor.send(&[adopt_as(SECOND, &script, false)]).await;
    supervisor.expect(adopted(SECOND, true)).await;
    assert_eq!(state.connection().attachment_bytes(), Some((1, script.into_bytes())));
    assert_ne!(SECOND, CONNECTION);
    supervisor.shut_down().await;
}
