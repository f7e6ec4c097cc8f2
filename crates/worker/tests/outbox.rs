//! What waits for a client, as an app asks about it: `docs/wire.md`, "Pressure" and "Outbox".

mod harness;

use harness::{CONNECTION, Heard, State, Supervisor, app, closed, commit, offer, sent, text};
use shovel_protocol::control::{AskFields, OutboxFields};
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::{
    Act, Effect, OutboxQuestion, SlowConsumer as Wire, ToSupervisor, ToWorker, When,
};
use shovel_worker::{App, Error, FetchEvent, MessageEvent, OutboxError, Response, SlowConsumer};

fn ask(token: u64, question: OutboxQuestion) -> ToSupervisor<'static> {
    ToSupervisor::Ask { connection: CONNECTION, ask: AskFields { token, question } }
}

fn answer(token: u64, bytes: Option<u64>) -> ToWorker<'static> {
    ToWorker::Outbox { connection: CONNECTION, outbox: OutboxFields { token, bytes } }
}

/// Asks what a message says, in a task, and notes the answer.
async fn ask_for(event: MessageEvent<State>) -> Result<(), Error> {
    let (connection, state) = (event.connection().clone(), event.state().clone());
    let text = event.message().as_text().unwrap().to_owned();
    tokio::spawn(async move {
        let note = match text.as_str() {
            "buffered" => format!("{:?}", connection.buffered().await),
            _ => format!("{:?}", connection.outbox_empty().await),
        };
        state.notes.say(note);
    });
    Ok(())
}

async fn start() -> (Supervisor, Heard) {
    let (app, _state, heard) = app();
    let mut supervisor = Supervisor::start(app.on_message(ask_for)).await;
    supervisor.open("/").await;
    (supervisor, heard)
}

/// H181.
#[tokio::test]
async fn what_waits_for_a_client_is_asked_behind_what_was_sent_and_told() {
    let (app, _state, mut heard) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        event.connection().send("one").await?;
        let buffered = event.connection().buffered().await;
        event.state().notes.say(format!("{buffered:?}"));
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "hello")]).await;
    supervisor.expect(sent("one", false)).await;
    supervisor.expect(ask(1, OutboxQuestion::Bytes)).await;
    supervisor.expect_nothing().await;
    supervisor.send(&[answer(1, Some(1234))]).await;
    assert_eq!(heard.next().await, "Ok(1234)");
    supervisor.expect(commit(1)).await;
    supervisor.shut_down().await;
}

/// H182: whoever has stopped waiting is no business of the supervisor's, which answers the newest.
#[tokio::test]
async fn an_empty_outbox_is_told_to_all_who_waited_for_it() {
    let (mut supervisor, mut heard) = start().await;
    supervisor.send(&[text(1, "empty"), text(2, "empty"), text(3, "buffered")]).await;
    supervisor.expect(commit(3)).await;
    supervisor.expect(ask(1, OutboxQuestion::Empty)).await;
    supervisor.expect(ask(2, OutboxQuestion::Empty)).await;
    supervisor.expect(ask(3, OutboxQuestion::Bytes)).await;
    supervisor.send(&[answer(3, Some(7))]).await;
    assert_eq!(heard.next().await, "Ok(7)");
    supervisor.expect_nothing().await;
    assert!(heard.nothing_more());
    supervisor.send(&[answer(2, Some(0))]).await;
    assert_eq!((heard.next().await, heard.next().await), ("Ok(())".into(), "Ok(())".into()));
    supervisor.shut_down().await;
}

/// H182: by what its supervisor says, or by its close.
#[tokio::test]
async fn nobody_waits_for_the_outbox_of_a_client_that_has_gone() {
    for is_told in [true, false] {
        let (mut supervisor, mut heard) = start().await;
        supervisor.send(&[text(1, "empty")]).await;
        supervisor.expect(commit(1)).await;
        supervisor.expect(ask(1, OutboxQuestion::Empty)).await;
        let end = if is_told { answer(1, None) } else { closed(2, 1006) };
        supervisor.send(&[end]).await;
        let notes = [heard.next().await, if is_told { String::new() } else { heard.next().await }];
        assert!(notes.contains(&"Err(Closed)".to_owned()), "{notes:?}");
        if !is_told {
            supervisor.expect(commit(2)).await;
        }
        supervisor.shut_down().await;
    }
}

/// An app that says before and behind its upgrade how slow clients are treated.
fn choosy_app() -> App<State> {
    let (app, ..) = app();
    app.on_fetch(async |mut event: FetchEvent<State>| {
        let (connection, response) = event.upgrade_websocket()?;
        assert_eq!(connection.buffered().await, Err(OutboxError::NotAccepted));
        assert_eq!(connection.outbox_empty().await, Err(OutboxError::NotAccepted));
        connection.set_slow_consumer(SlowConsumer::DropNewest);
        Ok::<Response, Error>(response)
    })
    .on_message(async |event: MessageEvent<State>| {
        let policies = [
            SlowConsumer::Close,
            SlowConsumer::DropOldest,
            SlowConsumer::DropNewest,
            SlowConsumer::AsConfigured,
        ];
        policies.into_iter().for_each(|policy| event.connection().set_slow_consumer(policy));
        let told = event.connection().buffered().await;
        event.connection().send(format!("{told:?}")).await
    })
}

/// H180.
#[tokio::test]
async fn how_slow_clients_are_treated_is_told_with_the_upgrade_and_later() {
    let mut supervisor = Supervisor::start(choosy_app()).await;
    supervisor.send(&[offer("/")]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Upgrade { effects, .. } = seen.read() else { panic!("no upgrade") };
    let expected = Effect::SlowConsumer { policy: Some(Wire::DropNewest) };
    assert_eq!(effects.map(Result::unwrap).collect::<Vec<_>>(), [expected]);
    supervisor.send(&[text(1, "hello")]).await;
    for policy in [Some(Wire::Close), Some(Wire::DropOldest), Some(Wire::DropNewest), None] {
        let effect = Effect::SlowConsumer { policy };
        supervisor.expect(Act::new(CONNECTION, When::Now, effect).into()).await;
    }
    supervisor.expect(ask(1, OutboxQuestion::Bytes)).await;
    supervisor.send(&[answer(1, Some(0))]).await;
    supervisor.expect(sent("Ok(0)", true)).await;
    supervisor.shut_down().await;
}

/// H183: it would take the effect for nonsense, and answer no question.
#[tokio::test]
async fn a_supervisor_that_does_not_know_of_it_is_told_and_asked_nothing() {
    let adopts = Capabilities::ADOPT;
    let mut supervisor = Supervisor::start_as(choosy_app(), 1, false, adopts).await;
    let ready = supervisor.next().await;
    let ToSupervisor::Ready(greeting) = ready.read() else { panic!("not ready") };
    assert!(!greeting.capabilities.contains(Capabilities::OUTBOX));
    supervisor.send(&[offer("/")]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Upgrade { effects, .. } = seen.read() else { panic!("no upgrade") };
    assert_eq!(effects.count(), 0);
    supervisor.send(&[text(1, "hello")]).await;
    supervisor.expect(sent("Err(Unsupported)", true)).await;
    supervisor.shut_down().await;
}
